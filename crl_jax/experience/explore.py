"""Behaviour goals: what the policy acts towards during data collection.  Axis letters: E environments, G goal.

CRL explores by reaching for goals, and learns nothing about an object that it never touches. The achieved goals are
then the same throughout an episode, and the critic tells trajectories apart by where the untouched object lies (the lab
journal's "critic collapse"). The kinds of behaviour goals beside the commanded ones:

touch_first      The object where it lies, with the open hand at it.
touch_then_near  touch_first in the first part of an episode. Then the object near a random point between its start and
                 its commanded place; one such point, or a new one every `near_steps` env steps. With `touch_again`,
                 and an object that the hand must hold, every other one of these goals is the object where it then is,
                 with the open hand at it.
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
from envs_mjx.together import Together

# Numbers folded into an episode's key: 1 its start, 2, 4 and 6 here, 3 the mazes' own noise, 5 the noise on actions.
BRING = 0.6
"""Share of the second phase's goals that bring a tool to the object; the others move the object with it."""
SWITCH = (20, 100)
"""`touch_then_near` starts its second part between these env steps, of 150; both scale with the horizon."""


def behaviour_goal(
    env: GoalEnv, state: State, config: ExploreConfig, replayed: Callable[[State], jax.Array] | None = None
) -> jax.Array:
    """(E, G) goals to act towards: the commanded goals, or in a share of the episodes exploratory ones.

    Args:
        replayed: the function that `replay_goals` returns; the kinds "replay" and "mixed" need it.
    """
    if isinstance(env, Together):
        return jnp.concatenate([behaviour_goal(part, own, config) for part, own in env.split(state)])
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
    """(E, 8, 2) keys of the running episodes: whether an episode explores, and where to."""

    def keys(key: jax.Array) -> jax.Array:
        return jnp.concatenate([jax.random.split(jax.random.fold_in(key, 2), 5), _more_keys(key)])

    return jax.vmap(keys)(state.key)


def _more_keys(key: jax.Array) -> jax.Array:
    return jax.random.split(jax.random.fold_in(key, 7), 3)


def _touching(env: GoalEnv, state: State, config: ExploreConfig) -> jax.Array:
    """(E, G) goals of touch_first or touch_then_near, as if every episode explored."""
    keys = _phase_keys(state)
    first = _touch(env, state, state.start, keys[:, 1], config)
    if config.behaviour_goals == "touch_first":
        return first
    low, high = (round(bound * env.spec.horizon / 150) for bound in SWITCH)
    switch = jax.vmap(lambda key: jax.random.randint(key, (), low, high + 1))(keys[:, 3])
    since = state.time - switch
    place = jnp.maximum(since, 0) // (config.near_steps or env.spec.horizon)
    if config.near_steps > 0:  # the first place takes the episode's own keys
        again = jax.vmap(jax.vmap(jax.random.fold_in, (0, None)))(keys, place)
        keys = jnp.where((place > 0)[:, None, None], again, keys)
    near = _near(env, state, keys, config)
    if config.touch_again and env.held_object:
        taken_up = _touch(env, state, env.object_point(state.obs), keys[:, 1], config)
        near = jnp.where((place % 2 == 1)[:, None], taken_up, near)
    return jnp.where((since >= 0)[:, None], near, first)


def _touch(env: GoalEnv, state: State, point: jax.Array, keys: jax.Array, config: ExploreConfig) -> jax.Array:
    """(E, G) goals of the open hand near the object at `point` (E, 3), or near the tool where that is now."""
    goal = env.touch_goal(point) if env.tool is None else env.tool.touch(state.obs)
    return goal + in_disc(keys, config.touch_radius) @ env.hand_in_goal()


def _near(env: GoalEnv, state: State, keys: jax.Array, config: ExploreConfig) -> jax.Array:
    """(E, G) goals of the object somewhere on its way; of a tool also: its working end on the way to the object."""
    end = env.commanded_point(state.target)
    aside = in_disc(keys[:, 2], config.near_radius if env.free_object else 0.0)
    if env.tool is None:
        point = on_the_way(keys[:, 4], state.start, end) + aside
        if env.held_object and config.near_height > 0:
            point = raised(keys[:, 5], point, jnp.maximum(state.start[:, 2], end[:, 2]) + config.near_height)
        return env.commanded_goal(point)
    here, lies = env.object_point(state.obs), env.tool.lies(state)
    reached = env.tool.reaches(here)
    point = on_the_way(keys[:, 6], lies, reached) + aside
    if config.near_height > 0:
        point = raised(keys[:, 5], point, jnp.maximum(lies[:, 2], reached[:, 2]) + config.near_height)
    moved = env.commanded_goal(on_the_way(keys[:, 4], here, end) + aside)
    brings = jax.vmap(jax.random.uniform)(keys[:, 7]) < BRING
    return jnp.where(brings[:, None], env.tool.bring(state.obs, point), moved)


# -- where an exploratory goal may lie: pure functions of a key for each environment ----------------------------------


def on_the_way(keys: jax.Array, start: jax.Array, end: jax.Array) -> jax.Array:
    """(E, 3) points uniform on the straight line from `start` to `end`, each (E, 3)."""
    return start + jax.vmap(jax.random.uniform)(keys)[:, None] * (end - start)


def raised(keys: jax.Array, point: jax.Array, top: jax.Array) -> jax.Array:
    """(E, 3) points at a height that is uniform between that of `point` (E, 3) and `top` (E,), metres.

    The straight line to a target may run through a wall or under a board. The hand carries the object over them.
    """
    share = jax.vmap(jax.random.uniform)(keys)
    return point.at[:, 2].add(share * jnp.maximum(top - point[:, 2], 0.0))


def in_disc(keys: jax.Array, radius: float) -> jax.Array:
    """(E, 3) offsets uniform in a horizontal disc."""

    def draw(key: jax.Array) -> jax.Array:
        angle_key, radius_key = jax.random.split(key)
        angle = jax.random.uniform(angle_key, maxval=2 * jnp.pi)
        distance = radius * jnp.sqrt(jax.random.uniform(radius_key))
        return distance * jnp.array([jnp.cos(angle), jnp.sin(angle), 0.0])

    return jax.vmap(draw)(keys)
