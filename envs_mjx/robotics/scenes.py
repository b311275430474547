"""Compiled scenes of Fetch, settled as the official package settles them; its MJCF is read where it is installed."""

from __future__ import annotations

import functools
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np

from envs_mjx.base import EnvError
from envs_mjx.physics.base import Coord, Part, Parts, Placement, Scene, WeldControl
from envs_mjx.robotics.tasks import CAMERA, SUBSTEPS, FetchTask

GRIP, OBJECT = Part("site", "robot0:grip"), Part("site", "object0")
LINK, MOCAP = "robot0:gripper_link", "robot0:mocap"
FINGERS = ("robot0:r_gripper_finger_joint", "robot0:l_gripper_finger_joint")
"""In the order of the joints; actuators have the other order."""
OBJECT_JOINT = "object0:joint"
_EYE, _AXES = (1.865, 0.34, 0.865), (0.75, 0.95, 0.0, -0.57, 0.45, 1.465)
_TO_TABLE = np.array([-0.498, 0.005, -0.431])
"""Metres by which the official `_env_setup` moves the gripper; it then steps ten times."""


@dataclass(frozen=True)
class Settled:
    """A scene at rest.

    Attributes:
        grip: (3,) position of the gripper, around which objects and targets are drawn, metres.
        height: of the object on the table, metres; 0 without an object.
    """

    scene: Scene
    grip: tuple[float, float, float]
    height: float


def assets() -> Path:
    """Folder of the package's MJCF files.

    Raises:
        EnvError: the package is not installed.
    """
    found = importlib.util.find_spec("gymnasium_robotics")  # Not imported: that would load all its environments.
    if found is None or found.origin is None:
        raise EnvError("Fetch and PointMaze read their scenes from gymnasium-robotics; pip install -e '.[robotics]'")
    return Path(found.origin).parent / "envs" / "assets"


@functools.cache
def settled(task: FetchTask) -> Settled:
    """The scene of a task after the official `_env_setup`."""
    spec = mujoco.MjSpec.from_file(str(assets() / "fetch" / task.file))
    spec.worldbody.add_camera(name=CAMERA, pos=_EYE, xyaxes=_AXES, fovy=60)
    model = spec.compile()
    data = mujoco.MjData(model)
    for index, place in enumerate(task.base):
        data.joint(f"robot0:slide{index}").qpos[0] = place
    if task.object_at:
        data.joint(OBJECT_JOINT).qpos[:] = (*task.object_at, 1, 0, 0, 0)
    model.eq_data[model.eq_type == mujoco.mjtEq.mjEQ_WELD, :7] = (0, 0, 0, 0, 0, 0, 1)
    mujoco.mj_forward(model, data)
    data.mocap_pos[0] = _TO_TABLE + np.array([0, 0, task.extra_height]) + data.site(GRIP.name).xpos
    data.mocap_quat[0] = WeldControl.quat
    for _ in range(10):
        mujoco.mj_step(model, data, nstep=SUBSTEPS)
    grip = tuple(float(number) for number in data.site(GRIP.name).xpos)
    height = float(data.site(OBJECT.name).xpos[2]) if task.object_at else 0.0
    # A reset begins from the model's defaults with these positions and velocities.
    start = mujoco.MjData(model)
    start.qpos[:], start.qvel[:], start.time = data.qpos, data.qvel, data.time
    mujoco.mj_kinematics(model, start)
    placed = task.object_at is not None
    seen = (GRIP, OBJECT) if placed else (GRIP,)
    parts = Parts(seen, (OBJECT,) if placed else (), whole=model.nq + model.nv, velocities=seen)
    fingers = FINGERS[::-1]  # as the actuators
    control = WeldControl(LINK, fingers, task.shut)
    placement = Placement()
    if placed:
        at = (Coord(0), Coord(1), Coord(settled=True))
        placement = Placement(int(model.joint(OBJECT_JOINT).qposadr[0]), at, Part("body", "object0"))
    scene = Scene(task.name, model, start, parts, control, placement, frame_skip=SUBSTEPS)
    return Settled(scene, grip, height)  # type: ignore[arg-type]
