"""The tasks as a table: one row of data each. The official package is the authority (metaworld/envs/sawyer_*_v3.py).

A reset draws a vector uniformly from [low, high]; `Placement` says what it writes, `target` where the object should go.
"""

from __future__ import annotations

from dataclasses import dataclass

from envs_mjx.physics.base import Coord, Part, Placement, Point

TCP = Part("tcp", "tcp")
"""Centre between the two finger sites (`tcp_center`): a point that is computed, not named in the scene."""


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
class TaskSpec:
    """One Meta-World task.

    Attributes:
        name, scene: task name; official scene file `sawyer_<scene>.xml`.
        achieved: the point whose position is the goal.
        target: its goal position: coordinates of the reset vector, or a part read after the reset.
        low, high: (R,) bounds of the reset vector, metres.
        placement: what the reset writes.
        radius, weights: native success is norm((achieved - target) * weights) <= radius, unless `joint` or `inserted`.
        joint: (name, threshold): native success is that joint's position beyond the threshold instead.
        inserted: (end of the stick) native success also needs it inside the handle (`_stick_is_inserted`).
        min_xy: vectors whose object and goal are nearer than this in xy are redrawn.
        hand_init, mocap_low, mocap_high: hand at a start, bounds of the mocap body, metres.
        settle_extra: env steps settled beyond the official 50.
        objects, quats: parts behind the official observation's object slots; a quat of None is zeros.
        quat_order: "wxyz" where official code reads `xquat`, "xyzw" where it asks scipy for `xmat`'s quaternion.
        extras: further points in the compact state (tools).
        hand_offset: hand goal relative to the object goal in the contracts `hand_object` and `object_relative`, metres:
            3 cm above by default ("A Single Goal is All You Need"); behind the object where it can only be pushed.
        full_state: the goal contract is the full state, whatever contract is asked for.
    """

    name: str
    scene: str
    achieved: Part
    target: Point | Part
    low: tuple[float, ...]
    high: tuple[float, ...]
    placement: Placement
    objects: tuple[Part, ...]
    quats: tuple[Part | None, ...]
    quat_order: str = "wxyz"
    radius: float = 0.07
    weights: tuple[float, float, float] = (1.0, 1.0, 1.0)
    joint: tuple[str, float] | None = None
    inserted: Part | None = None
    min_xy: float = 0.0
    hand_init: tuple[float, float, float] = (0.0, 0.6, 0.2)
    mocap_low: tuple[float, float, float] = (-0.5, 0.4, 0.05)
    mocap_high: tuple[float, float, float] = (0.5, 1.0, 0.5)
    settle_extra: int = 0
    extras: tuple[Part, ...] = ()
    hand_offset: tuple[float, float, float] = (0.0, 0.0, 0.03)
    full_state: FullState | None = None

    @property
    def official(self) -> str:
        """Name in the official package."""
        return f"{self.name}-v3"

    @property
    def success_rule(self) -> str:
        """The native success predicate in words."""
        if self.joint:
            return f"{self.joint[0]} > {self.joint[1]}"
        if self.weights == (1.0, 1.0, 1.0):
            rule = f"distance <= {self.radius}"
        elif sum(weight > 0 for weight in self.weights) == 1:
            axis = "xyz"["".join("1" if weight else "0" for weight in self.weights).index("1")]
            rule = f"|d{axis}| <= {self.radius}"
        else:
            rule = f"norm(d * {list(self.weights)}) <= {self.radius}"
        if self.full_state and self.full_state.quat:
            rule += f", quaternion error < {self.full_state.quat_radius}"
        return rule + (", stick inserted" if self.inserted else "")


def _v(index: int, plus: float = 0.0) -> Coord:
    return Coord(index=index, plus=plus)


def _const(value: float) -> Coord:
    return Coord(plus=value)


_SETTLED = Coord(settled=True)
_OBJ, _GEOM = Part("body", "obj"), Part("geom", "objGeom")
_XYZ: Point = (_v(0), _v(1), _v(2))
_HAND_32, _FAR_HAND_32 = (0.0, 0.6000000238418579, 0.20000000298023224), (0.0, 0.4000000059604645, 0.20000000298023224)
"""hand_init of the tasks whose official file keeps it in float32: as float64, the same value."""
_FREE = ((9, 15),)
"""qvel range that the official `_set_obj_xyz` clears (free joint: 3 linear, 3 angular)."""


def _puck(height: Part | None, **extra) -> Placement:
    """A free object at the vector's xy, at its settled height or (height=None) at the vector's z."""
    at = (_v(0), _v(1), _SETTLED) if height else _XYZ
    return Placement(object_qpos=9, object_at=at, object_height=height, clear=_FREE, **extra)


_PUCK_GOAL: Point = (_v(3), _v(4), _SETTLED)
"""The vector's goal xy, at the object's settled height."""


_ROWS = (
    TaskSpec(
        name="hammer",
        scene="hammer",
        achieved=Part("body", "nail_link"),
        target=Part("site", "goal"),
        low=(-0.1, 0.4, 0.0),
        high=(0.1, 0.5, 0.0),
        placement=Placement(
            object_qpos=9,
            object_at=_XYZ,
            clear=_FREE,
            fixture="box",
            fixture_at=(_const(0.24), _const(0.85), _const(0.0)),
        ),
        joint=("NailSlideJoint", 0.09),
        hand_init=(0.0, 0.4, 0.2),
        objects=(Part("body", "hammer"), Part("body", "nail_link")),
        quats=(Part("body", "hammer"), Part("body", "nail_link")),
        extras=(Part("body", "hammer"),),
    ),
    TaskSpec(
        name="push-wall",
        scene="push_wall_v3",
        achieved=_GEOM,
        target=_PUCK_GOAL,
        low=(-0.05, 0.6, 0.015, -0.05, 0.85, 0.01),
        high=(0.05, 0.65, 0.015, 0.05, 0.9, 0.02),
        placement=_puck(_GEOM),
        min_xy=0.15,
        objects=(_GEOM,),
        quats=(_GEOM,),
        quat_order="xyzw",
    ),
    TaskSpec(
        name="faucet-close",
        scene="faucet",
        achieved=Part("site", "handleStartClose", (0.0, 0.0, -0.01)),
        target=(_v(0, -0.175), _v(1), _v(2, 0.125)),
        low=(-0.1, 0.8, 0.0),
        high=(0.1, 0.85, 0.0),
        placement=Placement(fixture="faucetBase", fixture_at=_XYZ),
        hand_init=(0.0, 0.4, 0.2),
        mocap_low=(-0.5, 0.4, -0.15),
        objects=(Part("site", "handleStartClose", (0.0, 0.0, -0.01)),),
        quats=(Part("body", "faucetBase"),),
    ),
    TaskSpec(
        name="push-back",
        scene="push_back_v3",
        achieved=_GEOM,
        target=_PUCK_GOAL,
        low=(-0.1, 0.8, 0.02, -0.1, 0.6, 0.0199),
        high=(0.1, 0.85, 0.02, 0.1, 0.7, 0.0201),
        placement=_puck(_GEOM),
        min_xy=0.15,
        hand_init=_HAND_32,
        objects=(_GEOM,),
        quats=(_GEOM,),
        quat_order="xyzw",
    ),
    TaskSpec(
        name="stick-pull",
        scene="stick_obj",
        achieved=Part("site", "insertion"),
        target=(_v(3), _v(4), _const(0.02)),
        low=(-0.1, 0.55, 0.0, 0.35, 0.45, 0.0199),
        high=(0.0, 0.65, 0.001, 0.45, 0.55, 0.0201),
        placement=Placement(
            object_qpos=9,
            object_at=(_v(0), _v(1), _const(0.02)),
            joints=((16, 0.0), (17, 0.09)),
            clear=((9, 15), (16, 17)),
        ),
        radius=0.12,
        inserted=Part("site", "stick_end"),
        min_xy=0.1,
        mocap_low=(-0.5, 0.35, 0.05),
        objects=(Part("body", "stick"), Part("site", "insertion")),
        quats=(Part("body", "stick"), None),
        quat_order="xyzw",
        extras=(Part("body", "stick"), Part("site", "stick_end")),
    ),
    TaskSpec(
        name="handle-press-side",
        scene="handle_press_sideways",
        achieved=Part("site", "handleStart"),
        target=Part("site", "goalPress"),
        low=(-0.35, 0.65, -0.001),
        high=(-0.25, 0.75, 0.001),
        placement=Placement(joints=((9, -0.001),), clear=((9, 10),), fixture="box", fixture_at=_XYZ),
        radius=0.02,
        weights=(0.0, 0.0, 1.0),
        objects=(Part("site", "handleStart"),),
        quats=(None,),
    ),
    TaskSpec(
        name="push",
        scene="push_v3",
        achieved=_OBJ,
        target=_PUCK_GOAL,
        low=(-0.1, 0.6, 0.02, -0.1, 0.8, 0.01),
        high=(0.1, 0.7, 0.02, 0.1, 0.9, 0.02),
        placement=_puck(_OBJ),
        radius=0.05,
        min_xy=0.15,
        objects=(_OBJ,),
        quats=(_GEOM,),
        quat_order="xyzw",
        hand_offset=(0.0, -0.05, 0.04),
    ),
    TaskSpec(
        name="shelf-place",
        scene="shelf_placing",
        achieved=_OBJ,
        target=Part("site", "goal"),
        low=(-0.1, 0.5, 0.019, -0.1, 0.8, 0.299),
        high=(0.1, 0.6, 0.021, 0.1, 0.9, 0.301),
        placement=_puck(_OBJ, fixture="shelf", fixture_at=(_v(3), _v(4), _v(5, -0.3))),
        min_xy=0.1,
        hand_init=_HAND_32,
        objects=(_OBJ,),
        quats=(_GEOM,),
        quat_order="xyzw",
    ),
    TaskSpec(
        name="window-close",
        scene="window_horizontal",
        achieved=Part("site", "handleCloseStart"),
        target=_XYZ,
        low=(0.0, 0.75, 0.2),
        high=(0.0, 0.9, 0.2),
        placement=Placement(joints=((9, 0.2),), fixture="window", fixture_at=_XYZ),
        radius=0.05,
        weights=(1.0, 0.0, 0.0),
        hand_init=_FAR_HAND_32,
        objects=(Part("site", "handleCloseStart"),),
        quats=(None,),
    ),
    TaskSpec(
        name="peg-unplug-side",
        scene="peg_unplug_side",
        achieved=Part("site", "pegEnd"),
        target=(_v(0, 0.194), _v(1), _v(2, 0.131)),
        low=(-0.25, 0.6, -0.001),
        high=(-0.15, 0.8, 0.001),
        placement=Placement(
            object_qpos=9,
            object_at=(_v(0, 0.044), _v(1), _v(2, 0.131)),
            joints=((12, 1.0), (13, 0.0), (14, 0.0), (15, 0.0)),
            clear=((9, 12),),
            fixture="box",
            fixture_at=_XYZ,
        ),
        objects=(Part("site", "pegEnd"),),
        quats=(Part("body", "plug1"),),
    ),
    TaskSpec(
        name="bin-picking",
        scene="bin_picking",
        achieved=_OBJ,
        target=Part("body", "bin_goal"),
        low=(-0.21, 0.65, 0.02, 0.1199, 0.699, -0.001),
        high=(-0.03, 0.75, 0.02, 0.1201, 0.701, 0.001),
        placement=_puck(_OBJ),
        radius=0.05,
        mocap_low=(-0.5, 0.4, 0.07),
        objects=(_OBJ,),
        quats=(_OBJ,),
    ),
    TaskSpec(
        name="box-close",
        scene="box",
        achieved=Part("body", "top_link"),
        target=(_v(3), _v(4), _v(5)),
        low=(-0.05, 0.5, 0.02, -0.1, 0.7, 0.133),
        high=(0.05, 0.55, 0.02, 0.1, 0.8, 0.133),
        placement=Placement(
            object_qpos=9,
            object_at=(_v(0), _v(1), _const(0.02)),
            object_height=Part("body", "boxbody"),
            clear=_FREE,
            fixture="boxbody",
            fixture_at=(_v(3), _v(4), _SETTLED),
        ),
        radius=0.08,
        min_xy=0.25,
        hand_init=_HAND_32,
        settle_extra=1,
        objects=(Part("body", "top_link"),),
        quats=(Part("body", "top_link"),),
    ),
    TaskSpec(
        name="peg-insert-side",
        scene="peg_insertion_side",
        achieved=Part("site", "pegHead"),
        target=(_v(3, 0.03), _v(4), _v(5, 0.13)),
        low=(0.0, 0.5, 0.02, -0.35, 0.4, -0.001),
        high=(0.2, 0.7, 0.02, -0.25, 0.7, 0.001),
        placement=Placement(
            object_qpos=9, object_at=_XYZ, clear=_FREE, fixture="box", fixture_at=(_v(3), _v(4), _v(5))
        ),
        weights=(1.0, 2.0, 2.0),
        min_xy=0.1,
        objects=(Part("site", "pegGrasp"),),
        quats=(Part("site", "pegGrasp"),),
        quat_order="xyzw",
        extras=(Part("site", "pegGrasp"),),
    ),
    TaskSpec(
        name="reach",
        scene="reach_v3",
        achieved=TCP,
        target=(_v(3), _v(4), _v(5)),
        low=(-0.1, 0.6, 0.02, -0.1, 0.8, 0.05),
        high=(0.1, 0.7, 0.02, 0.1, 0.9, 0.3),
        placement=_puck(None),
        radius=0.05,
        min_xy=0.15,
        objects=(_OBJ,),
        quats=(_GEOM,),
        quat_order="xyzw",
    ),
    TaskSpec(
        name="pick-place",
        scene="pick_place_v3",
        achieved=_OBJ,
        target=(_v(3), _v(4), _v(5)),
        low=(-0.1, 0.6, 0.02, -0.1, 0.8, 0.05),
        high=(0.1, 0.7, 0.02, 0.1, 0.9, 0.3),
        placement=_puck(None),
        min_xy=0.15,
        objects=(_OBJ,),
        quats=(_GEOM,),
        quat_order="xyzw",
    ),
)

TASKS: dict[str, TaskSpec] = {row.name: row for row in _ROWS}
