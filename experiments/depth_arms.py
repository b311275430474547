"""Does depth help where an arm grasps and carries? `python -m experiments.depth_arms run | report`.

The preset `metaworld_cpu` with deeper networks, on two tasks that shallow ones learn. phi, psi and the actor are
equally deep. The report compares the depths twice: after as many env steps, and after as many minutes on one machine.
The point maze by depth is in `experiments.depth_scaling`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from crl_jax.report.figures import metric_figure
from crl_jax.runs.recorded import curve_of, minutes_at, records_of, throughput
from experiments import study

STUDY, PRESET, METRIC = "depth_arms", "metaworld_cpu", "eval/success_final"
TASKS = ("pick-place", "peg-insert-side")
DEPTHS = (4, 8, 16, 32, 64)
STEPS = 600_000
"""Env steps of each run: a shallow network has learned neither task whole by then."""
FIGURE = study.ROOT / "docs" / "depth_arms.png"
COLUMNS: tuple[study.Column, ...] = (
    ("final, same env steps", "last_success_final", "{:.2f}"),
    ("best final", "best_success_final", "{:.2f}"),
    ("final, same minutes", "success_at_minutes", "{:.2f}"),
    ("ms per update", "ms_per_update", "{:.1f}"),
)


def cells(tasks: Sequence[str] = TASKS, depths: Sequence[int] = DEPTHS) -> list[study.Cell]:
    """A cell for each depth and task, shallow ones first."""
    return [
        study.Cell(
            f"{task}-depth{depth}",
            PRESET,
            {"task": task, "total_env_steps": STEPS, "critic_depth": depth, "actor_depth": depth},
        )
        for depth in depths
        for task in tasks
    ]


def run(
    tasks: tuple[str, ...] = TASKS,
    depths: tuple[int, ...] = DEPTHS,
    seeds: tuple[int, ...] = (0, 1),
    threads: int = 0,
    core: int | None = None,
    dry_run: bool = False,
) -> int:
    """Train every cell; kept runs are skipped, stopped runs continue.

    Args:
        tasks: Tasks of `crl envs`.
        depths: Layers of phi, psi and the actor; 4, or a multiple of 4.
        seeds: Seeds.
        threads: Threads of the C engine; 0 takes every core.
        core: Core to stay on, from 0.
        dry_run: Print the runs and do nothing.
    """
    return study.run_cells(STUDY, cells(tasks, depths), seeds, dry_run=dry_run, core=core, threads=threads)


def report() -> int:
    """Print the table of the kept runs, and draw docs/depth_arms.png."""
    Console().print(section(), markup=False, highlight=False, soft_wrap=True)
    return 0


def section() -> str:
    """Draws docs/depth_arms.png; returns the table and the figure as Markdown.

    Raises:
        ConfigError: no run is kept.
    """
    kept = study.kept_runs(STUDY, cells())
    of_task = {task: {name: runs for name, runs in kept.items() if name.startswith(f"{task}-")} for task in TASKS}
    limits = {task: _minutes(groups) for task, groups in of_task.items() if groups}

    def told_of(folder: Path) -> Mapping[str, Any]:
        task = next(task for task in limits if folder.name.startswith(f"{task}-"))
        return measured(folder, limits[task])

    panels = {
        task: {name.replace(f"{task}-depth", "depth "): runs for name, runs in of_task[task].items()} for task in limits
    }
    path = metric_figure(panels, METRIC, "success at the last step", FIGURE)
    table = study.markdown_table(kept, COLUMNS, told_of=told_of)
    return f"{table}\n\n![Success by depth]({path.relative_to(study.ROOT)})"


def _minutes(groups: Mapping[str, Sequence[Path]]) -> float:
    """Minutes that the shallowest kept cell took for its last evaluation, the shortest over its runs."""
    folders = next(iter(groups.values()))
    ends = []
    for folder in folders:
        records = records_of(folder)
        steps, _ = curve_of(records, METRIC)
        ends.append(float(minutes_at(records, steps)[-1]))
    return min(ends)


def measured(folder: Path, minutes: float) -> dict[str, Any]:
    """`study.numbers` of a run, its ms_per_update, and its last final success within `minutes` of training."""
    records = records_of(folder)
    steps, values = curve_of(records, METRIC)
    within = values[np.asarray(minutes_at(records, steps)) <= minutes]
    found = study.numbers(folder) | {"success_at_minutes": float(within[-1]) if len(within) else 0.0}
    speed = throughput(folder).get("updates_per_s")
    return found | ({"ms_per_update": 1000 / speed} if speed else {})


if __name__ == "__main__":
    study.cli({"run": run, "report": report})
