"""`arm_grasp`: close the fingers on both sides of a cube. A goal is both fingertips and the distance between them.

Sizes, distances and the rule of success are JaxGCRL's (arXiv:2408.11052, `arm_grasp`), with one departure. In JaxGCRL
the goal moves with the cube during an episode; here the goal stays where the cube lay at the start. In both, success is
judged by the cube's present position. The opening is compared with the goal's last number; JaxGCRL uses an index beyond
the goal, which JAX clips to that number.

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
"""Metric -> limits in metres: fingertips' middle to the cube, and the opening's difference from the goal's opening."""


class Grasp(Locomotion):
    """`GoalEnv` over E arms with a cube; goals are (left fingertip, right fingertip, distance between them)."""

    def commanded_goal(self, target: jax.Array) -> jax.Array:
        """(E, 3) cube -> (E, 7): fingertips on both sides of the cube, and their distance."""
        return around(target)

    def goal_success(self, achieved_goal: jax.Array, goal: jax.Array) -> jax.Array:
        """(..., 7), (..., 7) -> (...,) bool, with the cube in the middle between the goal's fingertips."""
        return _held(_middle(achieved_goal), achieved_goal, _middle(goal), goal, *WITHIN["success"])

    def hand_in_goal(self) -> jax.Array:
        """(3, 7): both fingertips move with the hand, their distance does not change."""
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
    """The environment of a row of `TASKS`; `settings` are the further arguments of `Locomotion`."""
    return (Grasp if task.goals == "grasp" else Locomotion)(task, *settings)


def _middle(goal: jax.Array) -> jax.Array:
    return (goal[..., :3] + goal[..., 3:6]) / 2


def _held(
    middle: jax.Array, achieved: jax.Array, cube: jax.Array, goal: jax.Array, near: float, closed: float
) -> jax.Array:
    """(...,) bool: `middle` is within `near` of the cube, and the opening within `closed` of the goal's (metres)."""
    return (jnp.linalg.norm(middle - cube, axis=-1) < near) & (jnp.abs(achieved[..., 6] - goal[..., 6]) < closed)
