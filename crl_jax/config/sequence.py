"""Settings of a run that learns several tasks one after another: those of `Config`, and three more sections."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Literal

from crl_jax.config.checks import require
from crl_jax.config.continual import READS_AT_END, Boundary, ContinualConfig
from crl_jax.config.run import Config, with_overrides
from crl_jax.config.section import Section

LEARNERS = ("crl", "sac")
"""Agents that can train the actor of a continual method."""


@dataclass(frozen=True)
class TasksConfig(Section):
    """The sequence."""

    tasks: tuple[str, ...] = ("push", "window-close", "faucet-close", "handle-press-side")
    """Tasks in order. A repeated task counts as another task of the sequence."""
    steps_per_task: int = 1_000_000
    """Env steps of each task, warm-up included; rounded up to whole rounds."""
    scored: Literal["seen", "all"] = "seen"
    """Tasks scored by every evaluation: those begun so far, or all."""
    task_code: bool = False
    """End every observation with the one-hot code of its task."""

    def validate(self) -> None:
        require(len(self.tasks) >= 1, "tasks", self.tasks, "name at least one")
        require(self.steps_per_task >= 1, "steps_per_task", self.steps_per_task, "must be at least 1")
        require(self.scored in ("seen", "all"), "scored", self.scored, "one of seen, all")


@dataclass(frozen=True)
class SequenceConfig(Config):
    """A sequence of tasks. `env.task` is the first task, `train.total_env_steps` the env steps of all tasks."""

    sequence: TasksConfig = field(default_factory=TasksConfig)
    continual: ContinualConfig = field(default_factory=ContinualConfig)
    boundary: Boundary = field(default_factory=Boundary)

    def validate(self) -> SequenceConfig:
        """This config, or ConfigError naming the first bad field. Compiles nothing, writes nothing."""
        super().validate()
        self.sequence.validate()
        self.continual.validate()
        self.boundary.validate()
        method, average, devices = self.agent.method, self.agent.actor_average, self.train.devices
        require(method in LEARNERS, "method", method, f"learns no sequence of tasks; one of {', '.join(LEARNERS)}")
        require(average == 0, "actor_average", average, "a sequence is scored with the last parameters; take 0")
        require(devices == 1, "devices", devices, "a sequence of tasks takes one device; set 1")
        require(self.env.obs == "state", "obs", self.env.obs, "a sequence of tasks is learned from states; take state")
        require(not self.train.data, "data", self.train.data, "a sequence of tasks collects its own data; leave it out")
        overlap = self.train.overlap
        require(not overlap, "overlap", overlap, "a sequence of tasks collects between its updates; leave it out")
        mode = self.boundary.critic_mode
        halves = method == "crl" or mode not in ("keep_phi", "keep_psi")
        require(halves, "critic_mode", mode, f"{method} has no phi and psi; take persistent or reset")
        until = self.evaluation.until
        require(until == 0, "until", until, "every task of a sequence is trained for steps_per_task; take 0")
        self._check_kept_replay()
        steps, rows = self.sequence.steps_per_task, self.env_steps_per_iteration()
        warm_up = self.train.warm_up_unrolls(self.env.num_envs) * rows
        least = warm_up + self.train.iterations_per_round * rows  # the previous task may overrun by almost a round
        told = f"must be at least {least}, the random steps of min_replay and a round, for every task to be learned"
        require(steps >= least, "steps_per_task", steps, told)
        return self

    def _check_kept_replay(self) -> None:
        """A ring that keeps the earlier tasks' steps must tell whose they are, and what reads it must ask."""
        if self.boundary.replay_mode == "reset":
            return
        coded, method, goals = self.sequence.task_code, self.agent.method, self.explore.behaviour_goals
        told = "replay_mode=keep relabels every step by its own task, which needs its code in the observation"
        require(coded, "task_code", coded, f"{told}; add --task-code")
        require(method == "crl", "method", method, "replay_mode=keep would pay old steps by the new task; take crl")
        learner = self.continual.learner
        told_end = "reads the ended task's steps, and replay_mode=keep has all tasks' in the ring; take ft1"
        require(learner not in READS_AT_END, "learner", learner, told_end)
        good = goals not in ("replay", "mixed")
        require(good, "behaviour_goals", goals, "replay_mode=keep would ask for other tasks' goals; take commanded")

    @property
    def label(self) -> str:
        """Default name of a run."""
        return f"{self.continual.learner}-{len(self.sequence.tasks)}-tasks"


def resolved(config: SequenceConfig) -> SequenceConfig:
    """The config with the settings that follow from its tasks: `env.task` and `train.total_env_steps`."""
    tasks = config.sequence.tasks
    return with_overrides(config, task=tasks[0], total_env_steps=len(tasks) * config.sequence.steps_per_task)


def of_tasks(config: Config, tasks: tuple[str, ...]) -> SequenceConfig:
    """The settings of a one-task run, applied to a sequence: each task gets the run's `total_env_steps`."""
    parts = {part.name: getattr(config, part.name) for part in dataclasses.fields(config)}
    return SequenceConfig(**parts, sequence=TasksConfig(tasks, config.train.total_env_steps))
