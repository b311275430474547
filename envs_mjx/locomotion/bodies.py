"""Bodies as data: which MJCF of the `brax` package, its time step, its motors, how an episode begins and ends.

Axis letters: A action.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Body:
    """A body and its physics; the numbers are those of JaxGCRL's environments (arXiv:2408.11052).

    Attributes:
        file: MJCF among Brax's assets.
        frames: substeps per env step, each of the MJCF's own time step.
        spring_timestep, spring_frames: seconds per substep and substeps per env step on Brax's spring backend.
        spring_gear: motor gears on that backend, one for all motors or one per motor; (): the MJCF's gears.
        solid: geoms that collide with walls and objects, in addition to the MJCF's colliding geoms.
        lands: whether all geoms of the body collide with ground and walls, instead of the MJCF's colliding geoms.
        healthy: range of the root's height in metres, outside which an episode ends. None: height ends no episode.
        q_noise: half width of the uniform noise added to the starting position.
        qd_noise: standard deviation of the starting velocity; if `qd_uniform`, its half width.
        torque: fraction of the motors' torques that an action of 1 commands on engines c and warp. The ant's is below 1
            because at full torque random actions throw it out of `healthy` after 42 env steps. Episodes ended in
            64 x 990 steps: 1,645 at full torque, 18 with this fraction, 38 on spring.
        full_range: whether actions in [-1, 1] span each motor's control range; else actions are the controls.
        observe: row of `observe.OBSERVE`.
    """

    file: str
    frames: int
    spring_timestep: float
    spring_frames: int
    spring_gear: tuple[float, ...] = ()
    solid: tuple[str, ...] = ()
    lands: bool = False
    healthy: tuple[float, float] | None = None
    q_noise: float = 0.1
    qd_noise: float = 0.1
    qd_uniform: bool = False
    torque: float = 1.0
    full_range: bool = False
    observe: str = "joints"


_FEET = ("left_foot_geom", "right_foot_geom", "third_foot_geom", "fourth_foot_geom")
_THIGHS = ("aux_1_geom", "aux_2_geom", "aux_3_geom", "aux_4_geom")

BODIES: dict[str, Body] = {
    "ant": Body("ant.xml", 5, 0.005, 10, solid=("torso_geom", *_THIGHS, *_FEET), healthy=(0.2, 1.0), torque=0.3),
    "humanoid": Body(
        "humanoid.xml",
        5,
        0.0015,
        10,
        spring_gear=(350.0,) * 11 + (100.0,) * 6,
        lands=True,
        healthy=(1.0, 2.0),
        q_noise=0.0,
        qd_noise=0.0,
        full_range=True,
        observe="humanoid",
    ),
    "cheetah": Body("half_cheetah.xml", 5, 0.003125, 16, spring_gear=(120.0, 90.0, 60.0, 120.0, 100.0, 100.0)),
    "reacher": Body(
        "reacher.xml", 2, 0.005, 4, spring_gear=(25.0,), qd_noise=0.005, qd_uniform=True, observe="reacher"
    ),
    "pusher": Body(
        "pusher.xml",
        5,
        0.001,
        50,
        spring_gear=(20.0,),
        q_noise=0.0,
        qd_noise=0.005,
        qd_uniform=True,
        observe="pusher",
    ),
    # Not in Brax: built by `panda.py`. Actions are targets of joints 1, 2, 4, 6, then of the fingers.
    "panda": Body("", 25, 0.002, 25, q_noise=0.0, qd_noise=0.0, observe="arm"),
    "panda_grasp": Body("", 25, 0.002, 25, q_noise=0.0, qd_noise=0.0, observe="grasp"),
    # A sphere that slides in the plane, in the ant's scene without the ant.
    "simple": Body("ant.xml", 5, 0.005, 10),
}
