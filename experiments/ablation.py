"""Every loss with every energy: `python -m experiments.ablation run | report`.

The grid is LOSSES x ENERGIES on two tasks with one preset; nothing else changes. The report draws a heat map per task.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from rich.console import Console

from crl_jax import report as reports
from crl_jax.contrastive.energies import ENERGIES
from crl_jax.contrastive.losses import LOSSES
from crl_jax.report.figures import heat_map
from experiments import study

STUDY = "ablation"
TASKS = ("reach", "point_U")
PRESET_OF = {"reach": "reach_cpu", "point_U": "reach_cpu"}
"""Task -> preset. All other tasks take the preset `OTHERS`."""
OTHERS = "metaworld_cpu_steps"
STEPS = 250_000

Score = Literal["auc_success_any", "last_success_any", "best_success_any", "auc_success_final", "last_success_final"]


def cells(
    tasks: Sequence[str],
    losses: Sequence[str] = tuple(LOSSES),
    energies: Sequence[str] = tuple(ENERGIES),
    steps: int = STEPS,
) -> list[study.Cell]:
    """A cell for each task, loss and energy."""
    return [
        study.Cell(
            f"{task}-{loss}-{energy}",
            PRESET_OF.get(task, OTHERS),
            {"task": task, "loss": loss, "energy": energy, "total_env_steps": steps},
        )
        for task, loss, energy in itertools.product(tasks, losses, energies)
    ]


def run(
    tasks: tuple[str, ...] = TASKS,
    losses: tuple[str, ...] = tuple(LOSSES),
    energies: tuple[str, ...] = tuple(ENERGIES),
    seeds: tuple[int, ...] = (0,),
    total_env_steps: int = STEPS,
    threads: int = 0,
    dry_run: bool = False,
) -> int:
    """Train the grid; kept runs are skipped, stopped runs continue.

    Args:
        tasks: Tasks of `crl envs`.
        losses: Names of crl_jax/contrastive/losses.py.
        energies: Names of crl_jax/contrastive/energies.py.
        seeds: Seeds.
        total_env_steps: Env steps of each run.
        threads: Threads of the C engine; 0 takes every core.
        dry_run: Print the runs and do nothing.
    """
    study.known(losses, LOSSES, "losses")
    study.known(energies, ENERGIES, "energies")
    wanted = cells(tasks, losses, energies, total_env_steps)
    return study.run_cells(STUDY, wanted, seeds, dry_run=dry_run, threads=threads)


def report(tasks: tuple[str, ...] = TASKS, score: Score = "auc_success_any", out: Path | None = None) -> int:
    """Table, one heat map per task, and one HTML page of the kept runs.

    Args:
        tasks: Tasks to show; tasks without kept runs are left out.
        score: Score that the heat maps show, averaged over seeds. auc: the mean height of the learning curve.
        out: Folder of the page and pictures; runs/ablation/report by default.
    """
    kept = study.kept_runs(STUDY, cells(tasks))
    out = out or Path("runs") / STUDY / "report"
    pictures = drawn(kept, tasks, score, out)
    runs = [folder for folders in kept.values() for folder in folders]
    notes = ["Made by: python -m experiments.ablation run"]
    page = reports.write_report(runs, out, kept, pictures=pictures, notes=notes)
    console = Console()
    for text in (study.markdown_table(kept), str(page)):
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    return 0


def section() -> str:
    """Draws the heat maps of docs/experiments/ablation.md; returns their Markdown.

    Raises:
        ConfigError: no run is kept.
    """
    pictures = drawn(study.kept_runs(STUDY, cells(TASKS)), TASKS, "auc_success_any", study.ROOT / "docs", f"{STUDY}_")
    return "\n\n".join(f"![{title}]({path.relative_to(study.ROOT)})" for title, path in pictures)


def drawn(
    kept: dict[str, list[Path]], tasks: Sequence[str], score: Score, out: Path, prefix: str = ""
) -> list[tuple[str, Path]]:
    """Draws one heat map per task with kept runs; returns (title, file) of each."""
    pictures = []
    for task in tasks:
        values = grid(kept, task, score)
        if np.isfinite(values).any():
            title, path = f"{task}: {score.replace('_', ' ')}", out / f"{prefix}{task}.png"
            pictures.append((title, heat_map(values, list(LOSSES), list(ENERGIES), title, path, score)))
    return pictures


def grid(kept: dict[str, list[Path]], task: str, score: str) -> np.ndarray:
    """(losses, energies) scores of a task: the mean over the kept runs, or NaN without kept runs."""
    values = np.full((len(LOSSES), len(ENERGIES)), np.nan)
    for row, column in np.ndindex(values.shape):
        folders = kept.get(f"{task}-{list(LOSSES)[row]}-{list(ENERGIES)[column]}", [])
        scores = [told[score] for folder in folders if score in (told := reports.summary(folder))]
        if scores:
            values[row, column] = np.mean(scores)
    return values


if __name__ == "__main__":
    study.cli({"run": run, "report": report})
