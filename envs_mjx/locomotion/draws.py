"""Starts of episodes: noise on the start state, and a table of rules that draw goals and objects from one key.

The rules are JaxGCRL's (arXiv:2408.11052) with two corrections. Every key is used once, and the ball of `ant_ball` lies
on a circle around its mean place (JaxGCRL takes the sine and the cosine of different angles).

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
"""(task, key) -> goal (G,), and start coordinates that the rule sets: index into q -> values (n,)."""

_ANT_Q, _CUBE_Q = 15, 9
_CUBE_HEIGHT = 0.07
"""Metres: height of the cube at the start of an episode, from which it falls to the table."""
_GRASP_ASIDE, _GRASP_OPENING = 0.0375, 0.075
"""Metres: in a grasp goal, each fingertip's distance from the cube's middle along x, and between the fingertips."""
_APART = 0.17
"""Metres: a pusher's object that is drawn nearer to its goal than this is moved, see `_on_table`."""
REACHER_HEIGHT, PUSHER_HEIGHT = 0.01, -0.323
PUSHER_TABLE = (0.45, -0.05)
"""Metres: world x, y where the coordinates of the pusher's object and goal are zero."""


def _polar(distance: jax.Array | float, key: jax.Array) -> jax.Array:
    angle = 2 * jnp.pi * jax.random.uniform(key)
    return distance * jnp.stack([jnp.cos(angle), jnp.sin(angle)])


def _one(places: np.ndarray, key: jax.Array) -> jax.Array:
    return jnp.asarray(places)[jax.random.randint(key, (), 0, len(places))]


def _tall(task: LocomotionTask, goal: jax.Array) -> jax.Array:
    return jnp.append(goal, TARGET_HEIGHT) if task.goal_size == 3 else goal


def circle(task: LocomotionTask, key: jax.Array) -> tuple[jax.Array, dict[int, jax.Array]]:
    """Goal: uniform on a circle of radius 10 m."""
    return _polar(10.0, key), {}


def ring(task: LocomotionTask, key: jax.Array) -> tuple[jax.Array, dict[int, jax.Array]]:
    """Goal: 1 to 5 m away, distance and direction uniform."""
    distance_key, angle_key = jax.random.split(key)
    return _tall(task, _polar(jax.random.uniform(distance_key, minval=1.0, maxval=5.0), angle_key)), {}


def ahead(task: LocomotionTask, key: jax.Array) -> tuple[jax.Array, dict[int, jax.Array]]:
    """Goal: always 5 m along x."""
    return jnp.array([5.0]), {}


def cells(task: LocomotionTask, key: jax.Array) -> tuple[jax.Array, dict[int, jax.Array]]:
    """Goal: middle of a random goal cell. The body starts in the middle of a random start cell."""
    assert task.maze
    goal_key, start_key = jax.random.split(key)
    return _tall(task, _one(task.maze.at("g"), goal_key)), {0: _one(task.maze.at("r"), start_key)}


def near_cells(task: LocomotionTask, key: jax.Array) -> tuple[jax.Array, dict[int, jax.Array]]:
    """Goal: a goal cell's middle plus 0 to 2 m in x and in y. The body starts at the origin, with noise."""
    assert task.maze
    cell_key, more_key = jax.random.split(key)
    return _one(task.maze.at("g"), cell_key) + 2.0 * jax.random.uniform(more_key, (2,)), {_ANT_Q: jnp.zeros(3)}


def ball(task: LocomotionTask, key: jax.Array) -> tuple[jax.Array, dict[int, jax.Array]]:
    """Goal: on a circle of radius 5 m. The ball starts 1 m from the point a fifth of the way to the goal."""
    goal_key, ball_key = jax.random.split(key)
    goal = _polar(5.0, goal_key)
    return goal, {_ANT_Q: 0.2 * goal + _polar(1.0, ball_key)}


def ball_cells(task: LocomotionTask, key: jax.Array) -> tuple[jax.Array, dict[int, jax.Array]]:
    """As `cells`; the ball starts in the middle of a random ball cell."""
    assert task.maze
    rest_key, ball_key = jax.random.split(key)
    goal, start = cells(task, rest_key)
    return goal, start | {_ANT_Q: _one(task.maze.at("b"), ball_key)}


def disc(task: LocomotionTask, key: jax.Array) -> tuple[jax.Array, dict[int, jax.Array]]:
    """Goal: within 0.2 m, distance and direction uniform; the scene's own target is put there."""
    distance_key, angle_key = jax.random.split(key)
    goal = _polar(0.2 * jax.random.uniform(distance_key), angle_key)
    return jnp.append(goal, REACHER_HEIGHT), {2: goal}


def _on_table(low: tuple[float, float], high: tuple[float, float]) -> Rule:
    """Rule: goal uniform between corners `low` and `high`, in the scene's (y, x); object uniform in a fixed rectangle.

    Where object and goal are nearer than `_APART`, the object's coordinates are multiplied by `_APART` / distance.
    """

    def rule(task: LocomotionTask, key: jax.Array) -> tuple[jax.Array, dict[int, jax.Array]]:
        object_key, goal_key = jax.random.split(key)
        lying = jax.random.uniform(object_key, (2,), minval=jnp.array([-0.3, -0.2]), maxval=jnp.array([-1e-6, 0.2]))
        goal = jax.random.uniform(goal_key, (2,), minval=jnp.array(low), maxval=jnp.array(high))
        apart = jnp.linalg.norm(lying - goal)
        lying *= jnp.where(apart < _APART, _APART / jnp.maximum(apart, 1e-6), 1.0)
        return jnp.append(goal[::-1] + jnp.array(PUSHER_TABLE), PUSHER_HEIGHT), {7: jnp.concatenate([lying, goal])}

    return rule


def reach(task: LocomotionTask, key: jax.Array) -> tuple[jax.Array, dict[int, jax.Array]]:
    """Goal of the arm's hand: uniform in a cube with sides of 0.4 m."""
    return jnp.array([0.0, 0.5, 0.3]) + jax.random.uniform(key, (3,), minval=-0.2, maxval=0.2), {}


def _cube(away: float, y: float, lying: float, going: float, start: float | None = None) -> Rule:
    """Rule: the cube starts above a square left of the arm's middle, its goal is in a square on the right; metres.

    Args:
        away: x of the goal square's middle. start: x of the cube square's middle; None: -away. y: of both middles.
        lying, going: half sides of the cube's square and of the goal's square.
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
    """(..., 3) cube -> (..., 7) grasp goal: fingertips on both sides of the cube, and the distance between them."""
    aside = jnp.array([_GRASP_ASIDE, 0.0, 0.0])
    return jnp.concatenate([cube + aside, cube - aside, jnp.full_like(cube[..., :1], _GRASP_OPENING)], axis=-1)


def grasp(task: LocomotionTask, key: jax.Array) -> tuple[jax.Array, dict[int, jax.Array]]:
    """Goal: fingertips on both sides of the cube, which is uniform in a square with sides of 0.6 m."""
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
"""Rows of `GOALS` whose goal is a position of the object, not of the body."""


def draw(task: LocomotionTask, start: np.ndarray, velocities: int, key: jax.Array) -> jax.Array:
    """Reset vector (nq + nv + G,): start state with the body's noise and the rule's coordinates, then the goal.

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
        if index:  # An object or target starts at rest. Index 0 only moves the body.
            qd = qd.at[velocities - (len(start) - index) :].set(0.0)
    return jnp.concatenate([q, qd, goal])
