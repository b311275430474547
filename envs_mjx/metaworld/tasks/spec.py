"""`TaskSpec`, the description of a task, and the helpers that its rows are written with.

A reset draws a vector uniformly from [low, high]. `Placement` says what the reset writes; `target` is the goal.
"""

from __future__ import annotations

from dataclasses import dataclass

from envs_mjx.metaworld.success import PREDICATES
from envs_mjx.physics.base import Coord, Part, Placement, Point

TCP = Part("tcp", "tcp")
"""Centre between the two finger sites (`tcp_center`): a point that is computed, not named in the scene."""
KNOB = Part("knob", "knob")
"""Point on the rim of the dial's knob, also computed: 5 cm from body `dial`, at the angle of `knob_Joint_1`."""


@dataclass(frozen=True)
class FullState:
    """The goal contract of "A Single Goal is All You Need": goal = state = [hand, opening, object, quaternion].

    Attributes:
        opening: commanded gripper: distance of the finger sites / 0.1 m, clipped to [0, 1].
        quat: commanded quaternion (w, x, y, z) of the object, part of state and goal; None leaves it out.
        quat_radius: native success also needs norm(quaternion - quat) below this.
    """

    opening: float = 0.4
    quat: tuple[float, float, float, float] | None = None
    quat_radius: float = 0.08


@dataclass(frozen=True)
class Tool:
    """What the hand holds to move the achieved point with; in goals of `object_relative`.

    A goal is then a chain: the object, the tool's working end as seen from the object, the hand as seen from the grasp.

    Attributes:
        grasp, end: indices among the task's extras of the point where the hand holds the tool, and of its working end.
        at: commanded working end minus commanded achieved point, metres (the official scripted policy's in success).
        start: working end minus the first three numbers of the reset vector at the start of an episode, metres.
    """

    grasp: int
    end: int
    at: tuple[float, float, float]
    start: tuple[float, float, float]


@dataclass(frozen=True)
class TaskSpec:
    """One Meta-World task.

    Attributes:
        name, scene: task name; official scene file `sawyer_<scene>.xml`.
        achieved: the point that must reach a position.
        target: official goal position of `achieved`: coordinates of the reset vector, or a part read after the reset.
        low, high: (R,) bounds of the reset vector, metres.
        placement: what the reset writes.
        radius, weights: native success is norm((achieved - target) * weights) <= radius; the next three change it.
        joint: (name, threshold): native success is instead that the joint's position exceeds the threshold.
        inserted: end of the stick; native success also needs this point inside the handle (`_stick_is_inserted`).
        predicate: name in `success.PREDICATES`: native success is that function instead.
        min_xy: least distance of object and goal in xy, metres; nearer vectors are redrawn.
        min_xy_from: constant goal xy for `min_xy`; None takes coordinates 3 and 4 of the vector.
        hand_init, mocap_low, mocap_high: start position of the hand, and bounds of the mocap body; metres.
        settle_extra: env steps of settling beyond the official 50.
        objects, quats: parts that fill the object slots of the official observation; a quat of None is zeros, four
            numbers are a constant.
        quat_order: "wxyz" where official code reads `xquat`, "xyzw" where it converts `xmat` with scipy.
        extras: further points in the compact state (tools).
        hand_offset: commanded hand minus commanded object position, metres, in `hand_object` and `object_relative`.
            Default: 3 cm above the object ("A Single Goal is All You Need"). If the object can only be pushed: behind
            it. Else: about where the official scripted policy has the hand in success (measured, rounded to 1 cm).
        hand_opening: commanded gripper opening in `hand_object` goals, in [0, 1]; None leaves it out. Where the hand
            must hold the object: the opening of the official scripted policy while it succeeds.
        held: the hand holds the object on its way, so `object_relative` goals include `hand_opening`, too.
        tool: what the hand moves the object with, if not its fingers; `hand_offset` is then relative to the grasp.
        goal_shift: commanded goal minus official target, metres. Used where the achieved point cannot reach the target
            or does not succeed there (e.g. the nut of `assembly` must be below the top of its peg).
        goal_y: metres: range of y into which the commanded goal is moved, where the achieved point gets no further.
        rest: where the object comes to rest within the first 30 env steps, minus where the reset puts it, metres.
            Measured with an idle hand; `State.start` is where the object rests.
        goal_apart: why the commanded goal is further from what the scripted policy achieves than `audit` tolerates.
        full_state: if set, the goal is the full state, whatever goal contract is requested.
        control: what `control="auto"` is for the task, see `envs_mjx.control`: "waypoint" where policies learned so and
            not by holding (docs/experiments/presets.md).
        free: whether the achieved point can be put anywhere. None: yes if a free object is placed and `joint` is None.
    """

    name: str
    scene: str
    achieved: Part
    target: Point | Part
    low: tuple[float, ...]
    high: tuple[float, ...]
    placement: Placement
    objects: tuple[Part, ...]
    quats: tuple[Part | tuple[float, ...] | None, ...]
    quat_order: str = "wxyz"
    radius: float = 0.07
    weights: tuple[float, float, float] = (1.0, 1.0, 1.0)
    joint: tuple[str, float] | None = None
    inserted: Part | None = None
    predicate: str = ""
    min_xy: float = 0.0
    min_xy_from: tuple[float, float] | None = None
    hand_init: tuple[float, float, float] = (0.0, 0.6, 0.2)
    mocap_low: tuple[float, float, float] = (-0.5, 0.4, 0.05)
    mocap_high: tuple[float, float, float] = (0.5, 1.0, 0.5)
    settle_extra: int = 0
    extras: tuple[Part, ...] = ()
    hand_offset: tuple[float, float, float] = (0.0, 0.0, 0.03)
    hand_opening: float | None = None
    held: bool = False
    tool: Tool | None = None
    goal_shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    goal_y: tuple[float, float] | None = None
    rest: tuple[float, float, float] = (0.0, 0.0, 0.0)
    goal_apart: str = ""
    free: bool | None = None
    control: str = "hold"
    full_state: FullState | None = None

    @property
    def moves_freely(self) -> bool:
        """Whether the achieved point can be put anywhere, see `free`."""
        placed = self.placement.object_at is not None and self.joint is None
        return placed if self.free is None else self.free

    @property
    def goal_moved(self) -> bool:
        """Whether a commanded goal may differ from the official target."""
        return any(self.goal_shift) or self.goal_y is not None

    def contract(self, goal: str) -> str:
        """The contract that `goal` selects: "auto" is object_relative if the object moves freely, else hand_object."""
        if goal != "auto":
            return goal
        return "object_relative" if self.moves_freely else "hand_object"

    @property
    def official(self) -> str:
        """Name in the official package."""
        return f"{self.name}-v3"

    @property
    def success_rule(self) -> str:
        """The native success predicate in words."""
        if self.predicate:
            return PREDICATES[self.predicate].words
        if self.joint:
            return f"{self.joint[0]} > {self.joint[1]}"
        if self.weights == (1.0, 1.0, 1.0):
            rule = f"distance <= {self.radius}"
        elif sum(weight > 0 for weight in self.weights) == 1:
            axis = "xyz"["".join("1" if weight else "0" for weight in self.weights).index("1")]
            rule = f"|d{axis}| <= {self.radius}"
        else:
            rule = f"norm({_scaled(self.weights)}) <= {self.radius}"
        if self.full_state and self.full_state.quat:
            rule += f", quaternion error < {self.full_state.quat_radius}"
        return rule + (", stick inserted" if self.inserted else "")


def _scaled(weights: tuple[float, ...]) -> str:
    """(1, 2, 0) -> "dx, 2 dy"."""
    pairs = zip(weights, "xyz", strict=True)
    return ", ".join(f"d{axis}" if weight == 1 else f"{weight:g} d{axis}" for weight, axis in pairs if weight)


def v(index: int, plus: float = 0.0) -> Coord:
    return Coord(index=index, plus=plus)


def const(value: float) -> Coord:
    return Coord(plus=value)


SETTLED = Coord(settled=True)
OBJ, GEOM = Part("body", "obj"), Part("geom", "objGeom")
XYZ: Point = (v(0), v(1), v(2))
HAND_32, FAR_HAND_32 = (0.0, 0.6000000238418579, 0.20000000298023224), (0.0, 0.4000000059604645, 0.20000000298023224)
"""hand_init of tasks that keep it in float32 in the official file: the same value as float64."""
FREE = ((9, 15),)
"""qvel range that the official `_set_obj_xyz` clears (free joint: 3 linear, 3 angular)."""


def puck(height: Part | None, **extra) -> Placement:
    """A free object at the vector's xy, at its settled height or (height=None) at the vector's z."""
    at = (v(0), v(1), SETTLED) if height else XYZ
    return Placement(object_qpos=9, object_at=at, object_height=height, clear=FREE, **extra)


PUCK_GOAL: Point = (v(3), v(4), SETTLED)
"""The vector's goal xy, at the object's settled height."""
