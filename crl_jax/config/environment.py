"""Settings of the environments. A section of `config.Config`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from crl_jax.config.checks import nearest, nearest_divisors, require
from crl_jax.config.section import Section

Control = Literal["auto", "hold", "waypoint"]
Engine = Literal["auto", "c", "warp", "jax", "spring", "generalized", "mjx"]
GoalContract = Literal["object", "hand_object", "object_relative", "auto"]


@dataclass(frozen=True)
class EnvConfig(Section):
    """The environments."""

    task: str = "reach"
    """Task: a row of `crl envs`."""
    num_envs: int = 128
    """Environments stepped at once."""
    physics: Engine = "auto"
    """Engine: c (MuJoCo on host cores), warp (MuJoCo Warp, NVIDIA GPUs), jax (MJX); auto: warp on CUDA, else c. Ant,
    humanoid and the like: c, warp, or Brax's spring, generalized, mjx; auto: the engine of the published results."""
    goal: GoalContract = "hand_object"
    """Goal contract, what a goal holds: object; hand and object; object and the hand relative to it. auto:
    object_relative if the object can be put anywhere, hand_object if it is part of a fixture."""
    horizon: int | None = None
    """Env steps of an episode; None: the task's own (Meta-World 150 as in "A Single Goal is All You Need", not 500)."""
    action_repeat: int = 1
    """Env steps for which each action is held: the policy decides, and the ring keeps, one step in so many. Schedules
    (unroll_length, replay_capacity, min_replay, near_steps), discount and horizon of learning then count decisions."""
    control: Control = "hold"
    """What an action of action_repeat env steps is: a command that is held; or a place for the hand, relative to where
    it is, to which a proportional controller goes (waypoint; Meta-World, Fetch). auto: the one that the task's row
    names, by which policies have learned it."""
    obs: Literal["state", "pixels"] = "state"
    """What the agent sees, and its goals are: the compact state, or pictures (Meta-World, Fetch; engines c, warp)."""
    picture_size: int = 64
    """Side of the pictures in pixels, with obs=pixels."""
    camera: str = ""
    """Camera of the pictures, with obs=pixels: one of the scene's; empty: the task's own."""
    threads: int = 0
    """Threads of the c engine; 0 takes every core."""
    naconmax: int = 0
    """Contacts that the warp engine has room for, over all num_envs; 0: 64 per environment."""
    njmax: int = 0
    """Constraint rows that the warp engine has room for, per environment; 0: 256."""
    cached_reset: bool = False
    """Ant, humanoid and the like: restart every episode at the environment's first start and goal, as JaxGCRL does."""
    allow_unfaithful: bool = False
    """Allow engines that were not measured to be faithful for the task (marked * in `crl envs`)."""
    allow_cpu: bool = True
    """With physics=auto: train also where JAX sees no GPU or TPU. Presets made for a GPU say no."""

    def validate(self) -> None:
        require(self.num_envs >= 1, "num_envs", self.num_envs, "must be at least 1")
        long_enough = self.horizon is None or self.horizon >= 2
        require(long_enough, "horizon", self.horizon, "must be at least 2, for a step to have a future")
        require(self.action_repeat >= 1, "action_repeat", self.action_repeat, "must be at least 1; nearest: 1")
        if self.horizon is not None:
            near = nearest_divisors(self.action_repeat, self.horizon)
            wanted = f"must divide horizon={self.horizon}; nearest: {near}"
            require(not near, "action_repeat", self.action_repeat, wanted)
            wanted = f"leaves one decision in horizon={self.horizon}, which has no future; nearest: 1"
            require(self.horizon > self.action_repeat, "action_repeat", self.action_repeat, wanted)
        require(self.control in get_args(Control), "control", self.control, f"one of {', '.join(get_args(Control))}")
        goes = self.control != "waypoint" or self.action_repeat > 1
        require(goes, "control", self.control, f"action_repeat={self.action_repeat} leaves no way to go; nearest: hold")
        require(self.obs in ("state", "pixels"), "obs", self.obs, "one of state, pixels")
        require(16 <= self.picture_size <= 512, "picture_size", self.picture_size, "must lie between 16 and 512")
        require(self.threads >= 0, "threads", self.threads, "must be 0 (every core) or more")
        for name in ("naconmax", "njmax"):
            size = getattr(self, name)
            require(size >= 0, name, size, "must be 0 (the default) or more")
            require(not size or self.physics in ("auto", "warp"), name, size, "only physics='warp' has such a buffer")
        require(
            self.physics in get_args(Engine),
            "physics",
            self.physics,
            f"unknown engine; nearest: {nearest(str(self.physics), get_args(Engine))}",
        )
        goals = get_args(GoalContract)
        require(self.goal in goals, "goal", self.goal, f"unknown goal contract; one of {', '.join(goals)}")
