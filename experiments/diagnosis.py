"""What each ingredient of the default preset gives: `python -m experiments.diagnosis run | report`.

Each cell leaves one ingredient out on one task. The report draws the success of each beside that of the whole preset.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Console

from configs import PRESETS
from crl_jax import report as reports
from crl_jax.report.figures import heat_map
from envs_mjx import contract_of
from experiments import study

STUDY, PRESET = "diagnosis", "metaworld_cpu"
TASKS = ("bin-picking", "shelf-place", "stick-pull", "pick-place", "drawer-open")
"""An object that is carried out of a bin, into a shelf, with a tool, into the air; and a fixture."""
STEPS = 600_000
"""Env steps of each run: before the whole preset has learned all of the tasks, so that a difference shows."""
FIGURE = study.ROOT / "docs" / "diagnosis.png"
_STEPS = PRESETS["metaworld_cpu_steps"]
LEFT_OUT: dict[str, tuple[str, dict[str, Any]]] = {
    "whole": ("nothing is left out", {}),
    "no-repeat": (
        "the policy decides at every env step; schedules and discount keep their length in env steps",
        {
            "action_repeat": 1,
            "discount": _STEPS.agent.discount,
            "near_steps": _STEPS.explore.near_steps,
            "unroll_length": _STEPS.train.unroll_length,
            "replay_capacity": _STEPS.train.replay_capacity,
            "min_replay": _STEPS.train.min_replay,
        },
    ),
    "no-arch": ("exploratory places lie on the straight way", {"near_height": 0.0}),
    "no-exploration": (
        "all training episodes ask for the commanded goal",
        {"behaviour_goals": "commanded", "near_steps": 0, "near_height": 0.0},
    ),
    "no-hand": ("goals name the object's place alone: not the hand, its opening or a tool", {"goal": "object"}),
    "hand-in-room": ("goals give the hand in the room, not as seen from the object", {"goal": "hand_object"}),
    "overlap": (
        "nothing, but each unroll is collected with the parameters before the last updates (`--overlap`)",
        {"overlap": True},
    ),
    "no-near": ("exploratory goals only ask for the hand at the object", {"behaviour_goals": "touch_first"}),
    "future-goals": ("the actor's loss has relabelled goals only", {"actor_goals": "future"}),
    "no-goal-noise": ("no noise on the critic's goals", {"critic_goal_noise": 0.0}),
    "no-average": ("evaluation takes the last parameters, not their running mean", {"actor_average": 0.0}),
}
"""Cell -> (what is left out, fields that this changes)."""


def cells(tasks: Sequence[str] = TASKS, left_out: Sequence[str] = tuple(LEFT_OUT)) -> list[study.Cell]:
    """A cell for each task and each ingredient that is left out; none where the task does without it anyway."""
    study.known(left_out, LEFT_OUT, "left_out")
    return [
        study.Cell(f"{task}-{name}", PRESET, {"total_env_steps": STEPS, **LEFT_OUT[name][1], "task": task})
        for name in left_out
        for task in tasks
        if name != "hand-in-room" or contract_of(task) != LEFT_OUT[name][1]["goal"]
    ]


def run(
    tasks: tuple[str, ...] = TASKS,
    left_out: tuple[str, ...] = tuple(LEFT_OUT),
    seeds: tuple[int, ...] = (0, 1),
    threads: int = 0,
    core: int | None = None,
    dry_run: bool = False,
) -> int:
    """Train every cell; kept runs are skipped, stopped runs continue.

    Args:
        tasks: Tasks of `crl envs`.
        left_out: Cells, by what they leave out.
        seeds: Seeds.
        threads: Threads of the C engine; 0 takes every core.
        core: Core to stay on, from 0.
        dry_run: Print the runs and do nothing.
    """
    return study.run_cells(STUDY, cells(tasks, left_out), seeds, dry_run=dry_run, core=core, threads=threads)


def report() -> int:
    """Print the table of the kept runs, and draw docs/diagnosis.png."""
    Console().print(section(), markup=False, highlight=False, soft_wrap=True)
    return 0


def section() -> str:
    """Draws docs/diagnosis.png; returns what is left out, the figure and a table as Markdown.

    Raises:
        ConfigError: no run is kept.
    """
    kept = study.kept_runs(STUDY, cells())
    names = [name for name in LEFT_OUT if any(cell.endswith(f"-{name}") for cell in kept)]
    tasks = [task for task in TASKS if any(cell.startswith(f"{task}-") for cell in kept)]
    scores = {name: [_scores(kept.get(f"{task}-{name}", [])) for task in tasks] for name in names}
    means = np.array([[np.mean(runs) if len(runs) else np.nan for runs in row] for row in scores.values()])
    values = np.concatenate([means, means.mean(axis=1, keepdims=True)], axis=1)
    path = heat_map(values, names, [*tasks, "mean"], "Success at the last step, mean over the seeds", FIGURE)
    told = [f"- **{name}**: {LEFT_OUT[name][0]}" for name in names]
    picture = f"![Success with each ingredient left out]({path.relative_to(study.ROOT)})"
    lines = [f"| left out | {' | '.join(tasks)} | mean | runs |", "|---" * (len(tasks) + 3) + "|"]
    for (name, row), mean in zip(scores.items(), values[:, -1], strict=True):
        told_mean = f"{mean:.2f}" if np.isfinite(mean) else "-"
        lines.append(f"| {name} | {' | '.join(map(study.spread, row))} | {told_mean} | {sum(map(len, row))} |")
    return "\n".join([*told, "", picture, "", *lines])


def _scores(folders: Sequence[Any]) -> list[float]:
    """The last final success of each run."""
    return [reports.summary(folder)["last_success_final"] for folder in folders]


if __name__ == "__main__":
    study.cli({"run": run, "report": report})
