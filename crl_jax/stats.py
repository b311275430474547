"""Statistics of few runs, in NumPy.  Axis letters: R runs (seeds), M tasks, T evaluations over time.

Source: Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (NeurIPS 2021), and its
library rliable (`metrics.py`, `library.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike


def iqm(scores: ArrayLike) -> float:
    """Interquartile mean: the mean of the middle half of all scores, runs and tasks pooled (rliable `aggregate_iqm`).

    Args:
        scores: any shape, at least one score. A quarter of the scores, rounded down, is cut at either end.

    Raises:
        ValueError: no score, or one that is not finite.
    """
    flat = np.sort(_finite(scores), axis=None)
    cut = flat.size // 4
    return float(flat[cut : flat.size - cut].mean())


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
    generator = np.random.default_rng(seed)
    chosen = generator.integers(runs, size=(repetitions, runs, tasks))
    values = [statistic(np.take_along_axis(table, rows, axis=0)) for rows in chosen]
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)


def area_under_curve(env_steps: ArrayLike, values: ArrayLike) -> float:
    """Mean height of a learning curve: its trapezoid area divided by the env steps that it spans.

    Args:
        env_steps: (T,) increasing. values: (T,). A single point counts as its own height.

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


def _finite(values: ArrayLike) -> np.ndarray[Any, np.dtype[np.float64]]:
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        raise ValueError("no values")
    if not np.isfinite(array).all():
        raise ValueError("values that are not finite")
    return array
