"""Every setting of a run: frozen dataclasses, one per concern. A docstring under a field is its `--help`.

`Config.validate()` refuses a bad value or combination before anything is compiled or written. The error is one line
with the field, its value and the nearest valid values.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from crl_jax.config.checks import ConfigError, nearest, nearest_divisors, nearest_multiples, not_a_folder, require
from crl_jax.config.environment import EnvConfig
from crl_jax.config.learner import METHODS, READERS, AgentConfig, BaselineConfig, NetworkConfig
from crl_jax.config.section import Section

__all__ = [
    "METHODS",
    "READERS",
    "AgentConfig",
    "BaselineConfig",
    "Config",
    "ConfigError",
    "EnvConfig",
    "EvalConfig",
    "ExploreConfig",
    "NetworkConfig",
    "RunConfig",
    "TrainConfig",
    "differences",
    "nearest",
    "nearest_divisors",
    "nearest_multiples",
    "with_overrides",
]


AnyConfig = TypeVar("AnyConfig", bound="Config")


@dataclass(frozen=True)
class TrainConfig(Section):
    """The schedule: how much is collected, stored and learned from."""

    total_env_steps: int = 1_000_000
    """Env steps of the run, over all environments, warm-up included; rounded up to whole rounds."""
    unroll_length: int = 62
    """Steps of every environment per iteration; each is action_repeat env steps."""
    updates_per_iteration: int = 200
    """SGD updates per iteration of num_envs * unroll_length transitions (128 * 62 / 200 = 1 update per 39.7)."""
    batch_size: int = 256
    """Transitions of an SGD update: one positive and batch_size - 1 negatives per row."""
    distinct_trajectories: bool = False
    """Draw the trajectories of a batch uniformly without repeats, then one transition of each (SGCRL); else draw
    transitions uniformly."""
    batches: Literal["task", "mixed"] = "task"
    """Where several tasks are learned at once (mt10): draw each batch from one task, so that its negatives are of that
    task, or from all."""
    replay_capacity: int = 999_936
    """Transitions that the ring holds: a multiple of num_envs * unroll_length."""
    min_replay: int = 15_872
    """Transitions of uniformly random actions before the first update; rounded up to whole unrolls."""
    iterations_per_round: int = 4
    """Iterations compiled into one host round trip."""
    data: str = ""
    """Recorded trajectories to begin with, in place of random ones: a folder of `crl record` (Minari's layout), or a
    NumPy archive of `observations, actions, terminals` (.npz)."""
    offline: bool = False
    """Learn from `data` alone and never collect; evaluation still acts. Env steps in schedules (total_env_steps,
    eval_every) then stand for the updates that go with them."""
    devices: int = 1
    """Devices over which environments, ring and batches are split. Negatives come from all devices."""

    overlap: bool = False
    """Collect the next unroll while the updates run, by the policy from before them: engine c on the host's cores, the
    updates on JAX's device, best a GPU."""

    def validate(self, num_envs: int) -> None:
        for name in (leaf.name for leaf in dataclasses.fields(self) if leaf.type == "int"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "must be at least 1")
        require(
            bool(self.data) or not self.offline, "offline", self.offline, "needs recorded trajectories: --data PATH"
        )
        require(self.devices == 1 or not self.data, "data", self.data, f"takes one device, not {self.devices}")
        require(self.unroll_length >= 2, "unroll_length", self.unroll_length, "must be at least 2; nearest: 2")
        rows = num_envs * self.unroll_length
        capacity = self.replay_capacity
        require(
            capacity >= rows and capacity % rows == 0,
            "replay_capacity",
            capacity,
            f"must be a multiple of num_envs * unroll_length = {rows}; nearest: {nearest_multiples(capacity, rows)}",
        )
        require(capacity < 2**31, "replay_capacity", capacity, "must be below 2147483648: rows are counted in int32")
        require(
            2 <= self.batch_size <= capacity,
            "batch_size",
            self.batch_size,
            f"must lie between 2 (a positive and a negative) and replay_capacity = {capacity}",
        )
        require(
            self.min_replay <= capacity,
            "min_replay",
            self.min_replay,
            f"must not exceed replay_capacity = {capacity}; nearest: {capacity}",
        )
        warm_up = math.ceil(self.min_replay / rows) * rows
        require(
            self.data != "" or self.batch_size <= warm_up,
            "batch_size",
            self.batch_size,
            f"must not exceed the {warm_up} transitions that min_replay={self.min_replay} collects; nearest: {warm_up}",
        )

    def warm_up_unrolls(self, num_envs: int) -> int:
        """Unrolls of random actions before the first update."""
        return math.ceil(self.min_replay / (num_envs * self.unroll_length))


@dataclass(frozen=True)
class ExploreConfig(Section):
    """Exploration: goals and action noise while data is collected."""

    behaviour_goals: Literal["commanded", "replay", "mixed", "touch_first", "touch_then_near"] = "commanded"
    """Goals to act towards. commanded: the task's; replay: achieved in the ring, new each episode; mixed: replay in
    explore_share of episodes; touch_first: open hand at the object; touch_then_near: that, then object on its way."""
    explore_share: float = 0.5
    """Share of episodes with exploratory goals (mixed, touch_first, touch_then_near); the rest use the task's goal."""
    touch_radius: float = 0.05
    """Radius in metres around the object within which the hand's exploratory goal is drawn."""
    near_radius: float = 0.2
    """touch_then_near: radius in metres of a free object's exploratory goal around a point on its way to the target."""
    near_height: float = 0.0
    """touch_then_near: metres above the higher end of its way up to which a held object's exploratory places lie (a
    tool's too); 0: on the straight way."""
    near_steps: int = 0
    """touch_then_near: steps (of action_repeat env steps) after which the object gets another exploratory place; 0:
    one place for the rest of the episode."""
    touch_again: bool = False
    """With near_steps, for an object that the hand must hold: make every other exploratory goal the open hand at the
    object's current place, so that the hand returns to an object that it has lost."""
    goal_noise: float = 0.0
    """Standard deviation of Gaussian noise on every behaviour goal, drawn once per episode, in units of the goal's
    scale."""
    action_noise: Literal["none", "white", "pink", "ou"] = "none"
    """Noise on the actions while data is collected. white: independent at each step; pink: 1/f over an episode; ou:
    an Ornstein-Uhlenbeck process."""
    action_noise_scale: float = 0.1
    """Standard deviation of action_noise of any kind; actions lie in [-1, 1]."""

    def validate(self) -> None:
        kinds = ("commanded", "replay", "mixed", "touch_first", "touch_then_near")
        require(self.behaviour_goals in kinds, "behaviour_goals", self.behaviour_goals, f"one of {', '.join(kinds)}")
        noises = ("none", "white", "pink", "ou")
        require(self.action_noise in noises, "action_noise", self.action_noise, f"one of {', '.join(noises)}")
        require(0 <= self.explore_share <= 1, "explore_share", self.explore_share, "must lie between 0 and 1")
        for name in ("touch_radius", "near_radius", "near_height", "goal_noise", "action_noise_scale", "near_steps"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "must be 0 or more")
        needed = "needs behaviour_goals=touch_then_near and near_steps"
        turns = self.behaviour_goals == "touch_then_near" and self.near_steps > 0
        require(turns or not self.touch_again, "touch_again", self.touch_again, needed)


@dataclass(frozen=True)
class EvalConfig(Section):
    """Evaluation: fresh starts and goals, native success."""

    eval_every: int = 50_000
    """Env steps between evaluations; rounded up to whole rounds. The final policy is always evaluated."""
    eval_episodes: int = 128
    """Episodes of an evaluation, run in parallel."""
    until: float = 0.0
    """End the run once two evaluations in a row have a success_final of at least this (of several --seeds, all); 0: go
    on to total_env_steps."""
    stochastic_eval: bool = False
    """Sample actions in evaluations instead of taking the policy's mode."""

    def validate(self) -> None:
        for name in ("eval_every", "eval_episodes"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "must be at least 1")
        require(0 <= self.until <= 1, "until", self.until, "a share of episodes: must lie between 0 and 1")


@dataclass(frozen=True)
class RunConfig(Section):
    """The files of a run, and its seed."""

    seed: int = 0
    """Seed of everything random."""
    runs: str = "runs"
    """Folder of all runs."""
    name: str = ""
    """Folder of this run under `runs`; empty: <task>-s<seed>, numbered when taken."""
    checkpoint_every: int = 200_000
    """Env steps between checkpoints; rounded up to whole rounds. The last state is always kept."""
    keep: int = 2
    """Checkpoints kept."""
    tensorboard: bool = False
    """Write TensorBoard event files."""
    wandb: bool = False
    """Log to Weights & Biases (WANDB_MODE=offline works)."""
    video: bool = True
    """Film the learned policy at the end."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "runs", os.path.expanduser(self.runs))

    def validate(self) -> None:
        require(0 <= self.seed < 2**31, "seed", self.seed, "must lie in 0 ... 2147483647")
        for name in ("checkpoint_every", "keep"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "must be at least 1")
        wrong = not_a_folder(self.name)
        require(not wrong, "name", self.name, f"must be a plain folder name{wrong}")
        runs = self.runs
        require(runs.isprintable() and bool(runs.strip()), "runs", runs, "must be a path of printable characters")
        require(not runs.startswith("~"), "runs", runs, "no such user's home folder")


@dataclass(frozen=True)
class Config:
    """One run."""

    env: EnvConfig = field(default_factory=EnvConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    agent: AgentConfig = field(default_factory=AgentConfig)
    baseline: BaselineConfig = field(default_factory=BaselineConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    explore: ExploreConfig = field(default_factory=ExploreConfig)
    evaluation: EvalConfig = field(default_factory=EvalConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        for part in dataclasses.fields(self):
            value, wanted = getattr(self, part.name), part.default_factory
            if not isinstance(value, wanted):  # type: ignore[arg-type]
                raise ConfigError(f"{part.name}={value!r}: {wanted.__name__} wanted")  # type: ignore[union-attr]

    def validate(self) -> Config:
        """This config, or ConfigError naming the first bad field. Compiles nothing, writes nothing."""
        self.env.validate()
        self.network.validate()
        self.agent.validate()
        self.baseline.validate()
        self._check_readers()
        self._check_pictures()
        learned = self.agent.method == "crl" or not self.train.data
        require(learned, "method", self.agent.method, "recorded data have no rewards of ours; take crl")
        self.train.validate(self.env.num_envs)
        self.explore.validate()
        self.evaluation.validate()
        self.run.validate()
        self._check_overlap()
        rows, most = self.env.num_envs * self.env.action_repeat, 2**31
        total, told = self.train.total_env_steps, f"rows are counted in int32; nearest: {(most - 1) * rows}"
        require(total // rows < most, "total_env_steps", total, told)
        iteration = self.env_steps_per_iteration()
        random = 0 if self.train.data else self.train.warm_up_unrolls(self.env.num_envs) * iteration
        told = f"must exceed the {random:,} random env steps of min_replay; nearest: {random + iteration}"
        require(total > random, "total_env_steps", total, told)
        batch, chunk = self.train.batch_size, self.agent.logits_chunk
        near = nearest_divisors(chunk, batch) if chunk else ""
        require(not near, "logits_chunk", chunk, f"must divide batch_size = {batch}; nearest: {near}")
        devices = self.train.devices
        shared = {
            "num_envs": self.env.num_envs,
            "batch_size": self.train.batch_size,
            "eval_episodes": self.evaluation.eval_episodes,
        }
        for name, value in shared.items():
            near = nearest_multiples(value, devices)
            require(value % devices == 0, name, value, f"must be a multiple of devices = {devices}; nearest: {near}")
        return self

    def _check_overlap(self) -> None:
        """Refuse `overlap` where nothing is collected on the host, or what is collected depends on the ring."""
        if not self.train.overlap:
            return
        needed: tuple[tuple[str, Any, bool, str], ...] = (
            ("physics", self.env.physics, self.env.physics in ("auto", "c"), "--overlap collects on the host; take c"),
            ("devices", self.train.devices, self.train.devices == 1, "--overlap learns on one device; set 1"),
            ("offline", self.train.offline, not self.train.offline, "collects nothing; leave --overlap out"),
        )
        for name, value, good, told in needed:
            require(good, name, value, told)
        goals = self.explore.behaviour_goals
        good = goals not in ("replay", "mixed")
        require(good, "behaviour_goals", goals, "reads the ring while --overlap writes it; take touch_then_near")

    def _check_readers(self) -> None:
        """Refuse a field that was set although the chosen method does not read it."""
        method = self.agent.method
        for section in (self.network, self.agent, self.baseline):
            for leaf in dataclasses.fields(section):
                value, readers = getattr(section, leaf.name), READERS.get(leaf.name, METHODS)
                wanted = f"method={method!r} does not read it; take {leaf.default!r}, or method {' or '.join(readers)}"
                require(method in readers or value == leaf.default, leaf.name, value, wanted)

    def _check_pictures(self) -> None:
        """Refuse what needs numbers where observations are pictures, and what needs pictures where they are not."""
        agent, explore = self.agent, self.explore
        if self.env.obs == "state":
            require(agent.crop == 0, "crop", agent.crop, "only pictures can be cropped; take 0, or --obs pixels")
            for name in ("picture_size", "camera"):
                given, usual = getattr(self.env, name), getattr(EnvConfig, name)
                require(given == usual, name, given, f"is for pictures alone; take {usual!r}, or --obs pixels")
            channels, usual = self.network.channels, NetworkConfig.channels
            require(channels == usual, "channels", channels, f"is for pictures alone; take {usual}, or --obs pixels")
            return
        most = self.env.picture_size // 4
        require(agent.crop <= most, "crop", agent.crop, f"at most a quarter of picture_size; nearest: {most}")
        told = "obs='pixels': its goals are pictures; take"
        require(agent.method == "crl", "method", agent.method, f"{told} crl")
        require(agent.mask != "same_goal", "mask", agent.mask, f"{told} none or same_trajectory")
        kinds = ("commanded", "replay", "mixed")
        wanted = {
            "critic_goal_noise": (agent.critic_goal_noise, agent.critic_goal_noise == 0, "0"),
            "behaviour_goals": (explore.behaviour_goals, explore.behaviour_goals in kinds, " or ".join(kinds)),
            "goal_noise": (explore.goal_noise, explore.goal_noise == 0, "0"),
        }
        bad = [name for name, (_, fits, _) in wanted.items() if not fits]
        if bad:
            value, _, right = wanted[bad[0]]
            others = "".join(f", {other} {wanted[other][2]}" for other in bad[1:])
            require(False, bad[0], value, f"{told} {right}{others} (or --preset pixels_cpu)")

    def env_steps_per_iteration(self) -> int:
        """Env steps of one iteration: its transitions times action_repeat."""
        return self.env.num_envs * self.train.unroll_length * self.env.action_repeat

    @property
    def label(self) -> str:
        """Default name of a run."""
        return self.env.task

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values, for config.json."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Config:
        """The inverse of `to_dict`.

        Raises:
            ConfigError: an unknown or missing field (a config of another version).
        """
        try:
            parts = {part.name: part.default_factory for part in dataclasses.fields(cls)}
            return cls(**{name: parts[name](**fields) for name, fields in values.items()})  # type: ignore[operator]
        except (KeyError, TypeError) as error:
            raise ConfigError(f"config.json does not fit this version: {error}") from error


def differences(old: Config, new: Config, ignore: Iterable[str] = ()) -> list[str]:
    """`field: old -> new` for every field that differs, except the fields in `ignore`."""
    ignore = set(ignore)
    found = []
    for part in dataclasses.fields(old):
        before, after = getattr(old, part.name), getattr(new, part.name)
        for leaf in dataclasses.fields(before):
            values = getattr(before, leaf.name), getattr(after, leaf.name)
            if values[0] != values[1] and leaf.name not in ignore:
                found.append(f"{leaf.name}: {values[0]!r} -> {values[1]!r}")
    return found


def with_overrides(config: AnyConfig, **changes: Any) -> AnyConfig:
    """`config` with fields replaced by name, whatever section they are in.

    Raises:
        TypeError: a name is not a field of any section.
    """
    for part in dataclasses.fields(config):
        section = getattr(config, part.name)
        mine = {field.name: changes.pop(field.name) for field in dataclasses.fields(section) if field.name in changes}
        config = dataclasses.replace(config, **{part.name: dataclasses.replace(section, **mine)})
    if changes:
        raise TypeError(f"no such field: {', '.join(changes)}")
    return config
