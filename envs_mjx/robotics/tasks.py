"""The four Fetch tasks of Gymnasium-Robotics (v4) as data (gymnasium_robotics/envs/fetch/*.py, version 1.4.2)."""

from __future__ import annotations

from dataclasses import dataclass

VERSION, ENGINES = 4, ("c", "warp")
HORIZON, RADIUS, SUBSTEPS = 50, 0.05, 20
"""Env steps of an episode; metres within which the goal counts as reached; substeps (2 ms) of an env step."""
CAMERA = "table"
"""Our own camera: looks at the table from the side on which the robot does not stand. It is near, with a wide view: how
far away the gripper is shows in its size, and yet it hardly ever leaves the picture."""
RISE = 0.45
"""Metres: targets in the air are up to this much above the table."""
OPEN = 0.1
"""Metres between the fingers of the open gripper."""
APART = 0.1
"""Metres between gripper and object, seen from above, at the start of an episode; or more."""


@dataclass(frozen=True)
class FetchTask:
    """One Fetch task.

    Attributes:
        name: as in `crl envs`; official: id in Gymnasium.
        file: MJCF below the package's `assets/fetch`.
        base: positions of the robot's three base joints (`robot0:slide0` ...), metres.
        object_at: position of the object before it is placed, metres; None: no object, the gripper is the goal.
        shut: the gripper is locked shut.
        extra_height: metres that the gripper starts above its usual place.
        in_air: every second target is in the air, up to `RISE` above the table.
        target_offset: metres added to targets, along x.
        object_range, target_range: metres around the gripper's start, in each axis, for the object's place and targets.
        hand_offset: gripper minus object in commanded goals that name both, metres; where it is shut, on top.
        goal: contract that "auto" stands for. FetchSlide: the object alone, as the gripper cannot follow it.
        opening: of the gripper in commanded goals that name it, metres: the object's width.
    """

    name: str
    file: str
    base: tuple[float, float, float] = (0.405, 0.48, 0.0)
    object_at: tuple[float, float, float] | None = (1.25, 0.53, 0.4)
    shut: bool = True
    extra_height: float = 0.0
    in_air: bool = False
    target_offset: float = 0.0
    object_range: float = 0.15
    target_range: float = 0.15
    hand_offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    opening: float = 0.05
    goal: str = "object_relative"

    @property
    def official(self) -> str:
        return f"{self.name}-v4"

    @property
    def obs_size(self) -> int:
        return 25 if self.object_at else 10


_ROWS = (
    FetchTask("FetchReach", "reach.xml", (0.4049, 0.48, 0.0), None, extra_height=0.2),
    FetchTask("FetchPush", "push.xml", hand_offset=(0.0, 0.0, 0.045)),
    FetchTask(
        "FetchSlide",
        "slide.xml",
        (0.05, 0.48, 0.0),
        (1.7, 1.1, 0.41),
        extra_height=-0.02,
        target_offset=0.4,
        object_range=0.1,
        target_range=0.3,
        goal="object",
    ),
    FetchTask("FetchPickAndPlace", "pick_and_place.xml", shut=False, extra_height=0.2, in_air=True),
)
TASKS: dict[str, FetchTask] = {row.name: row for row in _ROWS}
