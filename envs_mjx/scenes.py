"""Official Meta-World MJCF -> compiled model and settled state, made once per task and cached."""

from __future__ import annotations

import functools
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np

_WELD = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 5.0)
"""eq_data of the mocap weld (metaworld/sawyer_xyz_env.py, `reset_mocap_welds`); a 12th value is MuJoCo 3.17's own."""

_STRONGEST = 2
"""Reduction of a contact sensor (MuJoCo XML reference, sensor/contact): of all contacts, the one of largest force."""

SETTLE_STEPS = 50
"""Env steps at hand_init with ctrl (-1, 1) of an official reset (`_reset_hand`)."""


def asset_folder() -> Path:
    """Folder of the installed Meta-World's Sawyer scenes (the package itself is not imported)."""
    found = importlib.util.find_spec("metaworld")
    if found is None or found.origin is None:
        raise ImportError("metaworld is not installed: pip install metaworld==3.0.0")
    return Path(found.origin).parent / "assets" / "sawyer_xyz"


@functools.cache
def load_model(scene: str, touches: tuple[tuple[str, str], ...] = ()) -> mujoco.MjModel:
    """The official scene `sawyer_<scene>.xml` with the mocap weld that the official constructor sets.

    Args:
        touches: pairs of geoms, each with a sensor of the strongest force between them; the motion stays the same.
    """
    spec = mujoco.MjSpec.from_file(str(asset_folder() / f"sawyer_{scene}.xml"))
    for first, second in touches:
        spec.add_sensor(
            type=mujoco.mjtSensor.mjSENS_CONTACT,
            objtype=mujoco.mjtObj.mjOBJ_GEOM,
            objname=first,
            reftype=mujoco.mjtObj.mjOBJ_GEOM,
            refname=second,
            intprm=[1 << int(mujoco.mjtConDataField.mjCONDATA_FORCE), _STRONGEST, 1],
        )
    return _with_weld(spec.compile())


def _with_weld(model: mujoco.MjModel) -> mujoco.MjModel:
    for index in range(model.neq):
        if model.eq_type[index] == mujoco.mjtEq.mjEQ_WELD:
            model.eq_data[index, : len(_WELD)] = _WELD
    return model


@functools.cache
def unrefreshed(scene: str, hand_init: tuple[float, float, float], frame_skip: int = 5) -> mujoco.MjData:
    """State after the official `_reset_hand`, from the model's defaults; kinematics one substep late, as left by it."""
    return _hold(load_model(scene), hand_init, SETTLE_STEPS, frame_skip)


@functools.cache
def settle(
    scene: str,
    hand_init: tuple[float, float, float],
    extra_steps: int = 0,
    touches: tuple[tuple[str, str], ...] = (),
    frame_skip: int = 5,
) -> mujoco.MjData:
    """State after the official reset's `_reset_hand`, from the model's defaults; kinematics refreshed."""
    model = load_model(scene, touches)
    data = _hold(model, hand_init, SETTLE_STEPS + extra_steps, frame_skip)
    mujoco.mj_forward(model, data)
    return data


def _hold(model: mujoco.MjModel, hand_init: tuple[float, float, float], steps: int, frame_skip: int) -> mujoco.MjData:
    """The model's defaults after `steps` env steps with the hand sent to hand_init and the gripper open."""
    data = mujoco.MjData(model)
    for _ in range(steps):
        data.mocap_pos[0] = hand_init
        data.mocap_quat[0] = np.array([1, 0, 1, 0])
        data.ctrl[:] = (-1, 1)
        mujoco.mj_step(model, data, nstep=frame_skip)
    return data


@dataclass(frozen=True)
class Edits:
    """How a scene is simplified for MJX's JAX engine, where every pair of colliding geoms costs compile and run time.

    Attributes:
        why: what the edited scene still is, and is not.
        collide: geom -> (contype, conaffinity); every geom not named collides with nothing.
        spheres: geom -> bits of an inscribed sphere put in its place (cylinder against box is not implemented).
        table: bits of a plane put at the table's top, z = 0 (in place of a box); None for no table.
        floating: bodies that gravity does not pull, for objects that nothing holds any more.
        elliptic: keep the official elliptic friction cone (MJX-JAX fails on it where nothing collides).
        iterations, ls_iterations: of the Newton solver (the official scenes ask for 50 and 50).
    """

    why: str
    collide: tuple[tuple[str, tuple[int, int]], ...] = ()
    spheres: tuple[tuple[str, tuple[int, int]], ...] = ()
    table: tuple[int, int] | None = None
    floating: tuple[str, ...] = ()
    elliptic: bool = True
    iterations: int = 8
    ls_iterations: int = 8


_PUCK = Edits(
    why="finger pads against a sphere inside the puck, puck and pads against a plane at table height; nothing else",
    collide=(("rightpad_geom", (1, 0)), ("leftpad_geom", (1, 0)), ("objGeom", (2, 0))),
    spheres=(("objGeom", (0, 1)),),
    table=(0, 3),
)

JAX_EDITS: dict[str, Edits] = {
    "reach_v3": Edits(
        why="no contact at all: hand and gripper only, the puck floats",
        floating=("obj",),
        elliptic=False,
        iterations=3,
        ls_iterations=4,
    ),
    "push_v3": _PUCK,
}
"""Scenes that MJX's JAX engine takes, with what is edited; points read, joints and control are the official ones."""


@functools.cache
def load_jax_model(scene: str) -> mujoco.MjModel:
    """The scene `sawyer_<scene>.xml` with `JAX_EDITS[scene]` applied: the same joints in the same order.

    Raises:
        KeyError: the scene has no row in `JAX_EDITS`.
    """
    edits = JAX_EDITS[scene]
    spec = mujoco.MjSpec.from_file(str(asset_folder() / f"sawyer_{scene}.xml"))
    bits, spheres = dict(edits.collide), dict(edits.spheres)
    for geom in list(spec.geoms):
        geom.contype, geom.conaffinity = bits.get(geom.name, (0, 0))
        if geom.name in spheres:
            contype, conaffinity = spheres[geom.name]
            geom.parent.add_geom(
                name=f"{geom.name}_sphere",
                type=mujoco.mjtGeom.mjGEOM_SPHERE,
                pos=geom.pos,
                size=[min(geom.size[:2]), 0, 0],
                mass=0,
                group=4,
                contype=contype,
                conaffinity=conaffinity,
                **{key: getattr(geom, key) for key in ("friction", "condim", "solref", "solimp", "margin")},
            )
    if edits.table is not None:
        contype, conaffinity = edits.table
        plane = mujoco.mjtGeom.mjGEOM_PLANE
        spec.worldbody.add_geom(type=plane, size=[1, 1, 0.1], group=4, contype=contype, conaffinity=conaffinity)
    # 34 bodies become 13 and the tree 9 deep instead of 13: same motion, a third of the compile time.
    spec.compiler.fusestatic = True
    for unused in [*spec.cameras, *spec.lights]:
        spec.delete(unused)
    for name in edits.floating:
        spec.body(name).gravcomp = 1
    if not edits.elliptic:
        spec.option.cone = mujoco.mjtCone.mjCONE_PYRAMIDAL
    spec.option.iterations, spec.option.ls_iterations = edits.iterations, edits.ls_iterations
    return _with_weld(spec.compile())
