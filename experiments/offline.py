"""Learning from recorded data alone: `python -m experiments.offline run | report`.

200 episodes of the scripted policy on push, with noise on its actions; contrastive RL with a share of behavioural
cloning, beside behavioural cloning alone on the same data. Nothing is collected.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from configs import PRESETS
from crl_jax.cli import main
from crl_jax.report.figures import curve_figure
from experiments import study

STUDY, PRESET, TASK = "offline", "metaworld_cpu", "push"
DATA = Path("runs") / STUDY / "data"
RECORDING = ("record", TASK, "--noise", "0.1", "--action-repeat", "5", "--episodes", "200", "--seed", "1")
_BOTH = {"task": TASK, "data": str(DATA), "offline": True, "entropy": "none", "total_env_steps": 300_000}
CELLS: dict[str, dict[str, Any]] = {
    "contrastive": {**_BOTH, "eval_every": 50_000, "bc_weight": 0.3},
    "cloning": {**_BOTH, "eval_every": 50_000, "bc_weight": 1.0},
}
"""Cell -> fields that it changes."""


def cells() -> list[study.Cell]:
    """Both ways of learning from the same data."""
    return [study.Cell(name, PRESET, changes) for name, changes in CELLS.items()]


def run(seeds: tuple[int, ...] = (0, 1, 2), threads: int = 0, dry_run: bool = False) -> int:
    """Record the data where they are missing, then train every cell; kept runs are skipped, stopped runs continue.

    Args:
        seeds: Seeds.
        threads: Threads of the C engine; 0 takes every core.
        dry_run: Print the runs and do nothing.
    """
    if not dry_run and not DATA.exists():
        code = main(PRESETS, [*RECORDING, "--out", str(DATA)])
        if code:
            return code
    return study.run_cells(STUDY, cells(), seeds, dry_run=dry_run, threads=threads)


def report() -> int:
    """Print the table of the kept runs, and draw docs/offline.png."""
    Console().print(section(), markup=False, highlight=False, soft_wrap=True)
    return 0


def section() -> str:
    """Draws docs/offline.png; returns table and figure as Markdown.

    Raises:
        ConfigError: no run is kept.
    """
    kept = study.kept_runs(STUDY, cells())
    figure = curve_figure(kept, study.ROOT / "docs" / "offline.png")
    picture = f"![Success over updates, in the env steps that go with them]({figure.relative_to(study.ROOT)})"
    return "\n\n".join([study.markdown_table(kept), picture])


if __name__ == "__main__":
    study.cli({"run": run, "report": report})
