"""Compiled models of the tasks, for every engine: Brax's MJCF plus walls and an object; cached per task."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Sequence
from pathlib import Path

import mujoco
import numpy as np

from envs_mjx.locomotion import panda
from envs_mjx.locomotion.mazes import boxes
from envs_mjx.locomotion.tasks import LocomotionTask

CAMERA = "whole"
BOX_SIDE, BOX_MASS = 7.2, 0.0002
"""Metres, kilograms: the box of `ant_push`."""
BALL_RADIUS = 0.5
_BALL_DENSITY = (1.0, 0.1)
"""kg/m3: the ball is two spheres of the same radius; only the second one collides."""
_GREEN, _WALL, _OBJECT = (0.16, 0.67, 0.31, 0.7), (0.7, 0.5, 0.3, 1.0), (0.9, 0.1, 0.1, 1.0)
_FAR = (-100.0, 100.0)
OBJECT_JOINTS = {"": 0, "ball": 2, "box": 3, "cube": 0}
OBJECT_AT = {"ball": 0.0, "box": 8.0}
"""Metres: world x and y of an object whose joint coordinates are zero."""


@functools.cache
def load_model(task: LocomotionTask, drawn: bool = False) -> mujoco.MjModel:
    """The task's compiled model; links without a joint are fused into their parents, as in Brax.

    Args:
        drawn: whether to add what a picture needs: camera `CAMERA` and a mocap body at the goal.
    """
    if task.body.startswith("panda"):
        spec = panda.build(bool(task.object), task.bins)
    else:
        spec = mujoco.MjSpec.from_file(str(_assets() / task.physique.file))
    spec.compiler.fusestatic = 1
    if task.body == "simple":
        _simplify(spec)
    if task.physique.lands:
        for geom in spec.geoms:
            geom.contype = int(geom.name != "floor")
    if task.maze or task.object in _OBJECTS:
        for name in task.physique.solid:
            spec.geom(name).conaffinity = 1
    if task.maze:
        for middle, half in boxes(task.maze):
            _add_box(spec.worldbody, middle, half, _WALL, contype=int(task.object != "box"))
    if task.object in _OBJECTS:
        _OBJECTS[task.object](spec)
        _extend_start(spec)
    if drawn:
        _add_view(spec, task)
    # The compiler's own `settotalmass` is deprecated, so the compiled model gets the total mass.
    mass, spec.compiler.settotalmass = spec.compiler.settotalmass, -1.0
    model = spec.compile()
    if mass > 0:
        mujoco.mj_setTotalmass(model, mass)
        mujoco.mj_setConst(model, mujoco.MjData(model))
    return model


def start_of(model: mujoco.MjModel) -> np.ndarray:
    """(nq,) start before noise: the arm's `panda.START`, else the MJCF's `init_qpos`, else MuJoCo's `qpos0`."""
    if "joint7" in [model.joint(index).name for index in range(model.njnt)]:
        start = np.array(model.qpos0)
        start[: len(panda.START)] = panda.START
        start[len(panda.START) : len(panda.START) + 2] = panda.OPEN
        return start
    names = [model.numeric(index).name for index in range(model.nnumeric)]
    if "init_qpos" not in names:
        return np.array(model.qpos0)
    return np.array(model.numeric("init_qpos").data)


def _assets() -> Path:
    """Folder of the installed Brax's MJCF (the package itself is not imported)."""
    found = importlib.util.find_spec("brax")
    if found is None or found.origin is None:
        raise ImportError("brax is not installed: pip install brax==0.14.2")
    return Path(found.origin).parent / "envs" / "assets"


def _add_box(body, middle: np.ndarray, half: np.ndarray, rgba: tuple[float, ...], contype: int, mass: float = 0.0):
    more = {"mass": mass} if mass else {}
    shape = mujoco.mjtGeom.mjGEOM_BOX
    return body.add_geom(type=shape, pos=middle, size=half, rgba=rgba, contype=contype, conaffinity=1, **more)


def _slide(body, name: str, axis: Sequence[float], **settings) -> None:
    kind = mujoco.mjtJoint.mjJNT_SLIDE
    body.add_joint(type=kind, name=name, axis=axis, **settings)


def _add_ball(spec: mujoco.MjSpec) -> None:
    body = spec.worldbody.add_body(name="object", pos=[0, 0, BALL_RADIUS])
    for density, contype in zip(_BALL_DENSITY, (0, 1), strict=True):
        body.add_geom(
            type=mujoco.mjtGeom.mjGEOM_SPHERE,
            size=[BALL_RADIUS] * 3,
            density=density,
            contype=contype,
            conaffinity=0,
            rgba=_OBJECT,
        )
    for name, axis in (("object_x", [1, 0, 0]), ("object_y", [0, 1, 0])):
        _slide(body, name, axis, armature=1.0, damping=0.0, limited=1, range=_FAR)


def _add_movable(spec: mujoco.MjSpec) -> None:
    """Add the box of `ant_push`; as in JaxGCRL, the ant also becomes heavier and contacts become harder."""
    for geom in spec.geoms:
        geom.density, geom.solimp[:3] = 40.0, (0.995, 0.995, 0.01)
    spec.geom("torso_geom").contype = 1
    start = list(spec.numeric("init_qpos").data)
    spec.numeric("init_qpos").data = [*start[:2], 0.75, *start[3:]]
    body = spec.worldbody.add_body(name="object", pos=[OBJECT_AT["box"], OBJECT_AT["box"], 2])
    half = np.array([BOX_SIDE, BOX_SIDE, BOX_SIDE / 2]) / 2
    _add_box(body, np.zeros(3), half, _OBJECT, contype=1, mass=BOX_MASS)
    for name, axis in (("object_x", [1, 0, 0]), ("object_y", [0, 1, 0]), ("object_z", [0, 0, 1])):
        _slide(body, name, axis, armature=0.0, damping=0.0, limited=0, margin=0.01)


_OBJECTS = {"ball": _add_ball, "box": _add_movable}


def _extend_start(spec: mujoco.MjSpec) -> None:
    """Extend `init_qpos` with zeros for the object's joints."""
    start = list(spec.numeric("init_qpos").data)
    wanted = spec.compile().nq
    spec.numeric("init_qpos").size = wanted
    spec.numeric("init_qpos").data = start + [0.0] * (wanted - len(start))


def _simplify(spec: mujoco.MjSpec) -> None:
    """Replace the ant by a sphere at its height, which two motors of gear 5 slide over the plane."""
    for actuator in list(spec.actuators):
        spec.delete(actuator)
    spec.delete(spec.body("torso"))
    spec.delete(spec.numeric("init_qpos"))
    body = spec.worldbody.add_body(name="torso", pos=[0, 0, 0.75])
    shape = mujoco.mjtGeom.mjGEOM_SPHERE
    body.add_geom(name="torso_geom", type=shape, size=[0.25] * 3, density=5.0, contype=1, conaffinity=1)
    for name, axis in (("slide_x", [1, 0, 0]), ("slide_y", [0, 1, 0])):
        _slide(body, name, axis, armature=1.0, damping=0.0, limited=1, range=_FAR)
        motor = spec.add_actuator(name=f"move_{name[-1]}", target=name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        motor.gear[0] = 5.0


def _add_view(spec: mujoco.MjSpec, task: LocomotionTask) -> None:
    middle, reach = task.maze.extent() if task.maze else (np.zeros(2), task.reach)
    eye = [middle[0], middle[1] - 2 * reach, 1.8 * reach]
    spec.worldbody.add_camera(name=CAMERA, pos=eye, xyaxes=[1, 0, 0, 0, 1.8, 2], fovy=45)
    mark = spec.worldbody.add_body(name="goal_mark", mocap=True)
    shape = mujoco.mjtGeom.mjGEOM_SPHERE
    mark.add_geom(type=shape, size=[task.radius, 0, 0], rgba=_GREEN, contype=0, conaffinity=0, mass=0)
