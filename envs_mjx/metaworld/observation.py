"""The official observation of 39 values, computed from a batched readout.  Axis letter: E environments."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from envs_mjx.metaworld.layout import layout
from envs_mjx.metaworld.rewards.base import HAND, HAND_HIGH, HAND_LOW
from envs_mjx.metaworld.rotation import quaternion
from envs_mjx.metaworld.tasks import TaskSpec
from envs_mjx.physics.base import Part, PhysicsState

OBS_SIZE, FRAME_SIZE = 39, 18
"""Official observation: [frame now (18), frame before (18), goal (3)]; a frame: [hand 3, gripper 1, objects 14]."""


def observation(
    task: TaskSpec, physics: PhysicsState, previous: jax.Array | None, target: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The official observation from a readout of `task`'s scene: `_get_obs`, and the clipping of the hand in `step`.

    Not copied: the official `step` also clips the goal to `goal_space`, which moves the goal by less than 1e-7 m. A
    quaternion that the official code reads from `xquat` has w >= 0 at a reset; later it has the sign that is nearer to
    the previous frame, as in MuJoCo.

    Args:
        physics: readout (E, ...).
        previous: (E, 18) frame of the previous step. None at a reset: the observation repeats its own frame, unclipped.
        target: (E, 3) metres.

    Returns:
        obs (E, 39) and the frame (E, 18), which is the next call's `previous`; float32.
    """
    current = _frame(task, physics, previous)
    if previous is None:
        return jnp.concatenate([current, current, target], axis=-1), current
    frames = [_clip_hand(current), _clip_hand(previous), target]
    return jnp.concatenate(frames, axis=-1), current


def _clip_hand(frame: jax.Array) -> jax.Array:
    hand = jnp.clip(frame[..., :3], jnp.asarray(HAND_LOW, jnp.float32), jnp.asarray(HAND_HIGH, jnp.float32))
    return jnp.concatenate([hand, frame[..., 3:]], axis=-1)


def _frame(task: TaskSpec, physics: PhysicsState, previous: jax.Array | None) -> jax.Array:
    """(E, 18) `_get_curr_obs_combined_no_goal`: hand, gripper, then position and quaternion of each object, zeros."""
    places = layout(task)
    parts = [places.point(physics, HAND), places.opening(physics)]
    rotations = iter(range(len(places.parts.rotations)))
    count = physics.points.shape[0]
    for slot, (part, turned) in enumerate(zip(task.objects, task.quats, strict=True)):
        parts.append(places.point(physics, part))
        if isinstance(turned, Part):
            quat = quaternion(physics.rotations[:, next(rotations)], task.quat_order)
            if previous is not None and task.quat_order == "wxyz":
                start = 4 + 7 * slot + 3
                before = previous[:, start : start + 4]
                quat = quat * jnp.where((quat * before).sum(-1, keepdims=True) < 0, -1.0, 1.0)
        else:
            quat = jnp.broadcast_to(jnp.asarray(turned or (0.0,) * 4, jnp.float32), (count, 4))
        parts.append(quat)
    parts.append(jnp.zeros((count, FRAME_SIZE - sum(part.shape[-1] for part in parts))))
    return jnp.concatenate(parts, axis=-1)
