"""Statistics of few runs, in NumPy.  Axis letters: R runs (seeds), M tasks, T evaluations over time.

Source: Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (NeurIPS 2021), and its
library rliable (`metrics.py`, `library.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike


def iqm(scores: ArrayLike) -> float:
    """Interquartile mean: mean of the middle half of the pooled scores of all runs and tasks (rliable `aggregate_iqm`).

    Args:
        scores: any shape, at least one score. A quarter of the scores, rounded down, is cut at either end.

    Raises:
        ValueError: no score, or a score that is not finite.
    """
    return float(_middle(_finite(scores).ravel()))


def iqm_curve(strata: Sequence[ArrayLike]) -> np.ndarray:
    """Interquartile mean over the pooled runs of all tasks, separately at each point of a curve.

    Args:
        strata: one array (R, ...) per task; R may differ between tasks.

    Returns:
        (...), the shape of one run's scores.
    """
    return _middle(np.concatenate([_finite(scores) for scores in strata]))


def iqm_interval(
    strata: Sequence[ArrayLike], repetitions: int = 2000, confidence: float = 0.95, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Stratified percentile bootstrap interval of `iqm_curve`: low and high, each with the shape of one run's scores.

    Runs are drawn with replacement within each task. All points of a curve share the same draw.

    Args:
        strata: one array (R, ...) per task; R may differ between tasks.
    """
    drawn = _resampled([_finite(scores) for scores in strata], repetitions, seed)
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(_middle(np.moveaxis(drawn, 1, 0)), [tail, 100 - tail], axis=0)
    return low, high


def bootstrap_interval(
    scores: ArrayLike,
    statistic: Callable[[np.ndarray], float] = iqm,
    repetitions: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Stratified percentile bootstrap interval of `statistic` (rliable `StratifiedBootstrap`, method "percentile").

    Runs are drawn with replacement within each task, independently of the other tasks.

    Args:
        scores: (R, M), or (R,) for one task.
        statistic: (R, M) -> number.

    Returns:
        low, high: in the unit of the statistic.

    Raises:
        ValueError: empty, not finite, or more than two axes.
    """
    table = _finite(scores)
    table = table[:, None] if table.ndim == 1 else table
    if table.ndim != 2:
        raise ValueError(f"scores of shape {table.shape}: (runs, tasks) or (runs,) wanted")
    runs, tasks = table.shape
    drawn = _resampled(list(table.T), repetitions, seed)
    values = [statistic(one.reshape(tasks, runs).T) for one in drawn]
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)


def area_under_curve(env_steps: ArrayLike, values: ArrayLike) -> float:
    """Mean height of a learning curve: its trapezoid area divided by the env steps that it spans.

    Args:
        env_steps: (T,) increasing. values: (T,). The mean height of a single point is its value.

    Raises:
        ValueError: empty, not finite, of different lengths, or steps that go back.
    """
    steps, heights = _finite(env_steps), _finite(values)
    if steps.shape != heights.shape or steps.ndim != 1:
        raise ValueError(f"env_steps {steps.shape} and values {heights.shape}: one-dimensional and alike wanted")
    if np.any(np.diff(steps) < 0):
        raise ValueError("env_steps go back")
    span = steps[-1] - steps[0]
    return float(np.trapezoid(heights, steps) / span) if span > 0 else float(heights.mean())


def best_and_last(values: ArrayLike) -> tuple[float, float]:
    """The highest value of a curve (T,), and its last.

    Raises:
        ValueError: empty or not finite.
    """
    curve = _finite(values)
    return float(curve.max()), float(curve[-1])


def rank_correlation(left: ArrayLike, right: ArrayLike) -> float:
    """Spearman's rank correlation of two samples (N,): Pearson's correlation of ranks. Tied values share a mean rank.

    Returns:
        in [-1, 1]; NaN when all values of a sample are equal.

    Raises:
        ValueError: empty, not finite, or of different shapes.
    """
    first, second = _finite(left), _finite(right)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"samples {first.shape} and {second.shape}: one-dimensional and alike wanted")
    ranks = np.stack([_ranks(first), _ranks(second)])
    ranks -= ranks.mean(axis=1, keepdims=True)
    size = float(np.sqrt(np.prod(np.sum(ranks**2, axis=1))))
    return float(ranks[0] @ ranks[1]) / size if size > 0 else float("nan")


def _ranks(values: np.ndarray) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(N,) ranks from 0; tied values get the mean of their ranks."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts) - 1.0
    return (last - (counts - 1) / 2)[place]


def _middle(scores: np.ndarray) -> Any:
    """Mean of the middle half along the first axis; a quarter of the scores, rounded down, is cut at either end."""
    ordered, cut = np.sort(scores, axis=0), len(scores) // 4
    return ordered[cut : len(ordered) - cut].mean(axis=0)


def _resampled(strata: Sequence[np.ndarray], repetitions: int, seed: int) -> np.ndarray:
    """Strata of (R, ...) -> (repetitions, sum of R, ...): rows drawn with replacement within each stratum."""
    generator = np.random.default_rng(seed)
    chosen = [generator.integers(len(scores), size=(repetitions, len(scores))) for scores in strata]
    return np.concatenate([scores[rows] for scores, rows in zip(strata, chosen, strict=True)], axis=1)


def _finite(values: ArrayLike) -> np.ndarray[Any, np.dtype[np.float64]]:
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        raise ValueError("no values")
    if not np.isfinite(array).all():
        raise ValueError("values that are not finite")
    return array
