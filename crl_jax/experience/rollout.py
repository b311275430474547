"""The scan of act + step that training and evaluation share.  Axis letters: T time, E environments."""

from __future__ import annotations

from collections.abc import Callable

import jax
from flax import struct

from crl_jax.types import Agent, AgentState
from envs_mjx.base import GoalEnv, State

Policy = Callable[[State, jax.Array], jax.Array]
"""(state of E environments, key) -> action (E, A)."""


class Trajectory(struct.PyTreeNode):
    """T consecutive steps of E environments.

    Attributes:
        obs: (T, E, D) before the action. action: (T, E, A). goal: (T, E, G) commanded goal. episode: (T, E) int32.
        done: (T, E) bool, True if the action ended its episode. metrics: name -> (T, E) after the action.
    """

    obs: jax.Array
    action: jax.Array
    goal: jax.Array
    episode: jax.Array
    done: jax.Array
    metrics: dict[str, jax.Array]


def rollout(env: GoalEnv, policy: Policy, state: State, key: jax.Array, length: int) -> tuple[State, Trajectory]:
    """Step all environments `length` times under `policy`; ended episodes restart inside `env.step`."""

    def step(state: State, key: jax.Array) -> tuple[State, Trajectory]:
        action = policy(state, key)
        after = env.step(state, action)
        return after, Trajectory(state.obs, action, state.goal, state.episode, after.done, after.metrics)

    return jax.lax.scan(step, state, jax.random.split(key, length))


def random_policy(action_size: int) -> Policy:
    """Uniform actions in [-1, 1]: the warm-up's policy."""

    def policy(state: State, key: jax.Array) -> jax.Array:
        return jax.random.uniform(key, (state.obs.shape[0], action_size), minval=-1.0, maxval=1.0)

    return policy


def agent_policy(agent: Agent, agent_state: AgentState, deterministic: bool) -> Policy:
    """The agent's policy, acting towards the commanded goals."""

    def policy(state: State, key: jax.Array) -> jax.Array:
        return agent.act(agent_state, state.obs, state.goal, key, deterministic)

    return policy
