"""Official Meta-World MJCF -> compiled model and settled state, made once per task and cached."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

import mujoco
import numpy as np

_WELD = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 5.0)
"""eq_data of the mocap weld (metaworld/sawyer_xyz_env.py, `reset_mocap_welds`); a 12th value is MuJoCo 3.17's own."""

_STRONGEST = 2
"""`reduce` mode of a contact sensor (MuJoCo XML reference, sensor/contact): keep the contact of largest force."""

SETTLE_STEPS = 50
"""Env steps for which an official reset holds the hand at hand_init with ctrl (-1, 1) (`_reset_hand`)."""


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
        touches: pairs of geoms; each gets a sensor of its strongest contact force, which does not change the motion.
    """
    spec = mujoco.MjSpec.from_file(str(asset_folder() / f"sawyer_{scene}.xml"))
    add_touches(spec, touches)
    return with_weld(spec.compile())


def add_touches(spec: mujoco.MjSpec, touches: tuple[tuple[str, str], ...]) -> None:
    """Give each pair of geoms a sensor of its strongest contact force."""
    for first, second in touches:
        spec.add_sensor(
            type=mujoco.mjtSensor.mjSENS_CONTACT,
            objtype=mujoco.mjtObj.mjOBJ_GEOM,
            objname=first,
            reftype=mujoco.mjtObj.mjOBJ_GEOM,
            refname=second,
            intprm=[1 << int(mujoco.mjtConDataField.mjCONDATA_FORCE), _STRONGEST, 1],
        )


def with_weld(model: mujoco.MjModel) -> mujoco.MjModel:
    """Sets the mocap weld of `model` as the official constructor does; returns `model`."""
    for index in range(model.neq):
        if model.eq_type[index] == mujoco.mjtEq.mjEQ_WELD:
            model.eq_data[index, : len(_WELD)] = _WELD
    return model


@functools.cache
def unrefreshed(scene: str, hand_init: tuple[float, float, float], frame_skip: int = 5) -> mujoco.MjData:
    """State after the official `_reset_hand` from the model's defaults; kinematics one substep late, as there."""
    return _hold(load_model(scene), hand_init, SETTLE_STEPS, frame_skip)


@functools.cache
def settle(
    scene: str,
    hand_init: tuple[float, float, float],
    extra_steps: int = 0,
    touches: tuple[tuple[str, str], ...] = (),
    frame_skip: int = 5,
) -> mujoco.MjData:
    """State after the official `_reset_hand` from the model's defaults; kinematics refreshed."""
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
