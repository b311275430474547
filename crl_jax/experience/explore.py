"""Behaviour goals: what the policy acts towards during data collection.  Axis letters: E environments, G goal.

CRL explores by reaching for goals, and learns nothing about an object that it never touches. The achieved goals are
then the same throughout an episode, and the critic tells trajectories apart by where the untouched object lies (the lab
journal's "critic collapse"). The kinds of behaviour goals beside the commanded ones:

touch_first      The object where it lies, with the open hand at it.
touch_then_near  touch_first in the first part of an episode. Then the object near a random point between its start and
                 its commanded place; one such point, or a new one every `near_steps` env steps. With `touch_again`,
                 every other one of these goals is the object where it then is, with the open hand at it.
replay           A goal achieved in a stored row of the ring, as the data collection of "Contrastive Learning as
                 Goal-Conditioned RL" asks for goals all over the space.
mixed            replay in a share of the episodes, else the commanded goal.

All choices are functions of the environment's key, which is new in every episode: no state is kept between steps.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from crl_jax.config import ExploreConfig
from crl_jax.experience import buffer
from envs_mjx.base import GoalEnv, State

# Numbers folded into an episode's key: 1 its start, 2, 4 and 6 here, 3 the mazes' own noise, 5 the noise on actions.
SWITCH = (20, 100)
"""`touch_then_near` starts its second part between these env steps, of 150; both scale with the horizon."""


def behaviour_goal(
    env: GoalEnv, state: State, config: ExploreConfig, replayed: Callable[[State], jax.Array] | None = None
) -> jax.Array:
    """(E, G) goals to act towards: the commanded goals, or in a share of the episodes exploratory ones.

    Args:
        replayed: the function that `replay_goals` returns; the kinds "replay" and "mixed" need it.
    """
    goal = state.goal
    if config.behaviour_goals in ("replay", "mixed"):
        assert replayed is not None
        goal = replayed(state)
    elif config.behaviour_goals != "commanded":
        goal = _touching(env, state, config)
    if config.behaviour_goals not in ("commanded", "replay"):
        explores = jax.vmap(jax.random.uniform)(_phase_keys(state)[:, 0]) < config.explore_share
        goal = jnp.where(explores[:, None], goal, state.goal)
    if config.goal_noise > 0:
        noise = jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, 6), goal.shape[1:]))(state.key)
        goal = goal + config.goal_noise * env.spec.goal_scale * noise
    return goal


def replay_goals(env: GoalEnv, ring: buffer.Ring, state: State, unroll_length: int) -> Callable[[State], jax.Array]:
    """The goals of "replay" during one unroll: state -> (E, G), goals achieved in random stored rows of the ring.

    An episode keeps its goal to its end, also when it spans several unrolls. The episode's key draws the row, among the
    rows that were stored at the beginning of the episode's first unroll, without those that may be overwritten while
    the episode runs. (In a ring too small to have such rows, the goal may change during the episode.) With several
    devices, each device draws from its own part of the ring.

    Args:
        ring: the ring at the beginning of the unroll. state: the environments at that time.
    """
    capacity, num_envs = ring.episode.shape
    written, last = ring.written, env.spec.horizon + unroll_length

    def goals(now: State) -> jax.Array:
        began = jnp.where(now.episode == state.episode, written - state.time, written)
        end = jnp.maximum(began // unroll_length, 1) * unroll_length
        oldest = jnp.clip(end + last - capacity, 0, end - 1)

        def draw(key: jax.Array, low: jax.Array, high: jax.Array) -> tuple[jax.Array, jax.Array]:
            row_key, env_key = jax.random.split(jax.random.fold_in(key, 4))
            return jax.random.randint(row_key, (), low, high), jax.random.randint(env_key, (), 0, num_envs)

        row, column = jax.vmap(draw)(now.key, oldest, end)
        return env.achieved_goal(ring.obs[row % capacity, column])

    return goals


def _phase_keys(state: State) -> jax.Array:
    """(E, 5, 2) keys of the running episodes: the first decides whether an episode explores, the others where to."""
    return jax.vmap(lambda key: jax.random.split(jax.random.fold_in(key, 2), 5))(state.key)


def _touching(env: GoalEnv, state: State, config: ExploreConfig) -> jax.Array:
    """(E, G) goals of touch_first or touch_then_near, as if every episode explored."""
    keys = _phase_keys(state)

    def touch(point: jax.Array, keys: jax.Array) -> jax.Array:
        return env.touch_goal(point) + _in_disc(keys, config.touch_radius) @ env.hand_in_goal()

    first = touch(state.start, keys[:, 1])
    if config.behaviour_goals == "touch_first":
        return first
    low, high = (round(bound * env.spec.horizon / 150) for bound in SWITCH)
    switch = jax.vmap(lambda key: jax.random.randint(key, (), low, high + 1))(keys[:, 3])
    since = state.time - switch
    place = jnp.maximum(since, 0) // (config.near_steps or env.spec.horizon)
    if config.near_steps > 0:  # later places need keys of their own
        again = jax.vmap(jax.vmap(jax.random.fold_in, (0, None)))(keys, place)
        keys = jnp.where((place > 0)[:, None, None], again, keys)
    way = jax.vmap(jax.random.uniform)(keys[:, 4])[:, None] * (env.commanded_point(state.target) - state.start)
    aside = _in_disc(keys[:, 2], config.near_radius if env.free_object else 0.0)
    near = env.commanded_goal(state.start + way + aside)
    if config.touch_again:
        near = jnp.where((place % 2 == 1)[:, None], touch(env.object_point(state.obs), keys[:, 1]), near)
    return jnp.where((since >= 0)[:, None], near, first)


def _in_disc(keys: jax.Array, radius: float) -> jax.Array:
    """(E, 3) offsets uniform in a horizontal disc."""

    def draw(key: jax.Array) -> jax.Array:
        angle_key, radius_key = jax.random.split(key)
        angle = jax.random.uniform(angle_key, maxval=2 * jnp.pi)
        distance = radius * jnp.sqrt(jax.random.uniform(radius_key))
        return distance * jnp.array([jnp.cos(angle), jnp.sin(angle), 0.0])

    return jax.vmap(draw)(keys)
