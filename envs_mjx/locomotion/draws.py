"""How episodes begin: starts with noise, and a table of rules for goals and objects, each from one key.

The rules are JaxGCRL's (arXiv:2408.11052), without its slips: every key is used once, and the ball of `ant_ball` lies
on a circle around its place (there the sine is that of another angle).

Axis letters: G goal.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from envs_mjx.locomotion.observe import TARGET_HEIGHT
from envs_mjx.locomotion.tasks import LocomotionTask

Rule = Callable[[LocomotionTask, jax.Array], tuple[jax.Array, dict[int, jax.Array]]]
"""Key -> goal (G,), and coordinates that the start is given: index into q -> values (n,)."""

_ANT_Q, _CUBE_Q = 15, 9
_CUBE_HEIGHT = 0.07
"""Metres: from where a cube falls to the table when an episode begins."""
_GRASP_ASIDE, _GRASP_OPENING = 0.0375, 0.075
"""Metres: of a grasp, each fingertip's distance from the cube's middle along x, and that between them."""
_APART = 0.17
"""Metres: least distance of the pusher's object from its goal."""
REACHER_HEIGHT, PUSHER_HEIGHT = 0.01, -0.323
PUSHER_TABLE = (0.45, -0.05)
"""x, y where the coordinates of the pusher's object and goal are zero."""


def _polar(distance: jax.Array | float, key: jax.Array) -> jax.Array:
    angle = 2 * jnp.pi * jax.random.uniform(key)
    return distance * jnp.stack([jnp.cos(angle), jnp.sin(angle)])


def _one(places: np.ndarray, key: jax.Array) -> jax.Array:
    return jnp.asarray(places)[jax.random.randint(key, (), 0, len(places))]


def _tall(task: LocomotionTask, goal: jax.Array) -> jax.Array:
    return jnp.append(goal, TARGET_HEIGHT) if task.goal_size == 3 else goal


def circle(task: LocomotionTask, key: jax.Array) -> tuple[jax.Array, dict[int, jax.Array]]:
    """Anywhere on a circle of 10 m."""
    return _polar(10.0, key), {}


def ring(task: LocomotionTask, key: jax.Array) -> tuple[jax.Array, dict[int, jax.Array]]:
    """1 to 5 m away, all distances alike."""
    distance_key, angle_key = jax.random.split(key)
    return _tall(task, _polar(jax.random.uniform(distance_key, minval=1.0, maxval=5.0), angle_key)), {}


def ahead(task: LocomotionTask, key: jax.Array) -> tuple[jax.Array, dict[int, jax.Array]]:
    """5 m along x, always."""
    return jnp.array([5.0]), {}


def cells(task: LocomotionTask, key: jax.Array) -> tuple[jax.Array, dict[int, jax.Array]]:
    """The middle of one of the maze's goal cells, from the middle of one of its starts."""
    assert task.maze
    goal_key, start_key = jax.random.split(key)
    return _tall(task, _one(task.maze.at("g"), goal_key)), {0: _one(task.maze.at("r"), start_key)}


def near_cells(task: LocomotionTask, key: jax.Array) -> tuple[jax.Array, dict[int, jax.Array]]:
    """Up to 2 m beyond the middle of a goal cell in x and y; the start is the origin, with noise."""
    assert task.maze
    cell_key, more_key = jax.random.split(key)
    return _one(task.maze.at("g"), cell_key) + 2.0 * jax.random.uniform(more_key, (2,)), {_ANT_Q: jnp.zeros(3)}


def ball(task: LocomotionTask, key: jax.Array) -> tuple[jax.Array, dict[int, jax.Array]]:
    """On a circle of 5 m; the ball 1 m around a point a fifth of the way."""
    goal_key, ball_key = jax.random.split(key)
    goal = _polar(5.0, goal_key)
    return goal, {_ANT_Q: 0.2 * goal + _polar(1.0, ball_key)}


def ball_cells(task: LocomotionTask, key: jax.Array) -> tuple[jax.Array, dict[int, jax.Array]]:
    """As `cells`, the ball in the middle of one of its own."""
    assert task.maze
    rest_key, ball_key = jax.random.split(key)
    goal, start = cells(task, rest_key)
    return goal, start | {_ANT_Q: _one(task.maze.at("b"), ball_key)}


def disc(task: LocomotionTask, key: jax.Array) -> tuple[jax.Array, dict[int, jax.Array]]:
    """Within 0.2 m, all distances alike; the scene's own target is put there."""
    distance_key, angle_key = jax.random.split(key)
    goal = _polar(0.2 * jax.random.uniform(distance_key), angle_key)
    return jnp.append(goal, REACHER_HEIGHT), {2: goal}


def _on_table(low: tuple[float, float], high: tuple[float, float]) -> Rule:
    """Goal uniform in a rectangle of the scene's (y, x), the object in its own, pushed away from the goal."""

    def rule(task: LocomotionTask, key: jax.Array) -> tuple[jax.Array, dict[int, jax.Array]]:
        object_key, goal_key = jax.random.split(key)
        lying = jax.random.uniform(object_key, (2,), minval=jnp.array([-0.3, -0.2]), maxval=jnp.array([-1e-6, 0.2]))
        goal = jax.random.uniform(goal_key, (2,), minval=jnp.array(low), maxval=jnp.array(high))
        apart = jnp.linalg.norm(lying - goal)
        lying *= jnp.where(apart < _APART, _APART / jnp.maximum(apart, 1e-6), 1.0)
        return jnp.append(goal[::-1] + jnp.array(PUSHER_TABLE), PUSHER_HEIGHT), {7: jnp.concatenate([lying, goal])}

    return rule


def reach(task: LocomotionTask, key: jax.Array) -> tuple[jax.Array, dict[int, jax.Array]]:
    """For the arm's hand: in a box of 0.4 m."""
    return jnp.array([0.0, 0.5, 0.3]) + jax.random.uniform(key, (3,), minval=-0.2, maxval=0.2), {}


def _cube(away: float, y: float, lying: float, going: float, start: float | None = None) -> Rule:
    """A cube over a square left of the arm's middle, its goal in one on the right; metres.

    Args:
        away: x of both squares' middles, one negative. y: of the middles. start: x of the cube's, where another.
        lying, going: half sides of the squares.
    """

    def rule(task: LocomotionTask, key: jax.Array) -> tuple[jax.Array, dict[int, jax.Array]]:
        cube_key, goal_key = jax.random.split(key)
        spread = jax.random.uniform(cube_key, (2,), minval=-lying, maxval=lying)
        at = jnp.array([-away if start is None else start, y]) + spread
        goal = jnp.array([away, y]) + jax.random.uniform(goal_key, (2,), minval=-going, maxval=going)
        return jnp.append(goal, 0.03), {_CUBE_Q: jnp.concatenate([at, jnp.array([_CUBE_HEIGHT, 1.0, 0.0, 0.0, 0.0])])}

    return rule


CUBES: dict[str, Rule] = {
    "push_easy": _cube(0.1, 0.6, 0.1, 0.1),
    "push_hard": _cube(0.25, 0.65, 0.25, 0.25),
    "binpick_easy": _cube(0.17, 0.6, 0.07, 0.005, start=-0.15),
    "binpick_hard": _cube(0.3, 0.6, 0.15, 0.15),
}


def around(cube: jax.Array) -> jax.Array:
    """(..., 3) a cube -> (..., 7): the fingertips on both sides of it, and the distance between them."""
    aside = jnp.array([_GRASP_ASIDE, 0.0, 0.0])
    return jnp.concatenate([cube + aside, cube - aside, jnp.full_like(cube[..., :1], _GRASP_OPENING)], axis=-1)


def grasp(task: LocomotionTask, key: jax.Array) -> tuple[jax.Array, dict[int, jax.Array]]:
    """The fingertips on both sides of a cube that lies anywhere in a square of 0.6 m."""
    at = jnp.array([0.0, 0.6]) + jax.random.uniform(key, (2,), minval=-0.3, maxval=0.3)
    return around(jnp.append(at, 0.03)), {_CUBE_Q: jnp.concatenate([at, jnp.array([_CUBE_HEIGHT, 1.0, 0.0, 0.0, 0.0])])}


GOALS: dict[str, Rule] = CUBES | {
    "grasp": grasp,
    "reach": reach,
    "circle": circle,
    "ring": ring,
    "ahead": ahead,
    "cells": cells,
    "near_cells": near_cells,
    "ball": ball,
    "ball_cells": ball_cells,
    "disc": disc,
    "pusher_easy": _on_table((-0.55, -0.2), (-0.25, 0.2)),
    "pusher_hard": _on_table((-0.65, -0.55), (0.35, 0.45)),
}

OBJECT_RULES = ("ball", "ball_cells", "pusher_easy", "pusher_hard", *CUBES)
"""Of them, those whose goal is where an object is to be."""


def draw(task: LocomotionTask, start: np.ndarray, velocities: int, key: jax.Array) -> jax.Array:
    """Reset vector (nq + nv + G,): a start with the body's noise, and what the task's rule says.

    Args:
        start: (nq,) the start before noise.
        velocities: nv.
        key: (2,).
    """
    body = task.physique
    q_key, qd_key, goal_key = jax.random.split(key, 3)
    q = jnp.asarray(start, jnp.float32)
    q += jax.random.uniform(q_key, q.shape, minval=-body.q_noise, maxval=body.q_noise)
    shape = (velocities,)
    unit = jax.random.uniform(qd_key, shape, minval=-1.0) if body.qd_uniform else jax.random.normal(qd_key, shape)
    qd = body.qd_noise * unit
    goal, given = GOALS[task.goals](task, goal_key)
    for index, values in given.items():
        q = q.at[index : index + len(values)].set(values)
        if index:  # An object or target, which lies still; a start only moves the body.
            qd = qd.at[velocities - (len(start) - index) :].set(0.0)
    return jnp.concatenate([q, qd, goal])
