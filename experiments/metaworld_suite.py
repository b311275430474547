"""Reward-free CRL on several Meta-World tasks and seeds: `python -m experiments.metaworld_suite run | report`.

`run` trains every (task, seed) with one preset and keeps its config and metrics under experiments/results/<preset>/.
`report` makes tables and docs/<preset>.png from the kept runs; `experiments.pages` writes the tables into the docs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from crl_jax import runs
from crl_jax.config import ConfigError
from crl_jax.play import policy, video
from crl_jax.report.figures import tasks_figure
from crl_jax.report.stats import best_and_last
from crl_jax.runs.loggers import read_metrics
from envs_mjx import SPLITS
from envs_mjx.film import sheet
from experiments import study
from experiments.study import RESULTS, ROOT

SOLVED = 0.9
FRESH_EPISODES, OFFICIAL_EPISODES, FRESH_SEED = 512, 100, 1_000_003
"""Episodes of `score`, and their seed, which no run and no evaluation takes."""
CLIP_SIZE, CLIP_EVERY = (120, 90), 4
"""Pixels of a kept clip, (width, height), and env steps from one frame to the next."""
PRESETS = (
    "metaworld_cpu",
    "sac_her_cpu",
    "metaworld_cpu_steps",
    "metaworld_cpu_hand",
    "metaworld_cpu_99",
    "metaworld_cpu_sharp",
)
"""The default preset, and the presets that README and docs/results.md compare it with."""
BASELINES = ("sac_cpu", "sac_her_cpu", "td3_cpu", "td3_her_cpu")
"""Presets of SAC and TD3 that `baselines` compares with `metaworld_cpu_steps` on one task."""


def run(
    tasks: tuple[str, ...] = ("push", "faucet-close", "handle-press-side"),
    seeds: tuple[int, ...] = (0, 1, 2),
    preset: str = "metaworld_cpu",
    total_env_steps: int | None = None,
    until: float = 0.0,
    threads: int = 0,
    dry_run: bool = False,
) -> int:
    """Train every task with every seed; kept runs are skipped, stopped runs continue.

    When a run has ended, its last policy is scored on episodes that it has never seen, on our engine and in the
    official package. The numbers are kept as score.json.

    Args:
        tasks: Tasks of `crl envs`; all: the 50 of Meta-World.
        seeds: Seeds; every task is trained with the first before any is with the second.
        preset: Preset of `configs`.
        total_env_steps: Env steps of each run at most; the preset's by default.
        until: End a run once two evaluations in a row have a success_final of at least this; 0: never.
        threads: Threads of the C engine (1 when two runs share two cores).
        dry_run: Print the runs and do nothing.
    """
    names = tuple(dict.fromkeys(name for task in tasks for name in (SPLITS["mt50"] if task == "all" else (task,))))
    changes = {"until": until} | ({"total_env_steps": total_env_steps} if total_env_steps else {})
    cells = [study.Cell(task, preset, {"task": task, **changes}) for task in names]
    return study.run_cells(preset, cells, seeds, dry_run=dry_run, score=score, threads=threads)


def score(folder: Path) -> dict[str, Any]:
    """The last policy of a run on fresh episodes, on the run's engine and in the official package.

    Returns:
        env_steps, episodes, success_any, success_final; and under "official" the last three of the official package.
    """
    trained = policy.load(folder)
    found = policy.score(trained, FRESH_EPISODES, FRESH_SEED)
    told: dict[str, Any] = {"env_steps": trained.env_steps, "episodes": FRESH_EPISODES}
    told |= {name: found[name] for name in ("success_any", "success_final")}
    if trained.config.env.task in SPLITS["mt50"]:
        told["official"] = policy.score_official(trained, OFFICIAL_EPISODES, FRESH_SEED)
    if trained.config.run.seed == 0:
        policy.film(trained, folder / study.CLIP, 1, FRESH_SEED, CLIP_SIZE, every=CLIP_EVERY)
    return told


def film(path: Path = ROOT / "docs" / "fifty.webp") -> Path:
    """One film of the kept clips of seed 0, a cell for each task that has one; returns its path."""
    clips = {task: RESULTS / PRESETS[0] / f"{task}-s0" / study.CLIP for task in SPLITS["mt50"]}
    shown = {task: video.read_webp(clip) for task, clip in clips.items() if clip.exists()}
    length = max(len(clip) for clip in shown.values())
    pictures = [
        sheet([clip[min(time, len(clip) - 1)] for clip in shown.values()], list(shown)) for time in range(length)
    ]
    return video.write_webp(np.stack(pictures), path, fps=20 / CLIP_EVERY)


def report(presets: tuple[str, ...] = PRESETS) -> int:
    """Print a table for each preset and draw docs/<preset>.png, from the kept runs.

    Args:
        presets: Presets whose runs are kept under experiments/results/.
    """
    for preset in presets:
        print(section(preset))
    return 0


def section(preset: str) -> str:
    """Draws the figure of a preset's kept runs; returns their table and the figure as Markdown.

    Raises:
        ConfigError: no run is kept.
    """
    folders = sorted(path.parent for path in (RESULTS / preset).glob("*/metrics.jsonl"))
    if not folders:
        raise ConfigError(f"no kept runs under {RESULTS / preset}; make them with `run`")
    groups: dict[str, list[Path]] = {}
    for folder in folders:
        groups.setdefault(runs.load(folder).env.task, []).append(folder)
    figure = tasks_figure(groups, ROOT / "docs" / f"{preset}.png")
    curves = f"![Learning curves]({figure.relative_to(ROOT)})"
    if preset != PRESETS[0]:
        return "\n".join([*_table(groups), "", curves])
    return "\n".join([f"![The learned policies]({film().relative_to(ROOT)})", "", *_score_table(groups), "", curves])


def _score_table(groups: dict[str, list[Path]]) -> list[str]:
    """The tasks by the success of their last policies on fresh episodes, best first; then those not run yet."""
    told = {task: [_told(folder) for folder in groups.get(task, ())] for task in SPLITS["mt50"]}
    finals = {task: [one["success_final"] for one in runs_] for task, runs_ in told.items()}
    learned = sum(bool(values) and values[0] >= SOLVED for values in finals.values())
    surely = sum(len(values) >= 3 and min(values) >= SOLVED for values in finals.values())
    tried = sum(map(bool, finals.values()))
    lines = [
        f"Learned (final >= {SOLVED} with the first seed): **{learned} of 50** tasks; with 3 of 3 seeds: {surely}; run"
        f" so far: {tried}.",
        "",
        "| task | seeds | final | any | official, final | env steps | minutes |",
        "|---|---|---|---|---|---|---|",
    ]
    for task in sorted(filter(finals.get, told), key=lambda task: (-float(np.median(finals[task])), task)):
        ones = told[task]
        columns = (
            task,
            str(len(ones)),
            study.spread(finals[task]),
            study.spread([one["success_any"] for one in ones]),
            study.spread([one["official"]["success_final"] for one in ones]),
            ", ".join(f"{one['env_steps'] / 1e6:.2f} M" for one in ones) or "-",
            study.spread([one["minutes"] for one in ones], "{:.0f}"),
        )
        lines.append("| " + " | ".join(columns) + " |")
    missing = [task for task in told if not told[task]]
    return [*lines, "", f"Not run yet with this preset: {', '.join(missing)}."] if missing else lines


def _told(folder: Path) -> dict[str, Any]:
    """A kept run's score.json, and its minutes of training."""
    found: dict[str, Any] = json.loads((folder / study.SCORE).read_text())
    return found | {"minutes": read_metrics(folder)[-1]["time/seconds"] / 60}


def baselines(task: str = "reach") -> str:
    """Markdown table of the kept runs of one task, one row per preset, `metaworld_cpu_steps` first.

    Raises:
        ConfigError: no run is kept.
    """
    groups: dict[str, list[Path]] = {}
    for preset in ("metaworld_cpu_steps", *BASELINES):
        for path in sorted((RESULTS / preset).glob("*/metrics.jsonl")):
            if runs.load(path.parent).env.task == task:
                groups.setdefault(preset, []).append(path.parent)
    if not groups:
        raise ConfigError(f"no kept runs of {task} under {RESULTS}; make them with `run`")
    return "\n".join(_table(groups, "preset"))


def _table(groups: dict[str, list[Path]], name: str = "task") -> list[str]:
    lines = [
        f"| {name} | seeds | any, best | any, last | final, best | final, last |"
        f" env steps to {SOLVED:.0%} any | trained for | minutes |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for label, folders in groups.items():
        evaluations = [[r for r in read_metrics(folder) if "eval/success_any" in r] for folder in folders]
        any_ = [best_and_last([r["eval/success_any"] for r in records]) for records in evaluations]
        final = [best_and_last([r["eval/success_final"] for r in records]) for records in evaluations]
        solved = [
            next((int(r["env_steps"]) for r in records if r["eval/success_any"] >= SOLVED), None)
            for records in evaluations
        ]
        minutes = [records[-1]["time/seconds"] / 60 for records in evaluations]
        columns = (
            label,
            str(len(folders)),
            study.spread([best for best, _ in any_]),
            study.spread([last for _, last in any_]),
            study.spread([best for best, _ in final]),
            study.spread([last for _, last in final]),
            ", ".join("never" if steps is None else f"{steps / 1e6:.2f} M" for steps in solved),
            ", ".join(f"{records[-1]['env_steps'] / 1e6:.2f} M" for records in evaluations),
            f"{np.median(minutes):.1f}",
        )
        lines.append("| " + " | ".join(columns) + " |")
    return lines


if __name__ == "__main__":
    study.cli({"run": run, "report": report})
