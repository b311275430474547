"""Ant on a CPU, separately on two physics engines: `python -m experiments.locomotion run | report`.

The preset ant_cpu runs on MuJoCo's C engine and on Brax's spring backend (the engine of JaxGCRL's results). The physics
of the two engines differ, so that their numbers are not comparable: each engine has its own table and its own panel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from crl_jax.report.figures import metric_figure
from experiments import study
from experiments.depth_scaling import METRIC, measured

STUDY = "locomotion"
PRESET = "ant_cpu"
STEPS = {"c": 8_000_000, "spring": 8_000_000}
"""Engine -> env steps of a run."""
COLUMNS: tuple[study.Column, ...] = (
    ("time at goal, last", "last_time_at_goal", "{:.0f}"),
    ("best", "best_time_at_goal", "{:.0f}"),
    ("success any, best", "best_success_any", "{:.2f}"),
    ("success any, last", "last_success_any", "{:.2f}"),
    ("success final, last", "last_success_final", "{:.2f}"),
)


def cells(
    tasks: Sequence[str] = ("ant",), engines: Sequence[str] = tuple(STEPS), steps: int | None = None
) -> list[study.Cell]:
    """One cell per task and engine.

    Raises:
        ConfigError: an unknown engine.
    """
    lengths = study.known(engines, STEPS, "engines")
    return [
        study.Cell(
            f"{task}-{engine}", PRESET, {"task": task, "physics": engine, "total_env_steps": steps or lengths[engine]}
        )
        for task in tasks
        for engine in engines
    ]


def run(
    tasks: tuple[str, ...] = ("ant",),
    engines: tuple[str, ...] = tuple(STEPS),
    seeds: tuple[int, ...] = (0, 1, 2),
    total_env_steps: int | None = None,
    threads: int = 0,
    dry_run: bool = False,
) -> int:
    """Train every task, engine and seed; kept runs are skipped, stopped runs continue.

    Args:
        tasks: ant, ant_u_maze and the like.
        engines: c, spring.
        seeds: Seeds.
        total_env_steps: Env steps of each run; the engine's own by default.
        threads: Threads of the C engine; 0 takes every core.
        dry_run: Print the runs and do nothing.
    """
    return study.run_cells(STUDY, cells(tasks, engines, total_env_steps), seeds, dry_run=dry_run, threads=threads)


def report(tasks: tuple[str, ...] = ("ant",), out: Path | None = None) -> int:
    """One table per engine, and curves of the time at goal, from the kept runs.

    Args:
        tasks: Tasks to show; tasks without kept runs are left out.
        out: Folder of the picture; runs/locomotion/report by default.
    """
    kept = study.kept_runs(STUDY, cells(tasks))
    figure = drawn(kept, (out or Path("runs") / STUDY / "report") / "locomotion.png")
    Console().print("\n\n".join([*tables(kept), str(figure)]), markup=False, highlight=False, soft_wrap=True)
    return 0


def section() -> str:
    """Draws the README's figure; returns tables and figure as Markdown.

    Raises:
        ConfigError: no run is kept.
    """
    kept = study.kept_runs(STUDY, cells())
    figure = drawn(kept, study.ROOT / "docs" / "locomotion.png")
    return "\n\n".join([*tables(kept), f"![Env steps at the goal]({figure.relative_to(study.ROOT)})"])


def tables(kept: Mapping[str, Sequence[Path]]) -> list[str]:
    """One table per engine with kept runs."""
    by_engine = {
        engine: {name: folders for name, folders in kept.items() if name.endswith(f"-{engine}")} for engine in STEPS
    }
    return [study.markdown_table(groups, COLUMNS, told_of=measured) for groups in by_engine.values() if groups]


def drawn(kept: Mapping[str, Sequence[Path]], path: Path) -> Path:
    """Draws the env steps at the goal (per episode) over env steps of training, one panel per cell."""
    return metric_figure({name: {name: folders} for name, folders in kept.items()}, METRIC, "env steps at goal", path)


if __name__ == "__main__":
    study.cli({"run": run, "report": report})
