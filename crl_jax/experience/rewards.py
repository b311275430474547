"""Rewards and hindsight for the methods that learn from a reward.  Axis letters: B batch, D obs, G goal.

A reward belongs to the step from `obs` to `next_obs`. The ring keeps the reward for the commanded goal. Sampled
transitions always have a stored successor, so that the last step of an episode is never drawn. Every drawn step
bootstraps, because episodes are truncated at the horizon. A learner that took truncation for termination would learn
that time is short without seeing how short ("Time Limits in Reinforcement Learning", arXiv:1712.00378).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from crl_jax.config import BaselineConfig, Config, ConfigError
from crl_jax.types import Batch, Metrics
from envs_mjx.base import EnvError, GoalEnv


class Reward(NamedTuple):
    """The reward `reward_scale * (metric + shift)`; `metric` names an entry of `State.metrics`."""

    metric: str
    shift: float


REWARDS: dict[str, Reward] = {
    "sparse": Reward("success", 0.0),
    "negative": Reward("success", -1.0),
    "dense": Reward("official_reward", 0.0),
}
"""Native success as 1 or 0; native success as 0 or -1 (HER's choice); Meta-World's own dense reward."""


def of_step(config: BaselineConfig, metrics: Metrics) -> jax.Array:
    """Rewards (...) of steps from their `metrics`, name -> (...)."""
    metric, shift = REWARDS[config.reward]
    return config.reward_scale * (metrics[metric] + shift)


def paid(batch: Batch) -> jax.Array:
    """The rewards (..., B) of a batch from a ring that keeps them."""
    assert batch.reward is not None
    return batch.reward


def hindsight(config: BaselineConfig, env: GoalEnv, batch: Batch) -> Batch:
    """The goals to learn from and their rewards: HER (arXiv:1707.01495) with its strategy `future`.

    The first `her_share` of the rows keep their relabelled goal; their reward says whether `next_goal` reaches it. The
    other rows get the commanded goal and the reward that was paid. Reaching a goal does not end the episode, as in
    HER's own environments: the value is the discounted time at the goal. Future goals lie Geom(1 - gamma) steps ahead,
    as in CRL; HER draws them uniformly.

    Args:
        batch: leading axes (..., B), as sampled: with a future `goal`, and the `reward` for the `commanded` goal.
    """
    if config.her_share == 0:
        return batch.replace(goal=batch.asked)
    size = batch.offset.shape[-1]
    relabelled = jnp.arange(size) < round(config.her_share * size)
    assert batch.next_goal is not None
    success = env.goal_success(batch.next_goal, batch.goal)
    reward = of_step(config, {"success": success.astype(jnp.float32)})
    return batch.replace(
        goal=jnp.where(relabelled[:, None], batch.goal, batch.asked),
        reward=jnp.where(relabelled, reward, paid(batch)),
    )


def functions(
    config: BaselineConfig,
) -> tuple[Callable[[Metrics], jax.Array], Callable[[GoalEnv, Batch], Batch]]:
    """The functions `Agent.reward` and `Agent.relabel` for a method that learns from a reward."""
    return partial(of_step, config), partial(hindsight, config)


def check(config: Config, env: GoalEnv) -> None:
    """Refuse a reward or hindsight that the task does not support; nothing is compiled.

    Raises:
        ConfigError: the task lacks the reward; or hindsight, and success is no function of the goals alone.
    """
    if config.agent.method == "crl":
        return
    task, chosen = config.env.task, config.baseline
    key = jax.ShapeDtypeStruct((2,), jnp.uint32)
    if REWARDS[chosen.reward].metric not in jax.eval_shape(env.reset, key).metrics:
        raise ConfigError(f"reward={chosen.reward!r}: {task} has no such reward; take 'sparse' or 'negative'")
    goal = jax.ShapeDtypeStruct((env.spec.goal_size,), jnp.float32)
    if chosen.her_share > 0:
        try:
            jax.eval_shape(env.goal_success, goal, goal)
        except EnvError as error:
            raise ConfigError(f"her_share={chosen.her_share}: {error}; take 0") from error
