"""The tasks as a table: a body, a maze or open ground, an object or none, and a goal rule.

Sizes, radii, goal rules and the backend of each row are those published (JaxGCRL, arXiv:2408.11052; u4 and u5: "1000
Layer Networks", arXiv:2503.14858).

Axis letters: D observation, G goal.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from envs_mjx.locomotion.bodies import BODIES, Body
from envs_mjx.locomotion.mazes import Maze

BACKENDS = ("spring", "generalized", "mjx")
"""Brax's backends."""
ENGINES = ("c", "warp", *BACKENDS)
"""Our engines (MuJoCo in C, MuJoCo Warp), then Brax's backends. Their physics differ: never mix them in one table."""
HORIZON = 1000


@dataclass(frozen=True)
class LocomotionTask:
    """One task: a row of `TASKS`.

    Attributes:
        body: row of `BODIES`.
        goals: row of `draws.GOALS`.
        backend: the engine that physics="auto" selects: that of the published results.
        maze: None: open ground.
        object: "" for none; "ball" or "box", to push, with x and y last in the observation; "cube", for the arm.
        bins: row of `panda._BINS`, or "" for none.
        radius: metres; success: the achieved goal is nearer to the commanded goal than this.
        others: (name, metres) pairs: other radii, each with a metric `success_<name>`.
        goal_from, goal_size: the goal is observation[goal_from : goal_from + goal_size].
        reach: metres around the origin that pictures of open ground show.
        engines: the engines that can run the task.
    """

    name: str
    body: str
    goals: str
    backend: str = "spring"
    maze: Maze | None = None
    object: str = ""
    bins: str = ""
    radius: float = 0.5
    others: tuple[tuple[str, float], ...] = (("easy", 2.0),)
    goal_from: int = 0
    goal_size: int = 2
    horizon: int = HORIZON
    reach: float = 10.0
    engines: tuple[str, ...] = ENGINES

    @property
    def physique(self) -> Body:
        return BODIES[self.body]


def _in_mazes(template: LocomotionTask, cell: float, *plans: str) -> list[LocomotionTask]:
    return [replace(template, name=f"{template.name}_{plan}", maze=Maze(plan, cell)) for plan in plans]


_PLANS = ("u_maze", "u_maze_eval", "big_maze", "big_maze_eval", "hardest_maze")
_U4_U5 = ("u4_maze", "u4_maze_eval", "u5_maze", "u5_maze_eval")
_BALL = LocomotionTask("ant_ball", "ant", "ball", object="ball", goal_from=29, reach=6.0)
_PUSHER = LocomotionTask(
    "pusher_easy",
    "pusher",
    "pusher_easy",
    "generalized",
    radius=0.1,
    others=(("hard", 0.05),),
    goal_from=10,
    goal_size=3,
    reach=1.2,
)
_ARM = LocomotionTask(
    "arm_push_easy",
    "panda",
    "push_easy",
    "mjx",
    object="cube",
    radius=0.1,
    others=(("easy", 0.3), ("hard", 0.03)),
    goal_size=3,
    horizon=150,
    reach=0.8,
    engines=("c", "warp", "mjx"),
)
_ROWS = (
    LocomotionTask("ant", "ant", "circle"),
    *_in_mazes(LocomotionTask("ant", "ant", "cells"), 4.0, *_PLANS, *_U4_U5),
    _BALL,
    replace(_BALL, name="ant_ball_u_maze", goals="ball_cells", maze=Maze("ball_u_maze", 4.0)),
    replace(_BALL, name="ant_ball_big_maze", goals="ball_cells", maze=Maze("ball_big_maze", 4.0)),
    LocomotionTask(
        "ant_push",
        "ant",
        "near_cells",
        "mjx",
        maze=Maze("push", 8.0, (1, 1)),
        object="box",
        engines=("c", "warp", "mjx"),
    ),
    LocomotionTask("humanoid", "humanoid", "ring", goal_size=3, reach=5.0),
    *_in_mazes(LocomotionTask("humanoid", "humanoid", "cells", goal_size=3), 2.0, *_PLANS),
    LocomotionTask("half_cheetah", "cheetah", "ahead", "mjx", goal_size=1, reach=5.0),
    LocomotionTask(
        "reacher", "reacher", "disc", "generalized", radius=0.05, others=(), goal_from=4, goal_size=3, reach=0.3
    ),
    _PUSHER,
    replace(_PUSHER, name="pusher_hard", goals="pusher_hard"),
    replace(_ARM, name="arm_reach", goals="reach", object="", goal_from=7, horizon=100),
    _ARM,
    replace(_ARM, name="arm_push_hard", goals="push_hard"),
    replace(_ARM, name="arm_binpick_easy", goals="binpick_easy", bins="easy"),
    replace(_ARM, name="arm_binpick_hard", goals="binpick_hard", bins="hard"),
    replace(
        _ARM,
        name="arm_grasp",
        body="panda_grasp",
        goals="grasp",
        radius=0.05,
        others=(("easy", 0.15), ("hard", 0.02)),
        goal_from=16,
        goal_size=7,
        horizon=100,
    ),
    *_in_mazes(LocomotionTask("simple", "simple", "cells"), 4.0, *_PLANS),
)
TASKS: dict[str, LocomotionTask] = {row.name: row for row in _ROWS}
