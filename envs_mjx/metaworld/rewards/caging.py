"""Rewards for holding an object: the official `_gripper_caging_reward` and its three task-specific versions.

Quirk shared by all: `init_left_pad` and `init_right_pad` are views into MuJoCo's memory, not copies. They hold
the pads' PRESENT positions, so every "initial" margin computed from them moves with the gripper.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from envs_mjx.metaworld.rewards.base import LEFT_PAD, RIGHT_PAD, Step
from envs_mjx.metaworld.rewards.shaping import hamacher, norm, tolerance

_XZ = jnp.s_[:, 0::2]


def caging(
    step: Step,
    obj: jax.Array,
    radius: float,
    pad_reach: float,
    xz_reach: float,
    reach: float = 0.01,
    effort: float = 1.0,
    density: str = "none",
    start: str = "object",
) -> jax.Array:
    """(E,) `SawyerXYZEnv._gripper_caging_reward`; with start="stick", the version of sawyer_stick_push_v3.py.

    Args:
        obj: (E, 3) position of the object to hold. radius: of the object's bounding sphere (`obj_radius`), metres.
        pad_reach, xz_reach, reach: `pad_success_thresh`, `xz_thresh`, `object_reach_radius`, metres.
        effort: `desired_gripper_effort`.
        density: "none", "medium" (averaged with reaching) or "high" (averaged with caging).
        start: key in `memory` of the start position from which the margins are computed.
    """
    init, tcp, init_tcp = step.memory[start], step.read.tcp, step.memory["tcp"]
    caged = []
    for pad in (LEFT_PAD, RIGHT_PAD):
        pad_y = step.read[pad][:, 1]
        margin = jnp.abs(jnp.abs(pad_y - init[:, 1]) - pad_reach)
        caged.append(tolerance(jnp.abs(pad_y - obj[:, 1]), pad_reach, margin, lower=radius))
    xz_margin = norm(init[_XZ] - init_tcp[_XZ]) - xz_reach
    xz = tolerance(norm(tcp[_XZ] - obj[_XZ]), xz_reach, xz_margin)
    cage = hamacher(hamacher(*caged), xz)
    grip = jnp.where(cage > 0.97, jnp.clip(step.action[:, 3], 0.0, effort) / effort, 0.0)
    held = hamacher(cage, grip)
    if density == "high":
        return (held + cage) / 2.0
    if density == "medium":
        margin = jnp.abs(norm(init - init_tcp) - reach)
        return (held + tolerance(norm(obj - tcp), reach, margin)) / 2.0
    return held


def pick_place_caging(step: Step, obj: jax.Array) -> jax.Array:
    """(E,) `_gripper_caging_reward` of sawyer_pick_place_v3.py."""
    cage = _one_sided(step, obj, 0.015, 0.05, 0.005)
    grip = jnp.where(cage > 0.97, step.closing, 0.0)
    return (hamacher(cage, grip) + cage) / 2.0


def pinching(step: Step, obj: jax.Array, radius: float, grip_reach: float, xz_reach: float) -> jax.Array:
    """(E,) `_gripper_caging_reward` of sawyer_push_back, sweep, sweep_into_goal and soccer_v3.py.

    Quirk: only the pads' distances to the object count, not the commanded closing effort.

    Args:
        radius: `OBJ_RADIUS`, metres. grip_reach: `grip_success_margin` beyond it. xz_reach: `x_z_success_margin`.
    """
    cage = _one_sided(step, obj, radius, 0.05, xz_reach)
    grip = hamacher(*_sides(step, obj, radius, radius + grip_reach))
    return (cage + jnp.where(cage > 0.95, grip, 0.0)) / 2.0


def _one_sided(step: Step, obj: jax.Array, radius: float, pad_reach: float, xz_reach: float) -> jax.Array:
    init, tcp, init_tcp = step.memory["object"], step.read.tcp, step.memory["tcp"]
    xz_margin = norm(init[_XZ] - init_tcp[_XZ]) - xz_reach
    xz = tolerance(norm(tcp[_XZ] - obj[_XZ]), xz_reach, xz_margin)
    return hamacher(hamacher(*_sides(step, obj, radius, pad_reach)), xz)


def _sides(step: Step, obj: jax.Array, radius: float, upper: float) -> tuple[jax.Array, jax.Array]:
    """(E,) for each pad (right, left): nearness to the object, measured on the pad's own side of the object."""
    right, left = obj[:, 1] - step.read[RIGHT_PAD][:, 1], step.read[LEFT_PAD][:, 1] - obj[:, 1]
    return tuple(  # type: ignore[return-value]
        tolerance(apart, upper, jnp.abs(jnp.abs(apart) - 0.05), lower=radius) for apart in (right, left)
    )
