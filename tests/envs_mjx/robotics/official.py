"""The official Gymnasium-Robotics environments, made to start on MuJoCo 3.17."""

from __future__ import annotations

import types
import warnings
from typing import Any

import gymnasium
import mujoco


def make(name: str, **settings: Any) -> Any:
    """The official environment, unwrapped.

    Its `set_joint_qpos` asks whether a NumPy number is in a tuple of enum members, which is never so since MuJoCo 3.17.
    It gets a `mujoco` whose `mjtJoint` has plain numbers.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import gymnasium_robotics
        from gymnasium_robotics.utils import mujoco_utils

        members = {name: getattr(mujoco, name) for name in dir(mujoco) if not name.startswith("__")}
        joints = types.SimpleNamespace(**{name: int(value) for name, value in mujoco.mjtJoint.__members__.items()})
        mujoco_utils.mujoco = types.SimpleNamespace(**members | {"mjtJoint": joints})
        gymnasium.register_envs(gymnasium_robotics)
        return gymnasium.make(name, **settings).unwrapped
