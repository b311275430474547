"""What prevents the collapse of the critic? `python -m experiments.lab_journal run | report`.

The lab journal's critic collapsed: it told trajectories apart by the position of an object that the arm never touched.
The study varies one factor at a time around a centre (128 environments, 1 update per 40 transitions, depth 4): the goal
contract, the number of environments, the updates per transition, the depth, and the behaviour goals. The report shows
success beside the diagnostics of a collapse: the critic's accuracy, its mean negative logit, the dimensions that phi
uses, distinct goals in a batch, and episodes in which the object moved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from crl_jax import report as reports
from crl_jax.report import summary
from crl_jax.report.figures import comparison_figure, levels_figure
from experiments import study

STUDY = "lab_journal"
PRESET = "metaworld_cpu_steps"
TASKS = ("push-back", "push", "faucet-close")
CENTRE: dict[str, Any] = {"goal": "hand_object", "envs": 128, "utd": 40, "depth": 4, "behaviour": "touch_then_near"}
"""utd: transitions per update."""
LEVELS: dict[str, tuple[Any, ...]] = {
    "goal": ("object", "hand_object", "object_relative"),
    "envs": (1, 16, 128),
    "utd": (1, 10, 40),
    "depth": (4, 16),
    "behaviour": ("commanded", "touch_first", "touch_then_near"),
}
TITLES = {"envs": "environments", "utd": "transitions per update", "behaviour": "behaviour goals"}
STEPS, SHORT_STEPS = 1_000_000, 100_000
TOO_SLOW = 250_000
"""Limit on updates x depth / 4, an estimate of CPU time. A cell that exceeds it in STEPS runs SHORT_STEPS."""
CAPACITY, MIN_REPLAY = 1_000_000, 15_000
CONCLUSIONS = study.ROOT / "docs" / "lab_journal_conclusions.md"
"""Conclusions written by hand; the report shows the file if it exists."""
COLUMNS: tuple[study.Column, ...] = (
    ("best any", "best_success_any", "{:.2f}"),
    ("last any", "last_success_any", "{:.2f}"),
    ("best final", "best_success_final", "{:.2f}"),
    ("last final", "last_success_final", "{:.2f}"),
    ("accuracy", "train/categorical_accuracy", "{:.2f}"),
    ("logits_neg", "train/logits_neg", "{:.1f}"),
    ("phi's dimensions", "train/participation_ratio", "{:.1f}"),
    ("distinct goals", "train/distinct_goals", "{:.2f}"),
    ("object moved", "train/object_moved", "{:.2f}"),
)


@dataclass(frozen=True)
class Schedule:
    """Schedule of a cell. Every iteration makes exactly one update per `utd` transitions."""

    unroll_length: int
    updates_per_iteration: int
    iterations_per_round: int
    replay_capacity: int
    min_replay: int
    total_env_steps: int
    eval_every: int


def schedule(envs: int, utd: int, depth: int, steps: int | None = None) -> Schedule:
    """The schedule of a cell, of at most `steps` env steps. `eval_every` ignores `steps`, so that runs can continue."""
    unroll = max(60, -(-120 // envs))  # at least 120 transitions per iteration: 3 updates at 1:40
    transitions = envs * unroll
    assert transitions % utd == 0, (envs, utd)
    slow = STEPS / utd * depth / 4 > TOO_SLOW
    rule, eval_every = (SHORT_STEPS, SHORT_STEPS // 4) if slow else (STEPS, STEPS // 10)
    return Schedule(
        unroll_length=unroll,
        updates_per_iteration=transitions // utd,
        iterations_per_round=max(1, eval_every // (4 * transitions)),
        replay_capacity=max(CAPACITY // transitions, 1) * transitions,
        min_replay=MIN_REPLAY,
        total_env_steps=min(steps or rule, rule),
        eval_every=eval_every,
    )


def cell(task: str, factor: str = "centre", level: Any = "", steps: int | None = None) -> study.Cell:
    """The cell of a task at the centre, or with one factor at another level."""
    values = CENTRE if factor == "centre" else CENTRE | {factor: level}
    changes = {
        "task": task,
        "goal": values["goal"],
        "num_envs": values["envs"],
        "critic_depth": values["depth"],
        "actor_depth": values["depth"],
        "behaviour_goals": values["behaviour"],
        **vars(schedule(values["envs"], values["utd"], values["depth"], steps)),
    }
    return study.Cell(f"{task}-{factor}" + (f"-{level}" if factor != "centre" else ""), PRESET, changes)


def cells(tasks: Sequence[str], factors: Sequence[str] = tuple(LEVELS), steps: int | None = None) -> list[study.Cell]:
    """Each task's centre, and every other level of each factor.

    Raises:
        ConfigError: an unknown factor.
    """
    found = []
    for task in tasks:
        found.append(cell(task, steps=steps))
        for factor, levels in study.known(factors, LEVELS, "factors").items():
            found += [cell(task, factor, level, steps) for level in levels if level != CENTRE[factor]]
    return found


def run(
    tasks: tuple[str, ...] = ("push-back", "push"),
    factors: tuple[str, ...] = tuple(LEVELS),
    seeds: tuple[int, ...] = (0, 1, 2),
    total_env_steps: int | None = None,
    threads: int = 0,
    dry_run: bool = False,
) -> int:
    """Train every cell and seed; kept runs are skipped, stopped runs continue.

    Args:
        tasks: Tasks of `crl envs`: push-back, push, faucet-close.
        factors: goal, envs, utd, depth, behaviour.
        seeds: Seeds.
        total_env_steps: Most env steps of each run; by default 1,000,000, or 100,000 for cells that are too slow.
        threads: Threads of the C engine; 0 takes every core.
        dry_run: Print the runs and do nothing.
    """
    return study.run_cells(STUDY, cells(tasks, factors, total_env_steps), seeds, dry_run=dry_run, threads=threads)


def report(tasks: tuple[str, ...] = TASKS, out: Path | None = None) -> int:
    """Table, a line of text per factor, curves with the diagnostics, and one HTML page of the kept runs.

    Args:
        tasks: Tasks to show; tasks without kept runs are left out.
        out: Folder of the page and pictures; runs/lab_journal/report by default.
    """
    kept = study.kept_runs(STUDY, cells(tasks))
    out = out or Path("runs") / STUDY / "report"
    pictures = [("All factors", overview(kept, tasks, out / "overview.png"))]
    lines = five_lines(kept, tasks)
    for task in tasks:
        for factor in LEVELS:
            groups = levels_of(kept, task, factor)
            if len(groups) > 1 and (drawn := comparison_figure(groups, out / f"{task}-{factor}.png")):
                pictures.append((f"{task}: {factor}", drawn))
    notes = ["Made by: python -m experiments.lab_journal run", *lines]
    notes += CONCLUSIONS.read_text().splitlines() if CONCLUSIONS.exists() else []
    runs = [folder for folders in kept.values() for folder in folders]
    page = reports.write_report(runs, out, kept, pictures=pictures, notes=notes)
    console = Console()
    for text in (study.markdown_table(kept, COLUMNS), *lines, str(page)):
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    return 0


def section() -> str:
    """Draws the README's figure; returns figure and conclusions as Markdown.

    Raises:
        ConfigError: no run is kept.
    """
    figure = overview(study.kept_runs(STUDY, cells(TASKS)), TASKS, study.ROOT / "docs" / f"{STUDY}.png")
    told = [CONCLUSIONS.read_text().strip()] if CONCLUSIONS.exists() else []
    return "\n\n".join([f"![Success by factor and level]({figure.relative_to(study.ROOT)})", *told])


def overview(kept: Mapping[str, list[Path]], tasks: Sequence[str], path: Path) -> Path:
    """Draws the success of every run at its last evaluation, by task, factor and level; the centre's levels bold."""
    rows = {
        task: {
            TITLES.get(factor, factor): {
                level: _reached(folders)[0] for level, folders in levels_of(kept, task, factor).items()
            }
            for factor in LEVELS
        }
        for task in tasks
        if any(levels_of(kept, task, factor) for factor in LEVELS)
    }
    return levels_figure(rows, "success_final", path, [str(level) for level in CENTRE.values()])


def table() -> str:
    """The table of docs/experiments/lab_journal.md, as Markdown.

    Raises:
        ConfigError: no run is kept.
    """
    return study.markdown_table(study.kept_runs(STUDY, cells(TASKS)), COLUMNS)


def levels_of(kept: Mapping[str, list[Path]], task: str, factor: str) -> dict[str, list[Path]]:
    """Level of a factor -> its kept runs, including the centre's level. Levels without kept runs are left out."""
    names = {
        str(level): cell(task).name if level == CENTRE[factor] else cell(task, factor, level).name
        for level in LEVELS[factor]
    }
    return {level: kept[name] for level, name in names.items() if name in kept}


def five_lines(kept: Mapping[str, list[Path]], tasks: Sequence[str]) -> list[str]:
    """One line of text per factor: success of every level at the last evaluation, best level first, and env steps."""
    lines = []
    for factor in LEVELS:
        told = []
        for task in tasks:
            levels = [(level, *_reached(folders)) for level, folders in levels_of(kept, task, factor).items()]
            levels = sorted((one for one in levels if one[1]), key=lambda one: -float(np.median(one[1])))
            if len(levels) > 1:
                spoken = (
                    f"{level} {study.spread(scores)} after {steps / 1e6:.2f} M" for level, scores, steps in levels
                )
                told.append(f"{task}: {', '.join(spoken)}")
        lines.append(f"{factor}: {'; '.join(told) or 'fewer than two levels were run'}.")
    return lines


def _reached(folders: list[Path]) -> tuple[list[float], int]:
    """success_final at the last evaluation of each evaluated run, and the fewest env steps of all runs."""
    found = [summary(folder) for folder in folders]
    scores = [one["last_success_final"] for one in found if "last_success_final" in one]
    return scores, min(one["env_steps"] for one in found)


if __name__ == "__main__":
    study.cli({"run": run, "report": report})
