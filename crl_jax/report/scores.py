"""Scores of a sequence of tasks from its evaluations S[t, task], in NumPy.

Performance, forgetting and forward transfer are those of Continual World (arXiv:2105.10919). A task that comes twice in
a sequence has two columns. Success is the share of episodes that are successful at any step (Continual World) or at the
last step (CompoNet, CKA-RL). Each score is computed from one of the two definitions; both are reported.

Axis letters: T evaluations, N tasks, R runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from crl_jax.report.stats import area_under_curve, bootstrap_interval


@dataclass(frozen=True)
class Evaluations:
    """Success of one run on every task of its sequence, at each evaluation.

    Attributes:
        env_steps: (T,) env steps of each evaluation, increasing, counted over the whole sequence.
        success: (T, N) share of successful episodes, in [0, 1]. The method's own policy for a task is scored on it.
        ends: (N,) env steps at which the training of each task ended, increasing.

    Raises:
        ValueError: shapes that do not fit together, success outside [0, 1], steps that do not increase, or a task
            without an evaluation during its training.
    """

    env_steps: np.ndarray
    success: np.ndarray
    ends: np.ndarray

    def __post_init__(self) -> None:
        steps, success, ends = (np.asarray(one, np.float64) for one in (self.env_steps, self.success, self.ends))
        for name, value in (("env_steps", steps), ("success", success), ("ends", ends)):
            object.__setattr__(self, name, value)
        if success.shape != (*steps.shape, *ends.shape) or success.ndim != 2:
            raise ValueError(f"success {success.shape}: (T, N) = ({steps.size}, {ends.size}) wanted")
        if not ((success >= 0) & (success <= 1)).all():
            raise ValueError("success outside [0, 1]")
        if (np.diff(steps) <= 0).any() or (np.diff(ends) <= 0).any():
            raise ValueError("env_steps and ends must increase")
        empty = [task for task in range(ends.size) if not self.during(task).any()]
        if empty:
            raise ValueError(f"task {empty[0]} was never evaluated while it was trained")

    def during(self, task: int) -> np.ndarray:
        """(T,) bool: evaluations during the task's training, including the one at its end."""
        begin = self.ends[task - 1] if task else -np.inf
        return (self.env_steps > begin) & (self.env_steps <= self.ends[task])

    def curve(self, task: int) -> tuple[np.ndarray, np.ndarray]:
        """Env steps since the task began, and success on the task, at the evaluations during its training."""
        rows = self.during(task)
        return self.env_steps[rows] - (self.ends[task - 1] if task else 0), self.success[rows, task]

    def at_own_end(self) -> np.ndarray:
        """(N,) success on each task at the last evaluation of its own training."""
        return np.array([self.curve(task)[1][-1] for task in range(self.ends.size)])


def performance(evaluations: Evaluations) -> np.ndarray:
    """(T,) P(t) = (1/N) sum_i p_i(t): mean success over all tasks. The last value is the score published as PERF."""
    return evaluations.success.mean(axis=1)


def own_performance(evaluations: Evaluations) -> float:
    """Mean over tasks of the success at the end of each task's own training. CompoNet and CKA-RL report this as P(T).

    This score does not measure forgetting.
    """
    return float(evaluations.at_own_end().mean())


def forgetting(evaluations: Evaluations) -> np.ndarray:
    """(N,) F_i = p_i(end of i) - p_i(T): success lost since the end of each task's training; negative: gained."""
    return evaluations.at_own_end() - evaluations.success[-1]


def area(evaluations: Evaluations, task: int) -> float:
    """AUC_i: mean height of the task's curve over its own training."""
    return area_under_curve(*evaluations.curve(task))


def forward_transfer(evaluations: Evaluations, reference: ArrayLike) -> np.ndarray:
    """(N,) FT_i = (AUC_i - AUC_i of scratch) / (1 - AUC_i of scratch). 0: as from scratch; 1: solved from the start.

    Args:
        reference: (N,) mean `areas` of runs that learn each of the same tasks from scratch.

    Raises:
        ValueError: another number of tasks, or a reference of 1, which leaves nothing to gain.
    """
    alone = np.asarray(reference, np.float64)
    if alone.shape != evaluations.ends.shape:
        raise ValueError(f"reference {alone.shape}: one area for each of the {evaluations.ends.size} tasks wanted")
    if (alone >= 1).any():
        raise ValueError(f"reference of task {int(np.argmax(alone >= 1))} is 1: no transfer can be told")
    return (areas(evaluations) - alone) / (1 - alone)


def areas(evaluations: Evaluations) -> np.ndarray:
    """(N,) `area` of every task."""
    return np.array([area(evaluations, task) for task in range(evaluations.ends.size)])


def mean_interval(scores: ArrayLike, repetitions: int = 2000, seed: int = 0) -> tuple[float, float, float]:
    """(mean, low, high): mean of a score (R,) over runs, and its 95% bootstrap interval over the runs."""
    runs = np.asarray(scores, np.float64)
    low, high = bootstrap_interval(runs, lambda table: float(table.mean()), repetitions, seed=seed)
    return float(runs.mean()), low, high
