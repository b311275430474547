"""The values that pass between the ring, the loop and the agents.  Axis letters: B batch, D obs, A action, G goal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from flax import struct

from envs_mjx.base import GoalEnv

Metrics = dict[str, jax.Array]
AgentState = Any


class Batch(struct.PyTreeNode):
    """A relabelled minibatch; leading axes may be (B,) or (updates, B).

    Attributes:
        obs, next_obs: (B, D). action: (B, A).
        goal: (B, G) goal achieved at a future time of the SAME episode (relabelled). After `Agent.relabel`: the goal
            that `reward` is for.
        commanded: (B, G) the task's goal of that episode.
        env: (B,) int32 environment, episode: (B,) int32 its episode number (together they name a trajectory).
        offset: (B,) int32 how many steps ahead the goal lies, >= 1.
        next_goal: (B, G) goal achieved by next_obs.
        reward: (B,) of the step from obs to next_obs, where the agent learns from one.
    """

    obs: jax.Array
    action: jax.Array
    next_obs: jax.Array
    goal: jax.Array
    commanded: jax.Array
    env: jax.Array
    episode: jax.Array
    offset: jax.Array
    next_goal: jax.Array | None = None
    reward: jax.Array | None = None


class Agent(NamedTuple):
    """A learning algorithm as pure functions; `train.py` knows nothing else of it.

    Attributes:
        init: key -> agent state (a pytree: parameters, optimisers, ...).
        act: (agent state, obs (E, D), goal (E, G), key, deterministic) -> actions (E, A) in [-1, 1].
        update: (agent state, Batch, key) -> (agent state, metrics of scalars); one SGD update.
        reward: metrics of steps, name -> (...) -> their rewards (...), which the ring then keeps. None: learns without.
        relabel: (environment, Batch as sampled) -> Batch as learned from. None: as sampled.
    """

    init: Callable[[jax.Array], AgentState]
    act: Callable[[AgentState, jax.Array, jax.Array, jax.Array, bool], jax.Array]
    update: Callable[[AgentState, Batch, jax.Array], tuple[AgentState, Metrics]]
    reward: Callable[[Metrics], jax.Array] | None = None
    relabel: Callable[[GoalEnv, Batch], Batch] | None = None
