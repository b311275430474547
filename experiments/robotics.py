"""Fetch and PointMaze of Gymnasium-Robotics on a CPU: `python -m experiments.robotics run | report`.

From states; from pictures alone; and from pictures with one stabilising technique changed at a time ("Stabilizing
Contrastive RL", arXiv:2306.03346).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

import envs_mjx
from crl_jax.config import ConfigError
from crl_jax.report.figures import curve_figure, new_figure, saved
from experiments import study

STUDY = "robotics"
STATES: dict[str, tuple[str, dict[str, Any]]] = {
    "FetchReach": ("fetch_cpu", {"total_env_steps": 100_000, "eval_every": 10_000, "until": 0.95}),
    "FetchPush": ("fetch_cpu", {"total_env_steps": 1_200_000, "until": 0.95}),
    "FetchSlide": ("fetch_cpu", {"total_env_steps": 600_000}),
    "FetchPickAndPlace": ("fetch_cpu", {"total_env_steps": 1_000_000, "until": 0.95}),
    "PointMaze_UMaze": ("pointmaze_cpu", {"total_env_steps": 1_000_000, "until": 0.95}),
    "PointMaze_Medium": ("pointmaze_cpu", {"total_env_steps": 2_000_000, "until": 0.95}),
}
"""Task -> preset, and what its runs change: a budget, and where they may end before."""
_SHORT = {"total_env_steps": 25_600, "until": 0.0}
CHANGED: dict[str, tuple[str, dict[str, Any]]] = {
    "whole": ("the preset", {}),
    "crop": ("added: each picture is cropped at random after padding by 4 pixels", {"crop": 4, **_SHORT}),
    "cold-start": (
        "added: the last layers of phi and psi start near zero, no LayerNorm before them",
        {"cold_init": True, "skip_last_norm": True, **_SHORT},
    ),
    "no-layer-norm": ("no LayerNorm", {"layer_norm": False, **_SHORT}),
    "batch-32": ("a quarter of the batch size", {"batch_size": 32, **_SHORT}),
    "push": ("another task: FetchPush", {"task": "FetchPush", "total_env_steps": 51_200, "until": 0.0}),
}
"""Cell -> (what is changed, fields that this changes)."""
PIXELS = ("FetchReach", "pixels_cpu")
SEEN, SIDE = ("FetchReach", "FetchPush", "pick-place", "drawer-open"), 64


def states(tasks: Sequence[str] = tuple(STATES)) -> list[study.Cell]:
    """A cell for each task, learned from states.

    Raises:
        ConfigError: an unknown task.
    """
    study.known(tasks, STATES, "tasks")
    return [study.Cell(task, STATES[task][0], {"task": task, **STATES[task][1]}) for task in tasks]


def pixels(changed: Sequence[str] = tuple(CHANGED)) -> list[study.Cell]:
    """A cell for each technique that is changed, learned from pictures alone.

    Raises:
        ConfigError: an unknown cell.
    """
    study.known(changed, CHANGED, "changed")
    task, preset = PIXELS
    return [study.Cell(f"pixels-{name}", preset, {"task": task, **CHANGED[name][1]}) for name in changed]


def run(
    tasks: tuple[str, ...] = tuple(STATES),
    changed: tuple[str, ...] = (),
    seeds: tuple[int, ...] = (0, 1, 2),
    threads: int = 0,
    dry_run: bool = False,
) -> int:
    """Train every cell; kept runs are skipped, stopped runs continue.

    Args:
        tasks: Tasks to learn from states.
        changed: Cells to learn from pictures: whole, crop, cold-start, no-layer-norm, batch-32, push.
        seeds: Seeds.
        threads: Threads of the C engine; 0 takes every core.
        dry_run: Print the runs and do nothing.
    """
    return study.run_cells(STUDY, [*states(tasks), *pixels(changed)], seeds, dry_run=dry_run, threads=threads)


def report(out: Path | None = None) -> int:
    """Print the tables of the kept runs, and draw their curves.

    Args:
        out: Folder of the pictures; runs/robotics/report by default.
    """
    kept = study.kept_runs(STUDY, [*states(), *pixels()])
    figure = curve_figure(kept, (out or Path("runs") / STUDY / "report") / "curves.png")
    Console().print(f"{study.markdown_table(kept)}\n\n{figure}", markup=False, highlight=False, soft_wrap=True)
    return 0


def section() -> str:
    """Draws docs/robotics.png; returns table and figure of the runs from states as Markdown.

    Raises:
        ConfigError: no run is kept.
    """
    return _shown(study.kept_runs(STUDY, states()), "robotics.png", "Success over env steps")


def pixels_section() -> str:
    """Draws docs/pixels.png; returns what is changed, table and figure of the runs from pictures as Markdown."""
    told = [f"- **{name}**: {what}" for name, (what, _) in CHANGED.items()]
    try:
        shown = _shown(study.kept_runs(STUDY, pixels()), "pixels.png", "Success over env steps, from pictures")
    except ConfigError:
        shown = "No run is kept yet."
    return "\n".join([*told, "", shown])


def seen() -> Path:
    """Draws docs/pictures.png: what the agent sees at the start of two episodes of four tasks, and its goals."""
    figure = new_figure(2, 2 * len(SEEN), 12.0, 3.6)
    grid = figure.subplots(2, 2 * len(SEEN))
    for column, task in enumerate(SEEN):
        env: Any = envs_mjx.make(task, 2, physics="c", goal="auto", obs="pixels", width=SIDE, height=SIDE)
        state = jax.jit(env.reset)(jax.random.PRNGKey(1))
        for row in range(2):
            for place, (name, value) in enumerate((("state", state.obs), ("goal", state.goal))):
                axes = grid[row][2 * column + place]
                axes.imshow(np.asarray(value[row]).reshape(env.shape), interpolation="nearest")
                axes.set_axis_off()
                if row == 0:
                    axes.set_title(f"{task}\n{name}", fontsize=8)
    return saved(figure, study.ROOT / "docs" / "pictures.png", grid=False)


def _shown(kept: Mapping[str, Sequence[Path]], name: str, title: str) -> str:
    figure = curve_figure(kept, study.ROOT / "docs" / name)
    return "\n\n".join([study.markdown_table(kept), f"![{title}]({figure.relative_to(study.ROOT)})"])


if __name__ == "__main__":
    study.cli({"run": run, "report": report})
