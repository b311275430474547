"""Settings of a run that learns several tasks one after another: those of a run, and three sections more."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Literal

from crl_jax.config.checks import require
from crl_jax.config.continual import Boundary, ContinualConfig
from crl_jax.config.run import Config, with_overrides

LEARNERS = ("crl", "sac")
"""Agents whose actor may be a continual method's."""


@dataclass(frozen=True)
class TasksConfig:
    """The sequence."""

    tasks: tuple[str, ...] = ("push", "window-close", "faucet-close", "handle-press-side")
    """Tasks in their order; one may come again, as another task of the sequence."""
    steps_per_task: int = 1_000_000
    """Env steps of each task, warm-up included; rounded up to whole rounds."""
    scored: Literal["seen", "all"] = "seen"
    """Tasks that every evaluation scores: those begun so far, or all."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "tasks", tuple(self.tasks))  # JSON has lists.

    def validate(self) -> None:
        require(len(self.tasks) >= 1, "tasks", self.tasks, "name at least one")
        require(self.steps_per_task >= 1, "steps_per_task", self.steps_per_task, "must be at least 1")
        require(self.scored in ("seen", "all"), "scored", self.scored, "one of seen, all")


@dataclass(frozen=True)
class SequenceConfig(Config):
    """A sequence of tasks; `env.task` is its first, `train.total_env_steps` the steps of all tasks together."""

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
        steps, rows = self.sequence.steps_per_task, self.env_steps_per_iteration()
        warm_up = self.train.warm_up_unrolls(self.env.num_envs) * rows
        least = warm_up + self.train.iterations_per_round * rows  # the task before may have run on for all but a round
        told = f"must be at least {least}, the random steps of min_replay and a round, for every task to be learned"
        require(steps >= least, "steps_per_task", steps, told)
        return self

    @property
    def label(self) -> str:
        """What a run is called that was given no name."""
        return f"{self.continual.learner}-{len(self.sequence.tasks)}-tasks"


def resolved(config: SequenceConfig) -> SequenceConfig:
    """The config with what follows from its tasks: `env.task` and `train.total_env_steps`."""
    tasks = config.sequence.tasks
    return with_overrides(config, task=tasks[0], total_env_steps=len(tasks) * config.sequence.steps_per_task)


def of_tasks(config: Config, tasks: tuple[str, ...]) -> SequenceConfig:
    """The settings of one task's run, for a sequence in which every task is trained as long."""
    parts = {part.name: getattr(config, part.name) for part in dataclasses.fields(config)}
    return SequenceConfig(**parts, sequence=TasksConfig(tasks, config.train.total_env_steps))
