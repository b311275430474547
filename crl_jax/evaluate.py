"""Evaluation: one fresh episode per environment, scored by the task's native success predicate."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from crl_jax.experience.rollout import Policy, rollout
from crl_jax.scale import parallel
from crl_jax.types import Metrics
from envs_mjx.base import EnvSpec, GoalEnv
from envs_mjx.together import Together


def evaluate(env: GoalEnv, policy: Policy, key: jax.Array, axis: str | None = None) -> Metrics:
    """Metrics of `policy` over `env.num_envs` fresh episodes per device, each of `env.spec.horizon` steps.

    Returns:
        success_any, success_final: share of episodes with success at any env step, at the last one.
        time_at_goal: mean number of env steps with success.
        success_<radius>_any: success_any with another success radius, for tasks that define several.
        min_distance, final_distance: mean distance from object to goal, metres; smallest of the episode, at its end.
        object_moved: share of episodes that end with the object away from its start; absent if the task has no object.
        diverged: number of episodes lost to a divergence of the simulation.
        <buffer>_used: largest use of each fixed-size buffer of the engine, see `EnvSpec`.
        <task>/success_any, <task>/success_final: of each task, where there are several at once.
    """
    reset_key, rollout_key = jax.random.split(parallel.own(key, axis))
    _, steps = rollout(env, policy, env.reset(reset_key), rollout_key, env.spec.horizon)
    # A diverged episode ends early and the next one begins; only the first episode of each environment counts.
    first = steps.episode == 0
    last = jnp.sum(first, axis=0) - 1

    def at_end(values: jax.Array) -> jax.Array:
        return jnp.take_along_axis(values, last[None], axis=0)[0]

    def final(values: jax.Array) -> jax.Array:
        return jnp.mean(at_end(values))

    # An environment that repeats actions reports on every env step of a decision.
    in_success = jnp.where(first, steps.metrics.get("steps_in_success", steps.metrics["success"]), 0.0)
    nearest = steps.metrics.get("nearest", steps.metrics["distance"])
    metrics = {
        "success_any": jnp.mean((in_success > 0).any(axis=0), dtype=jnp.float32),
        "success_final": final(steps.metrics["success"]),
        "time_at_goal": jnp.mean(in_success.sum(axis=0), dtype=jnp.float32),
        "min_distance": jnp.mean(jnp.min(jnp.where(first, nearest, jnp.inf), axis=0)),
        "final_distance": final(steps.metrics["distance"]),
    }
    others = [name for name in steps.metrics if name.startswith("success_")]
    metrics |= {f"{name}_any": jnp.mean(((steps.metrics[name] > 0) & first).any(axis=0)) for name in others}
    if "object_moved" in steps.metrics:
        metrics["object_moved"] = final(steps.metrics["object_moved"])
    if isinstance(env, Together):
        ever, ended = (in_success > 0).any(axis=0), at_end(steps.metrics["success"])
        for number, task in enumerate(env.tasks):
            own = env.columns(number)
            metrics[f"{task}/success_any"] = jnp.mean(ever[own], dtype=jnp.float32)
            metrics[f"{task}/success_final"] = jnp.mean(ended[own])
    used = buffers_used(env.spec, jax.tree.map(lambda values: values[-1], steps.metrics))
    lost = jnp.sum(steps.metrics["diverged"] * first)
    return parallel.mean(metrics, axis) | parallel.largest(used, axis) | {"diverged": parallel.total(lost, axis)}


def buffers_used(spec: EnvSpec, metrics: Metrics) -> Metrics:
    """Largest use of each engine buffer over all environments, from the `State.metrics` of one step."""
    return {f"{name}_used": jnp.max(metrics[f"{name}_used"]) for name, _ in spec.buffers}
