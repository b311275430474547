"""`arm_grasp`: close the fingers on both sides of a cube; a goal is where both fingertips are, and how far apart.

Sizes, distances and the rule of success are JaxGCRL's (arXiv:2408.11052, `arm_grasp`). Departures: there the goal moves
with the cube while an episode runs; here it stays where the cube lay, and success, as there, is judged by where the
cube is now. Its opening is compared with the goal's own last number (there by an index beyond the goal, which JAX
clips to the same).

Axis letters: E environments, G = 7.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from envs_mjx.base import State
from envs_mjx.locomotion.draws import around
from envs_mjx.locomotion.env import Locomotion
from envs_mjx.locomotion.tasks import LocomotionTask

WITHIN = {"success": (0.05, 0.02), "success_easy": (0.15, 0.05), "success_hard": (0.02, 0.005)}
"""Metric -> metres from the fingertips' middle to the cube, and between the opening and the goal's, at most."""


class Grasp(Locomotion):
    """`GoalEnv` over E arms with a cube; goals are (left fingertip, right fingertip, distance between them)."""

    def commanded_goal(self, target: jax.Array) -> jax.Array:
        """(E, 3) a cube -> (E, 7): the fingertips on both sides of it."""
        return around(target)

    def goal_success(self, achieved_goal: jax.Array, goal: jax.Array) -> jax.Array:
        """(..., 7), (..., 7) -> (...,) bool."""
        return _held(_middle(achieved_goal), achieved_goal, _middle(goal), goal, *WITHIN["success"])

    def hand_in_goal(self) -> jax.Array:
        """(3, 7): both fingertips move with the hand."""
        return jnp.concatenate([jnp.eye(3), jnp.eye(3), jnp.zeros((3, 1))], axis=1)

    def _point_of(self, goal: jax.Array) -> jax.Array:
        """(E, 7) -> (E, 3): the middle between the fingertips."""
        return _middle(goal)

    def _scored(self, state: State, diverged: jax.Array) -> State:
        cube, achieved = state.obs[:, :3], self.achieved_goal(state.obs)
        metrics = {"distance": jnp.linalg.norm(_middle(achieved) - cube, axis=-1)}
        for name, within in WITHIN.items():
            metrics[name] = _held(_middle(achieved), achieved, cube, state.goal, *within).astype(jnp.float32)
        metrics |= {"diverged": diverged.astype(jnp.float32)} | self._buffers_used(state)
        return state.replace(success=metrics["success"] > 0, metrics=metrics)


def make_body(task: LocomotionTask, *settings: Any) -> Locomotion:
    """The environment of a row of `TASKS`; `settings` as `Locomotion` has them."""
    return (Grasp if task.goals == "grasp" else Locomotion)(task, *settings)


def _middle(goal: jax.Array) -> jax.Array:
    return (goal[..., :3] + goal[..., 3:6]) / 2


def _held(
    middle: jax.Array, achieved: jax.Array, cube: jax.Array, goal: jax.Array, near: float, closed: float
) -> jax.Array:
    """(...,) bool: the fingers' middle within `near` of the cube, their distance within `closed` of the goal's."""
    return (jnp.linalg.norm(middle - cube, axis=-1) < near) & (jnp.abs(achieved[..., 6] - goal[..., 6]) < closed)
