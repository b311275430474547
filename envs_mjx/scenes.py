"""Official Meta-World MJCF -> compiled model and settled state, made once per task and cached."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

import mujoco
import numpy as np

_WELD = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 5.0)
"""eq_data of the mocap weld (metaworld/sawyer_xyz_env.py, `reset_mocap_welds`); a 12th value is MuJoCo 3.17's own."""

SETTLE_STEPS = 50
"""Env steps at hand_init with ctrl (-1, 1) of an official reset (`_reset_hand`)."""


def asset_folder() -> Path:
    """Folder of the installed Meta-World's Sawyer scenes (the package itself is not imported)."""
    found = importlib.util.find_spec("metaworld")
    if found is None or found.origin is None:
        raise ImportError("metaworld is not installed: pip install metaworld==3.0.0")
    return Path(found.origin).parent / "assets" / "sawyer_xyz"


@functools.cache
def load_model(scene: str) -> mujoco.MjModel:
    """The official scene `sawyer_<scene>.xml` with the mocap weld that the official constructor sets."""
    model = mujoco.MjModel.from_xml_path(str(asset_folder() / f"sawyer_{scene}.xml"))
    for index in range(model.neq):
        if model.eq_type[index] == mujoco.mjtEq.mjEQ_WELD:
            model.eq_data[index, : len(_WELD)] = _WELD
    return model


@functools.cache
def settle(
    scene: str, hand_init: tuple[float, float, float], extra_steps: int = 0, frame_skip: int = 5
) -> mujoco.MjData:
    """State after the official reset's `_reset_hand`, from the model's defaults; kinematics refreshed."""
    model = load_model(scene)
    data = mujoco.MjData(model)
    for _ in range(SETTLE_STEPS + extra_steps):
        data.mocap_pos[0] = hand_init
        data.mocap_quat[0] = np.array([1, 0, 1, 0])
        data.ctrl[:] = (-1, 1)
        mujoco.mj_step(model, data, nstep=frame_skip)
    mujoco.mj_forward(model, data)
    return data
