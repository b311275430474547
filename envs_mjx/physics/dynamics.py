"""What the engines `warp` and `jax` have in common: the state of their simulations, and the interface of a stepper.

Axis letters: E environments, U controls.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, Protocol

import jax
from flax import struct

from envs_mjx.physics.base import Scene, WeldControl

POSITIONS = {"body": "xpos", "site": "site_xpos", "geom": "geom_xpos"}
MATRICES = {"body": "xmat", "site": "site_xmat", "geom": "geom_xmat"}
"""Kind of a `Part` -> MuJoCo's field of its position (metres) or rotation (3x3 matrix)."""
Refresh = Literal["no", "poses", "all"]
"""What a stepper computes after its last substep: nothing, poses (`mj_kinematics`), or all fields (`mj_forward`)."""


class Dynamics(struct.PyTreeNode):
    """State of E simulations, float32.

    Attributes:
        qpos: (E, nq). qvel, warmstart: (E, nv). mocap: (E, 3) metres. fixture: (E, 3) metres, in its parent's frame.
        turn: (E, 4) quaternion of the mocap body; None where it never turns.
    """

    qpos: jax.Array
    qvel: jax.Array
    warmstart: jax.Array
    mocap: jax.Array
    fixture: jax.Array
    turn: jax.Array | None = None


class Stepped(NamedTuple):
    """What a stepper returns.

    Attributes:
        engine: the new state; mocap, fixture and turn are as before.
        fields: has MuJoCo's fields that the scene reads as attributes, each (E, ...); see `fields_read`.
        used: (E, number of buffers) int32 largest need of each buffer in these substeps; None without buffers.
    """

    engine: Dynamics
    fields: Any
    used: jax.Array | None


class Stepper(Protocol):
    """Simulates E copies of a scene; pure, for use inside jit, scan and vmap."""

    def run(self, engine: Dynamics, ctrl: jax.Array | None, substeps: int, refresh: Refresh) -> Stepped:
        """`substeps` (0 or more) with controls (E, U), all 0 if None; then the fields are refreshed."""
        ...


def fields_read(scene: Scene) -> tuple[str, ...]:
    """Names of MuJoCo's fields from which the readout of a scene is made."""
    parts = scene.parts
    found = {POSITIONS[part.kind] for part in parts.points} | {MATRICES[part.kind] for part in parts.rotations}
    found |= {"sensordata"} if parts.touches else set()
    found |= {"site_xpos", "subtree_com", "cdof"} if parts.velocities else set()
    found |= {"xpos", "xquat"} if isinstance(scene.control, WeldControl) else set()
    return tuple(sorted(found))
