"""Scores, tables and figures of the kept runs of `experiments.continual`.

The published numbers in the table are from other settings (20 tasks, SAC with rewards on the older tasks). They show
the usual range; they are no comparison.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crl_jax.config import ConfigError
from crl_jax.config.sequence import SequenceConfig
from crl_jax.report import scores
from crl_jax.report.figures import heat_maps, sequence_figure
from crl_jax.report.scores import Evaluations
from crl_jax.runs import load
from crl_jax.runs.loggers import read_metrics
from crl_jax.sequence import ENDED

CRITIC = {"train/categorical_accuracy": "critic's accuracy", "train/participation_ratio": "phi's dimensions"}
"""Metrics of the critic that the report shows beside each method's own metrics: name -> title."""
PUBLISHED = Path(__file__).parent / "published" / "continual.json"


@dataclass(frozen=True)
class Scored:
    """One kept run: evaluations by both definitions of success, and diagnostics (N,) at the end of each task."""

    folder: Path
    config: SequenceConfig
    any: Evaluations
    final: Evaluations
    told: dict[str, np.ndarray]


def scored(folder: Path) -> Scored:
    """A kept run with its success matrices S[t, task]. Success on a task not yet begun counts as 0.

    Raises:
        ConfigError: not a run of a sequence, or a run that did not finish.
    """
    config, records = load(folder), read_metrics(folder)
    if not isinstance(config, SequenceConfig):
        raise ConfigError(f"{folder}: no run of a sequence of tasks")
    count = len(config.sequence.tasks)
    ends = {int(record[ENDED]): record["env_steps"] for record in records if ENDED in record}
    if len(ends) < count:
        raise ConfigError(f"{folder}: {len(ends)} of {count} tasks are finished; continue it with the same `run`")
    # A task's last env step may have two evaluations. The later one counts: it follows the method's work at the task's
    # end, such as PackNet's pruning.
    rows = {record["env_steps"]: record for record in records if "eval/success_any" in record}
    steps = np.array(list(rows))
    matrices = [
        np.array([[row.get(f"eval/{task}/success_{kind}", 0.0) for task in range(count)] for row in rows.values()])
        for kind in ("any", "final")
    ]
    ended = np.array([ends[task] for task in range(count)])
    at_any, at_last = (Evaluations(steps, matrix, ended) for matrix in matrices)
    return Scored(folder, config, at_any, at_last, _diagnostics(records, ended))


def _diagnostics(records: list[dict[str, Any]], ends: np.ndarray) -> dict[str, np.ndarray]:
    """Metric's title -> (N,) last value of each critic and method metric up to the end (N,) of each task."""
    own = sorted({name for record in records for name in record if name.startswith("eval/method/")})
    found = {}
    for name, shown in {**CRITIC, **{name: name.removeprefix("eval/method/") for name in own}}.items():
        values = [(record["env_steps"], record[name]) for record in records if name in record]
        found[shown] = np.array([[value for at, value in values if at <= end][-1] for end in ends])
    return found


def table(groups: dict[str, list[Scored]], kind: str) -> str:
    """Markdown table, one row per cell: mean [95% bootstrap interval over the seeds] of the sequence's scores.

    Args:
        kind: success "any" or "final".
    """
    reference = _reference(groups, kind)
    published = json.loads(PUBLISHED.read_text())["methods"]
    lines = [
        "| method | critic | seeds | performance | at own end | forgetting | own area | forward transfer | published |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for label, runs in groups.items():
        evaluations = [getattr(run, kind) for run in runs]
        method, mode = label.split(" ")
        columns = [
            [float(scores.performance(one)[-1]) for one in evaluations],
            [scores.own_performance(one) for one in evaluations],
            [float(scores.forgetting(one).mean()) for one in evaluations],
            [float(scores.areas(one).mean()) for one in evaluations],
        ]
        if reference is not None:
            columns.append([float(scores.forward_transfer(one, reference).mean()) for one in evaluations])
        told = [_interval(values) for values in columns] + ["-"] * (5 - len(columns))
        lines.append(f"| {method} | {mode} | {len(runs)} | {' | '.join(told)} | {published.get(method, '-')} |")
    return "\n".join(lines)


def multitask_line(folders: Sequence[Path], tasks: Sequence[str], kind: str) -> str:
    """A row of `table` for runs that learned all tasks at once: their success at the end."""
    lasts = [[row for row in read_metrics(folder) if "eval/success_any" in row][-1] for folder in folders]
    names = [f"eval/{task}/success_{kind}" for task in tasks]
    told = _interval([float(np.mean([last[name] for name in names])) for last in lasts])
    return f"| multitask | all at once | {len(folders)} | {told} | - | - | - | - | - |"


def _interval(values: list[float]) -> str:
    mean, low, high = (round(value, 2) + 0.0 for value in scores.mean_interval(values))  # Adding 0.0 avoids -0.00.
    return f"{mean:.2f}" if len(values) == 1 else f"{mean:.2f} [{low:.2f}, {high:.2f}]"


def _reference(groups: dict[str, list[Scored]], kind: str) -> np.ndarray | None:
    """(N,) mean area of each task over the runs of `scratch`, clipped below 1; None without such runs."""
    runs = groups.get("scratch reset", groups.get("scratch persistent"))
    if runs is None:
        return None
    return np.minimum(np.mean([scores.areas(getattr(run, kind)) for run in runs], axis=0), 1 - 1e-6)


def tasks_table(groups: dict[str, list[Scored]], kind: str) -> str:
    """Markdown table, one row per cell: mean success on each task after the whole sequence."""
    tasks = next(iter(groups.values()))[0].config.sequence.tasks
    lines = [f"| method | {' | '.join(tasks)} |", "|---|" + "---|" * len(tasks)]
    for label, runs in groups.items():
        last = np.mean([getattr(run, kind).success[-1] for run in runs], axis=0)
        lines.append(f"| {label} | {' | '.join(f'{value:.2f}' for value in last)} |")
    return "\n".join(lines)


def diagnostics_table(groups: dict[str, list[Scored]]) -> str:
    """Markdown table, one row per cell and diagnostic: mean over the seeds at the end of each task's training."""
    tasks = next(iter(groups.values()))[0].config.sequence.tasks
    lines = [f"| method | at the end of | {' | '.join(tasks)} |", "|---|---|" + "---|" * len(tasks)]
    for label, runs in groups.items():
        for name in runs[0].told:
            values = np.mean([run.told[name] for run in runs], axis=0)
            lines.append(f"| {label} | {name} | {' | '.join(f'{value:.2f}' for value in values)} |")
    return "\n".join(lines)


def figures(groups: dict[str, list[Scored]], out: Path, kind: str, name: str) -> list[Path]:
    """Draws success curves over the sequence, and matrices of success on each task (column) after each task (row)."""
    tasks = next(iter(groups.values()))[0].config.sequence.tasks
    curves, matrices = {}, {}
    for label, runs in groups.items():
        evaluations = [getattr(run, kind) for run in runs]
        curves[label] = [(one.env_steps, one.success, one.ends) for one in evaluations]
        rows = [[one.success[one.env_steps <= end][-1] for end in one.ends] for one in evaluations]
        scored_ = np.tril(np.ones((len(tasks), len(tasks)), bool))  # Tasks not yet begun are blank.
        matrices[label] = np.where(scored_, np.mean(rows, axis=0), np.nan)
    return [
        sequence_figure(curves, tasks, out / f"{name}_curves.png", f"success ({kind} step)"),
        heat_maps(matrices, tasks, tasks, out / f"{name}_matrices.png"),
    ]
