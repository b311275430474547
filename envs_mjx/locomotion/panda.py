"""A Franka Panda of capsules on a table, with a cube and bins: the scenes of JaxGCRL's arms, built in code.

JaxGCRL's arm is a model with meshes and identified inertias. This one has the same kinematics (Denavit-
Hartenberg parameters and joint limits published by Franka Emika), link masses, motors, hand and fingers, but each
link's inertia is that of a capsule along it. As in JaxGCRL, only hand, fingers, cube, bins and table collide.
"""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np

from envs_mjx.physics.base import MotorControl

TIMESTEP = 0.002
SOLVER_ITERATIONS, LINESEARCH_ITERATIONS = 6, 12
CUBE_HALF = 0.03
START = (1.571, 0.742, 0.0, -1.571, 0.0, 3.054, 1.449)
"""Radians: joints at the start of an episode."""
OPEN = 0.04
"""Metres: position of each finger at the start of an episode."""
_REACH = (
    (0.3491, 0.0, 0.0, -3.0718, 0.0, 2.3562, 1.4487),
    (2.7925, 1.48353, 0.0, -0.0698, 0.0, 3.7525, 1.4487),
)
"""Radians: smallest and largest command to each joint."""
_R = (1.0, 1.0, 0.0, 0.0)
_L = (1.0, -1.0, 0.0, 0.0)
# Per link: position (m) and quaternion in the parent's frame, joint limits (rad), mass (kg), capsule's end (m), and
# motor: gain on the command, on the angle, on the velocity, largest torque (Nm).
_LINKS: tuple[tuple[Any, ...], ...] = (
    ((0.0, 0.0, 0.333), (1.0, 0.0, 0.0, 0.0), (-2.8973, 2.8973), 4.97, (0.0, 0.0, -0.25), (4500, 4500, 450, 87)),
    ((0.0, 0.0, 0.0), _L, (-1.7628, 1.7628), 0.65, (0.0, -0.15, 0.0), (4500, 4500, 450, 87)),
    ((0.0, -0.316, 0.0), _R, (-2.8973, 2.8973), 3.23, (0.0825, 0.0, 0.0), (2000, 3500, 350, 87)),
    ((0.0825, 0.0, 0.0), _R, (-3.0718, -0.0698), 3.59, (-0.0825, 0.15, 0.0), (2000, 3500, 350, 87)),
    ((-0.0825, 0.384, 0.0), _L, (-2.8973, 2.8973), 1.23, (0.0, 0.0, -0.2), (1000, 2000, 200, 12)),
    ((0.0, 0.0, 0.0), _R, (-0.0175, 3.7525), 1.67, (0.088, 0.0, 0.0), (1000, 2000, 200, 12)),
    ((0.088, 0.0, 0.0), _R, (-2.8973, 2.8973), 0.74, (0.0, 0.0, 0.1), (1000, 2000, 200, 12)),
)
_FINGER_MOTOR = (0.09804, 500.0, 50.0, 500.0)
_BINS = {"easy": (0.17, 0.14), "hard": (0.3, 0.19)}
"""Distance of a bin's middle from x = 0, and of its walls from its middle; metres."""
_WALL_HALF, _WALL_THICK = 0.033, 0.005
_WHITE, _GREY, _BLUE, _RED, _GREEN = (
    (0.9, 0.92, 0.93, 1.0),
    (0.25, 0.25, 0.25, 1.0),
    (0.0, 0.2, 0.8, 1.0),
    (0.8, 0.0, 0.0, 1.0),
    (0.0, 0.4, 0.0, 1.0),
)
_APART = {"contype": 0, "conaffinity": 0}


def build(cube: bool, bins: str = "") -> mujoco.MjSpec:
    """The arm's scene: the arm alone, or with fingers and a `cube`, and with `bins`, a row of `_BINS`."""
    spec = mujoco.MjSpec()
    spec.compiler.degree = False
    spec.option.timestep, spec.option.integrator = TIMESTEP, mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.iterations, spec.option.ls_iterations = SOLVER_ITERATIONS, LINESEARCH_ITERATIONS
    spec.worldbody.add_light(pos=[0, 0, 2])
    plane = mujoco.mjtGeom.mjGEOM_PLANE
    friction = [0.2, 0.005, 0.0001]
    spec.worldbody.add_geom(name="table", type=plane, size=[2.8, 2.4, 0.1], friction=friction, rgba=_GREY, **_APART)
    hand = _add_arm(spec)
    touching = [("table", "hand")]
    if cube:
        _add_fingers(spec, hand)
        lying = spec.worldbody.add_body(name="object")
        lying.add_freejoint()
        box = mujoco.mjtGeom.mjGEOM_BOX
        lying.add_geom(name="cube", type=box, size=[CUBE_HALF] * 3, rgba=_GREEN, **_APART)
        fingers = ["left_finger", "right_finger"]
        touching += [("cube", other) for other in ("table", "hand", *fingers)]
        touching += [("table", finger) for finger in fingers] + [("left_finger", "right_finger")]
        if bins:
            spec.option.impratio = 10
            walls = _add_bins(spec, *_BINS[bins])
            touching += [(mover, wall) for mover in ("cube", *fingers, "hand") for wall in walls]
    for first, second in touching:
        spec.add_pair(geomname1=first, geomname2=second)
    return spec


def _motor(spec: mujoco.MjSpec, joint: str, gains: tuple[float, ...], low: float, high: float) -> None:
    command, angle, velocity, most = gains
    motor = spec.add_actuator(name=f"drive_{joint}", target=joint, trntype=mujoco.mjtTrn.mjTRN_JOINT)
    motor.gaintype, motor.biastype = mujoco.mjtGain.mjGAIN_FIXED, mujoco.mjtBias.mjBIAS_AFFINE
    motor.gainprm[0] = command
    motor.biasprm[:3] = (0.0, -angle, -velocity)
    motor.ctrllimited, motor.ctrlrange = 1, [low, high]
    motor.forcelimited, motor.forcerange = 1, [-most, most]


def _add_arm(spec: mujoco.MjSpec) -> Any:
    """Add seven links with their motors, and the hand; return the hand."""
    parent, capsule = spec.worldbody, mujoco.mjtGeom.mjGEOM_CAPSULE
    for index, (pos, quat, limits, mass, end, gains) in enumerate(_LINKS, 1):
        parent = parent.add_body(name=f"link{index}", pos=pos, quat=quat)
        hinge, name = mujoco.mjtJoint.mjJNT_HINGE, f"joint{index}"
        parent.add_joint(type=hinge, name=name, axis=[0, 0, 1], limited=1, range=limits, armature=0.1, damping=5.0)
        fromto = [0.0, 0.0, 0.0, *end]
        parent.add_geom(type=capsule, size=[0.05, 0, 0], fromto=fromto, mass=mass, rgba=_WHITE, **_APART)
        _motor(spec, name, gains, *limits)
    hand = parent.add_body(name="hand", pos=[0, 0, 0.107], quat=[0.9238795, 0, 0, -0.3826834])
    hand.add_geom(
        name="hand", type=capsule, size=[0.04, 0.06, 0], pos=[0, 0, 0.035], quat=_R, mass=0.73, rgba=_WHITE, **_APART
    )
    return hand


def _add_fingers(spec: mujoco.MjSpec, hand: Any) -> None:
    box, slide = mujoco.mjtGeom.mjGEOM_BOX, mujoco.mjtJoint.mjJNT_SLIDE
    for side, quat in (("left", [1, 0, 0, 0]), ("right", [0, 0, 0, 1])):
        finger, name = hand.add_body(name=f"{side}_finger", pos=[0, 0, 0.0584], quat=quat), f"{side}_slide"
        finger.add_joint(type=slide, name=name, axis=[0, 1, 0], limited=1, range=[0, 0.05], armature=0.1, damping=5.0)
        finger.add_geom(
            name=f"{side}_finger",
            type=box,
            size=[0.015, 0.005, 0.04],
            pos=[0, 0.0055, 0.035],
            mass=0.015,
            friction=[10, 0.005, 0.0001],
            rgba=_GREY,
            **_APART,
        )
        _motor(spec, name, _FINGER_MOTOR, 0.0, 255.0)
    mirror = spec.add_equality(type=mujoco.mjtEq.mjEQ_JOINT, name1="left_slide", name2="right_slide")
    mirror.objtype, mirror.data[:2] = mujoco.mjtObj.mjOBJ_JOINT, (0.0, 1.0)
    mirror.solimp[:3], mirror.solref = (0.95, 0.99, 0.001), [0.005, 1.0]


def _add_bins(spec: mujoco.MjSpec, away: float, half: float) -> list[str]:
    """Add four walls around each of two bins; return the walls' names."""
    names, box = [], mujoco.mjtGeom.mjGEOM_BOX
    for bin_, x, rgba in (("from", -away, _BLUE), ("into", away, _RED)):
        along, across = half + _WALL_THICK, half - _WALL_THICK
        for index, (dx, dy, sx, sy) in enumerate(
            (
                (0.0, -half, along, _WALL_THICK),
                (0.0, half, along, _WALL_THICK),
                (half, 0.0, _WALL_THICK, across),
                (-half, 0.0, _WALL_THICK, across),
            )
        ):
            names.append(f"{bin_}_{index}")
            pos, size = [x + dx, 0.6 + dy, _WALL_HALF], [sx, sy, _WALL_HALF]
            spec.worldbody.add_geom(name=names[-1], type=box, pos=pos, size=size, rgba=rgba, **_APART)
    return names


def control(cube: bool) -> MotorControl:
    """Action (4,) or (5,): angles of joints 1, 2, 4, 6 in JaxGCRL's ranges (rad); the fingers close above 0."""
    low, high = np.array([_REACH[0], _REACH[1]])
    middle, half, column = (low + high) / 2, (high - low) / 2, (0, 1, 0, 2, 0, 3, 0)
    if not cube:
        return MotorControl(tuple(middle), tuple(half), column)
    fingers, switch = (127.5, 127.5), (False,) * 7 + (True,) * 2
    return MotorControl((*middle, *fingers), (*half, -127.5, -127.5), (*column, 4, 4), switch)
