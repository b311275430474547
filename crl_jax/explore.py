"""Behaviour goals: what the policy is asked for while it collects.  Axis letters: E environments, G goal.

CRL explores by reaching for goals, and learns nothing of an object that it never touches: its goals are then the same
throughout an episode and the critic tells trajectories apart by where the untouched object lies (the lab journal's
"critic collapse"). `touch_first` asks for the object where it lies, the hand at it; `touch_then_near` does so for the
first part of an episode and then asks for the object near a random point of its way from start to where
the episode wants it. Choices are a function of the environment's key, new in every episode, so that there is nothing to
remember between steps.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from crl_jax.config import ExploreConfig
from envs_mjx.base import GoalEnv, State

SWITCH = (20, 100)
"""Env steps (of 150, scaled with the horizon) between which `touch_then_near` turns to its second phase."""


def behaviour_goal(env: GoalEnv, state: State, config: ExploreConfig) -> jax.Array:
    """(E, G) goals to act towards: the commanded ones, or for a share of the episodes exploratory ones."""
    if config.behaviour_goals == "commanded":
        return state.goal
    keys = jax.vmap(lambda key: jax.random.split(jax.random.fold_in(key, 2), 5))(state.key)
    explores = jax.vmap(jax.random.uniform)(keys[:, 0]) < config.explore_share
    touch = env.commanded_goal(state.start) + _in_disc(keys[:, 1], config.touch_radius) @ env.hand_in_goal()
    goal = touch
    if config.behaviour_goals == "touch_then_near":
        way = jax.vmap(jax.random.uniform)(keys[:, 4])[:, None] * (env.commanded_point(state.target) - state.start)
        aside = _in_disc(keys[:, 2], config.near_radius if env.free_object else 0.0)
        near = env.commanded_goal(state.start + way + aside)
        low, high = (round(bound * env.spec.horizon / 150) for bound in SWITCH)
        switch = jax.vmap(lambda key: jax.random.randint(key, (), low, high + 1))(keys[:, 3])
        goal = jnp.where((state.time >= switch)[:, None], near, touch)
    return jnp.where(explores[:, None], goal, state.goal)


def _in_disc(keys: jax.Array, radius: float) -> jax.Array:
    """(E, 3) offsets uniform in a horizontal disc."""

    def draw(key: jax.Array) -> jax.Array:
        angle_key, radius_key = jax.random.split(key)
        angle = jax.random.uniform(angle_key, maxval=2 * jnp.pi)
        distance = radius * jnp.sqrt(jax.random.uniform(radius_key))
        return distance * jnp.array([jnp.cos(angle), jnp.sin(angle), 0.0])

    return jax.vmap(draw)(keys)
