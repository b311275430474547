"""The manipulation tasks of "A Single Goal is All You Need" (2408.05804), derived from rows of Meta-World.

Observation = goal = the full state [hand (3), finger opening (1), object (3), the object's quaternion (4) where a row
commands one], as in `env_utils.py` of github.com/graliuce/sgcrl (SawyerBin, SawyerBox, SawyerPeg). Scenes, resets and
bounds are those of Meta-World V3's bin-picking, box-close and peg-insert-side.

Axis letters: E environments, G = D goal and observation.
"""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp

from envs_mjx.metaworld.rotation import quaternion
from envs_mjx.metaworld.tasks import TASKS, TaskSpec
from envs_mjx.metaworld.tasks.spec import FullState
from envs_mjx.physics.base import Coord, PhysicsState

PUBLISHED = (0.0, 0.0, 0.0)
"""Shift of the commanded goals: none, unlike in the rows that these are made of."""
_ROWS = (
    replace(
        TASKS["bin-picking"],
        name="sawyer_bin",
        target=(Coord(plus=0.12), Coord(plus=0.7), Coord(plus=0.02)),
        full_state=FullState(),
        hand_offset=(0.0, 0.0, 0.03),
        goal_shift=PUBLISHED,
    ),
    replace(
        TASKS["box-close"],
        name="sawyer_box",
        full_state=FullState(quat=(0.707, 0.0, 0.0, 0.707)),
        hand_offset=(0.0, 0.0, 0.03),
        goal_shift=PUBLISHED,
    ),
    replace(TASKS["peg-insert-side"], name="sawyer_peg", full_state=FullState(), hand_offset=(0.13, 0.0, 0.03)),
)

SINGLE_GOAL: dict[str, TaskSpec] = {row.name: row for row in _ROWS}


def turned(task: TaskSpec, physics: PhysicsState) -> jax.Array:
    """(E, 4) quaternion (w, x, y, z) of the object, or (E, 0) where the task commands none."""
    assert task.full_state
    if task.full_state.quat is None:
        return jnp.zeros((physics.points.shape[0], 0))
    return quaternion(physics.rotations[:, 0], "wxyz")


def commanded(task: TaskSpec, target: jax.Array) -> jax.Array:
    """(E, 3) object goal -> (E, G): the hand at its offset, the commanded opening, the object and its quaternion."""
    assert task.full_state
    rest = jnp.array(task.full_state.quat or (), jnp.float32)
    parts = (target + jnp.array(task.hand_offset), jnp.array([task.full_state.opening]), target, rest)
    return jnp.concatenate([jnp.broadcast_to(part, (*target.shape[:-1], part.shape[-1])) for part in parts], axis=-1)


def quat_success(task: TaskSpec, quat: jax.Array) -> jax.Array:
    """(..., 4) or (..., 0) -> (...,) bool: quaternion as commanded; True where none is commanded."""
    assert task.full_state
    error = quat - jnp.array(task.full_state.quat or (), jnp.float32)
    return jnp.linalg.norm(error, axis=-1) < task.full_state.quat_radius
