"""Shared by the adaptors to other frameworks (`gym`, `brax`): which metric is the reward."""

from __future__ import annotations

import jax

from envs_mjx.base import EnvError, GoalEnv

REWARDS = {"sparse": "success", "official": "official_reward"}
"""Reward -> metric of a State: the native success predicate as 0 or 1; the official dense reward."""


def reward_metric(env: GoalEnv, reward: str) -> str:
    """Name of the metric of `env` that is the reward.

    Raises:
        EnvError: no such reward, or the environment does not compute it.
    """
    if reward not in REWARDS:
        raise EnvError(f"reward={reward!r}: no such reward; one of {', '.join(REWARDS)}")
    metrics = jax.eval_shape(env.reset, jax.random.PRNGKey(0)).metrics
    if REWARDS[reward] not in metrics:
        raise EnvError(f"reward={reward!r}: this environment has no metric {REWARDS[reward]!r}; take reward='sparse'")
    return REWARDS[reward]
