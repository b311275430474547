"""Tables and figures of the kept runs of `metaworld_suite`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from crl_jax import runs
from crl_jax.config import ConfigError
from crl_jax.play import video
from crl_jax.report.figures import tasks_figure
from crl_jax.report.stats import best_and_last
from crl_jax.runs.loggers import read_metrics
from envs_mjx import SPLITS, describe
from envs_mjx.film import sheet
from experiments import study
from experiments.study import RESULTS, ROOT

SOLVED = 0.9
CLIP_SIZE, CLIP_EVERY = (120, 90), 4
"""Pixels of a kept clip, (width, height), and env steps from one frame to the next."""
PUBLISHED = ROOT / "experiments" / "published" / "iwr.json"
H200 = 44_000
"""Env steps/s predicted for `metaworld_gpu` (push, engine "warp") on one H200 from the kernels of its compiled round;
29,000 to 53,000."""
FAILURES = ROOT / "experiments" / "metaworld_failures.json"
"""Task that is not learned -> what the hand does there, in one sentence."""
PRESETS = (
    "metaworld_cpu",
    "sac_her_cpu",
    "metaworld_cpu_waypoint",
    "metaworld_cpu_steps",
    "metaworld_cpu_hand",
    "metaworld_cpu_99",
    "metaworld_cpu_sharp",
)
"""The default preset, and the presets that README and docs/experiments/presets.md compare it with."""
BASELINES = ("sac_cpu", "sac_her_cpu", "td3_cpu", "td3_her_cpu")
"""Presets of SAC and TD3 that `baselines` compares with `metaworld_cpu_steps` on one task."""


def film(path: Path = ROOT / "docs" / "fifty.webp") -> Path:
    """One film of the kept clips of seed 0, a cell for each task that has one; returns its path."""
    clips = {task: RESULTS / PRESETS[0] / f"{task}-s0" / study.CLIP for task in SPLITS["mt50"]}
    shown = {task: video.read_webp(clip) for task, clip in clips.items() if clip.exists()}
    length = max(len(clip) for clip in shown.values())
    pictures = [
        sheet([clip[min(time, len(clip) - 1)] for clip in shown.values()], list(shown)) for time in range(length)
    ]
    return video.write_webp(np.stack(pictures), path, fps=20 / CLIP_EVERY)


def _not_run(count: int) -> str:
    return f"; {count} {'has' if count == 1 else 'have'} not been run yet" if count else ""


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
    filmed = f"![The learned policies]({film().relative_to(ROOT)})"
    return "\n".join([filmed, "", *_score_table(groups), "", curves, *_unlearned(groups)])


def _score_table(groups: dict[str, list[Path]]) -> list[str]:
    """The tasks by the success of their last policies on fresh episodes, best first; then those not run yet."""
    told = {task: [_told(folder) for folder in groups.get(task, ())] for task in SPLITS["mt50"]}
    finals = {task: [one["success_final"] for one in runs_] for task, runs_ in told.items()}
    learned = sum(max(values, default=0.0) >= SOLVED for values in finals.values())
    first = sum(bool(values) and values[0] >= SOLVED for values in finals.values())
    surely = sum(len(values) >= 3 and min(values) >= SOLVED for values in finals.values())
    tried, more = (sum(len(values) >= count for values in finals.values()) for count in (1, 3))
    lines = [
        f"Learned (final >= {SOLVED} with at least one seed): **{learned} of 50** tasks; with the first seed: {first};"
        f" with 3 of 3 seeds or more: {surely}. Run so far: {tried} tasks, {more} of them with 3 seeds or more.",
        "",
        "| task | seeds | final | any | official, final | env steps | budget | minutes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for task in sorted(filter(finals.get, told), key=lambda task: (-float(np.median(finals[task])), task)):
        ones = told[task]
        columns = (
            task,
            str(len(ones)),
            study.spread(finals[task]),
            study.spread([one["success_any"] for one in ones]),
            study.spread([one["official"]["success_final"] for one in ones]),
            study.spread([one["env_steps"] / 1e6 for one in ones], "{:.2f}") + " M",
            f"{max(one['budget'] for one in ones) / 1e6:.1f} M",
            study.spread([one["minutes"] for one in ones], "{:.0f}"),
        )
        lines.append("| " + " | ".join(columns) + " |")
    lines += ["", _hours([ones[0] for ones in told.values() if ones])]
    missing = [task for task in told if not told[task]]
    return [*lines, "", f"Not run yet with this preset: {', '.join(missing)}."] if missing else lines


def _hours(ones: list[dict[str, Any]]) -> str:
    """How long the first seed's runs took here, and would take on one H200."""
    hours, steps = sum(one["minutes"] for one in ones) / 60, sum(one["env_steps"] for one in ones)
    return (
        f"The first seed's {len(ones)} runs together: {steps / 1e6:.0f} M env steps, {hours:.1f} hours of one core, so"
        f" {hours / 2:.1f} hours on two (compilation and scoring apart). One H200 needs {steps / H200 / 3600:.1f} hours"
        f" for as many env steps at the {H200:,} env steps/s that are predicted, not measured, for `metaworld_gpu`."
    )


def _unlearned(groups: dict[str, list[Path]]) -> list[str]:
    """The last picture of each task that the first seed has not learned, and what the hand does there."""
    failed = {
        task: folders[0] for task, folders in sorted(groups.items()) if _told(folders[0])["success_final"] < SOLVED
    }
    if not failed:
        return []
    sentences = json.loads(FAILURES.read_text())
    stills = [video.read_webp(folder / study.CLIP)[-1] for folder in failed.values()]
    path = video.write_webp(sheet(stills, list(failed))[None], ROOT / "docs" / "unlearned.webp", fps=1)
    told = [f"- {task}: {sentences.get(task, 'not looked at yet.')}" for task in failed]
    return [
        "",
        "Not learned, and how an episode ends there:",
        "",
        f"![Not learned]({path.relative_to(ROOT)})",
        "",
        *told,
    ]


TELLING = (
    *("reach", "push", "pick-place", "pick-out-of-hole", "door-open", "drawer-open", "hammer", "window-open"),
    *("peg-insert-side", "bin-picking", "box-close", "shelf-place", "stick-push", "assembly"),
)
"""Tasks of README's table."""


def first_seeds() -> dict[str, dict[str, Any]]:
    """Task -> what the first seed's kept run has reached with the default preset."""
    folders = {path.parent.name.removesuffix("-s0"): path.parent for path in _kept(PRESETS[0], "*-s0")}
    return {task: _told(folders[task]) for task in SPLITS["mt50"] if task in folders}


def _kept(preset: str, name: str) -> list[Path]:
    return sorted((RESULTS / preset).glob(f"{name}/{study.SCORE}"))


def learned() -> str:
    """README's table: how many tasks are learned, and some of them."""
    ones = first_seeds()
    good = sum(one["success_final"] >= SOLVED for one in ones.values())
    lines = [
        f"**{good} of 50** tasks end at {SOLVED} or more{_not_run(50 - len(ones))}.",
        "",
        "| task | success | in the official package | env steps | minutes |",
        "|---|---|---|---|---|",
    ]
    for task in TELLING:
        if task in ones:
            one = ones[task]
            success = f"{one['success_final']:.2f} | {one['official']['success_final']:.2f}"
            lines.append(f"| {task} | {success} | {one['env_steps'] / 1e6:.1f} M | {one['minutes']:.0f} |")
    return "\n".join(lines)


def world() -> str:
    """A row for each of the 50 tasks: success rule, engines, and what was reached."""
    ones = first_seeds()
    lines = ["| task | success | engines | reached |", "|---|---|---|---|"]
    for task in SPLITS["mt50"]:
        row = describe(task)
        engines = ", ".join(name + "\\*" * (name in row.unfaithful) for name in row.engines)
        reached = f"{ones[task]['success_final']:.2f}" if task in ones else "not run yet"
        lines.append(f"| {task} | `{row.success}` | {engines} | {reached} |")
    return "\n".join([*lines, "", "\\* not measured to be faithful there: needs `--allow-unfaithful`."])


def compared() -> str:
    """Markdown table of published reward-free success beside that of the kept runs, on the same tasks."""
    told = json.loads(PUBLISHED.read_text())
    lines = ["| task | CRL | CRTR | IWR | ours, any | ours, final | seeds |", "|---|---|---|---|---|---|---|"]
    for task, published in told["tasks"].items():
        ones = [_told(path.parent) for path in _kept(PRESETS[0], f"{task}-s*")]
        ours = [study.spread([one[f"success_{when}"] for one in ones]) for when in ("any", "final")]
        theirs = [f"{published[name]:.2f}" for name in ("crl", "crtr", "iwr")]
        lines.append(f"| {' | '.join([task, *theirs, *ours, str(len(ones))])} |")
    return "\n".join([*lines, "", told["source"]])


def _told(folder: Path) -> dict[str, Any]:
    """A kept run's score.json, and its minutes of training."""
    found: dict[str, Any] = json.loads((folder / study.SCORE).read_text())
    budget = runs.load(folder).train.total_env_steps
    return found | {"minutes": read_metrics(folder)[-1]["time/seconds"] / 60, "budget": budget}


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
