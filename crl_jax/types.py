"""The values that pass between the ring, the loop and the agents.

Axis letters: B batch, E environments, D obs, A action, G goal.
"""

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
        goal: (B, G) relabelled goal: achieved at a future step of the SAME episode. After `Agent.relabel`: the goal
            that `reward` belongs to.
        commanded: (B, G) commanded goal of that episode; None where the ring does not keep it.
        env: (B,) int32 number of the environment. episode: (B,) int32 its episode number. The pair names a trajectory.
        offset: (B,) int32 env steps from obs to the relabelled goal, >= 1.
        next_goal: (B, G) goal achieved by next_obs.
        reward: (B,) reward of the step from obs to next_obs; None if the agent learns without a reward.
    """

    obs: jax.Array
    action: jax.Array
    next_obs: jax.Array
    goal: jax.Array
    commanded: jax.Array | None
    env: jax.Array
    episode: jax.Array
    offset: jax.Array
    next_goal: jax.Array | None = None
    reward: jax.Array | None = None

    @property
    def asked(self) -> jax.Array:
        """(B, G) commanded goals, of a ring that keeps them."""
        assert self.commanded is not None
        return self.commanded


class Packed(NamedTuple):
    """Another form of the agent state, in which a scan of updates takes fewer operations.

    Attributes:
        pack: agent state -> packed state. unpack: (packed state, agent state that was packed) -> agent state.
        update: as `Agent.update`, on the packed state.
    """

    pack: Callable[[AgentState], Any]
    update: Callable[[Any, Batch, jax.Array], tuple[Any, Metrics]]
    unpack: Callable[[Any, AgentState], AgentState]


class Agent(NamedTuple):
    """A learning algorithm as pure functions. The training loop uses nothing else of it.

    Attributes:
        init: key -> agent state (a pytree: parameters, optimisers, ...).
        act: (agent state, obs (E, D), goal (E, G), key, deterministic) -> actions (E, A) in [-1, 1].
        update: (agent state, Batch, key) -> (agent state, metrics of scalars); one SGD update.
        reward: metrics of steps, each of shape (...) -> rewards (...), which the ring stores. None: no reward.
        commanded: whether `update` reads the commanded goals of a batch. Only pictures are then left out of the ring.
        relabel: (environment, sampled Batch) -> Batch for `update`. None: the sampled batch is used unchanged.
        packed: the form in which the loop scans over updates; None: it scans `update`.
    """

    init: Callable[[jax.Array], AgentState]
    act: Callable[[AgentState, jax.Array, jax.Array, jax.Array, bool], jax.Array]
    update: Callable[[AgentState, Batch, jax.Array], tuple[AgentState, Metrics]]
    reward: Callable[[Metrics], jax.Array] | None = None
    relabel: Callable[[GoalEnv, Batch], Batch] | None = None
    commanded: bool = True
    packed: Packed | None = None
