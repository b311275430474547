"""Explore with one goal or with many? `python -m experiments.single_goal run | report`.

The question of "A Single Goal is All You Need" (arXiv:2408.05804): does a policy explore better if its only behaviour
goal is the one hard commanded goal, or if its behaviour goals cover the space? Arms: single_goal; mixed_goals and
replay_goals, whose behaviour goals are achieved goals from the replay ring, in half of the episodes or in all; sac_her,
SAC with hindsight, which learns from a success reward. single_goal_repeat is ours, not the paper's: the one commanded
goal with a decision every five env steps and the networks and updates of `metaworld_cpu`.
The default task is the paper's point maze, for a CPU; `--tasks sawyer_bin sawyer_box sawyer_peg` takes far longer.
`--full` is the paper's setting, for a GPU.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from rich.console import Console

from configs import PRESETS
from crl_jax import report as reports
from crl_jax.config import Config
from crl_jax.report.figures import curve_figure
from experiments import study

STUDY = "single_goal"
TASKS: dict[str, int] = {
    "point_Spiral11x11": 500_000,
    "sawyer_bin": 3_000_000,
    "sawyer_box": 3_000_000,
    "sawyer_peg": 3_000_000,
}
"""Task -> env steps of a run on a CPU."""
FULL_STEPS: dict[str, int] = {
    "point_Spiral11x11": 1_000_000,
    "sawyer_bin": 20_000_000,
    "sawyer_box": 20_000_000,
    "sawyer_peg": 20_000_000,
}
ARMS: dict[str, dict[str, Any]] = {
    "single_goal": {"behaviour_goals": "commanded"},
    "mixed_goals": {"behaviour_goals": "mixed"},
    "replay_goals": {"behaviour_goals": "replay"},
    "sac_her": {"behaviour_goals": "commanded"},
    "single_goal_repeat": {"behaviour_goals": "commanded", "near_steps": 0, "near_height": 0.0},
}
"""Arm -> fields of its preset that it changes."""
PRESET_OF = {
    "point_Spiral11x11": "point_cpu",
    "sawyer_bin": "metaworld_cpu_steps",
    "sawyer_box": "metaworld_cpu_steps",
    "sawyer_peg": "metaworld_cpu_steps",
}
CRL_ARMS = ("single_goal", "mixed_goals", "replay_goals")


def cells(
    tasks: tuple[str, ...], arms: tuple[str, ...], full: bool = False, steps: int | None = None
) -> list[study.Cell]:
    """One cell per task and arm.

    Raises:
        ConfigError: an unknown task or arm.
    """
    found = []
    steps_of = study.known(tasks, FULL_STEPS if full else TASKS, "tasks")
    for (task, env_steps), (arm, changes) in itertools.product(
        steps_of.items(), study.known(arms, ARMS, "arms").items()
    ):
        preset = "sgcrl" if full else PRESET_OF[task]
        whole = {"task": task, "total_env_steps": steps or env_steps, **changes}
        if arm == "sac_her":
            preset, whole = "sac_her_cpu", collecting(PRESETS[preset]) | whole
        if arm == "single_goal_repeat":
            preset = "pointmaze_cpu" if task.startswith("point") else "metaworld_cpu"
        found.append(study.Cell(f"{task}-{arm}{'-full' if full else ''}", preset, whole))
    return found


def collecting(config: Config) -> dict[str, Any]:
    """A preset's settings of collection, exploration noise and schedule, as changes for another method's preset."""
    schedule = {name: value for name, value in vars(config.train).items() if name != "distinct_trajectories"}
    noise = {name: getattr(config.explore, name) for name in ("action_noise", "action_noise_scale")}
    environments = {name: getattr(config.env, name) for name in ("num_envs", "allow_cpu")}
    return {**environments, "eval_every": config.evaluation.eval_every, **noise, **schedule}


def run(
    tasks: tuple[str, ...] = ("point_Spiral11x11",),
    arms: tuple[str, ...] = CRL_ARMS,
    seeds: tuple[int, ...] = (0, 1, 2),
    full: bool = False,
    total_env_steps: int | None = None,
    threads: int = 0,
    dry_run: bool = False,
) -> int:
    """Train every task, arm and seed; kept runs are skipped, stopped runs continue.

    Args:
        tasks: point_Spiral11x11, sawyer_bin, sawyer_box, sawyer_peg.
        arms: single_goal, mixed_goals, replay_goals, sac_her.
        seeds: Seeds.
        full: The paper's setting (preset sgcrl), for a GPU.
        total_env_steps: Env steps of each run; the task's own by default.
        threads: Threads of the C engine; 0 takes every core.
        dry_run: Print the runs and do nothing.
    """
    return study.run_cells(STUDY, cells(tasks, arms, full, total_env_steps), seeds, dry_run=dry_run, threads=threads)


def report(full: bool = False, out: Path | None = None) -> int:
    """Table, curves and one HTML page of the kept runs.

    Args:
        full: Report the runs of the paper's setting.
        out: Folder of the page and pictures; runs/single_goal/report by default.
    """
    kept = study.kept_runs(STUDY, cells(tuple(TASKS), tuple(ARMS), full))
    out = out or Path("runs") / STUDY / "report"
    pictures: list[tuple[str, Path]] = []
    pooled: dict[str, list[Path]] = {}
    for task in TASKS:
        arms = {arm: kept[name] for arm in ARMS if (name := f"{task}-{arm}{'-full' if full else ''}") in kept}
        if arms:
            pictures.append((task, curve_figure(arms, out / f"{task}.png", "bootstrap")))
        for arm, folders in arms.items():
            pooled.setdefault(arm, []).extend(folders)
    command = f"python -m experiments.single_goal run{' --full' if full else ''}"
    runs = [folder for folders in kept.values() for folder in folders]
    page = reports.write_report(runs, out, kept, pooled, pictures, [f"Made by: {command}"])
    console = Console()
    console.print(study.markdown_table(kept), markup=False, highlight=False, soft_wrap=True)
    console.print(reports.group_table(pooled))
    console.print(str(page), highlight=False, soft_wrap=True)
    return 0


def section() -> str:
    """Draws one figure per task; returns the README's table of all kept runs and the figures as Markdown.

    Raises:
        ConfigError: no run is kept.
    """
    both = [*cells(tuple(TASKS), tuple(ARMS)), *cells(tuple(TASKS), tuple(ARMS), full=True)]
    kept = study.kept_runs(STUDY, both)
    parts = [study.markdown_table(kept, study.SUCCESS[:2])]
    for task in TASKS:
        groups = {name.removeprefix(f"{task}-"): folders for name, folders in kept.items() if name.startswith(task)}
        if groups:
            figure = curve_figure(groups, study.ROOT / "docs" / f"{STUDY}_{task}.png")
            parts.append(f"![{task}: learning curves]({figure.relative_to(study.ROOT)})")
    return "\n\n".join(parts)


if __name__ == "__main__":
    study.cli({"run": run, "report": report})
