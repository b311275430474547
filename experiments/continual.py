"""Continual learning over a sequence of tasks: `python -m experiments.continual run | report`.

`run` first plays every task with the official scripted policy. A task that this policy never solves is printed and left
out. `run` then trains every (method, critic mode, seed) with preset continual_cpu_steps. Config and metrics
are kept under experiments/results/continual/.

`report` reads the kept runs. It draws success curves with the boundaries between tasks, and matrices of the success on
each task after each task. It prints a table of performance, forgetting and forward transfer. Forward transfer is
relative to the kept runs of method `scratch` on the same sequence: those with critic mode reset, where each task is
learned alone, or, if there are none, those with critic mode persistent.

The published numbers in the table are from other settings (20 tasks, SAC with rewards on the older tasks). They show
the usual range; they are no comparison.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from crl_jax import continual
from crl_jax.cli.progress import doing
from crl_jax.config import ConfigError
from crl_jax.config.checks import nearest
from crl_jax.config.continual import CRITIC_MODES
from crl_jax.config.sequence import SequenceConfig
from crl_jax.report import scores
from crl_jax.report.figures import heat_maps, sequence_figure
from crl_jax.report.scores import Evaluations
from crl_jax.runs import load
from crl_jax.runs.loggers import read_metrics
from crl_jax.sequence import ENDED
from envs_mjx import make
from envs_mjx.film import play
from envs_mjx.metaworld.splits import CW10, CW20
from envs_mjx.metaworld.tasks import TASKS
from experiments import study

STUDY = "continual"
SEQUENCES = {
    "easy": ("window-close", "faucet-close", "handle-press-side", "push"),
    "cw10": CW10,
    "cw20": CW20,
}
"""`easy`: tasks that CRL solves on a CPU, each learned alone. The hardest, which needs more than STEPS, is last."""
STEPS = {"easy": 200_000, "cw10": 1_000_000, "cw20": 1_000_000}
"""Env steps of each task."""
CRITIC = {"train/categorical_accuracy": "critic's accuracy", "train/participation_ratio": "phi's dimensions"}
"""Metrics of the critic that the report shows beside each method's own metrics: name -> title."""
PUBLISHED = Path(__file__).parent / "published" / "continual.json"
_CONTROL_EPISODES, _CONTROL_STEPS = 8, 500


def cells(
    sequence: str, methods: tuple[str, ...], critic_modes: tuple[str, ...], steps_per_task: int | None = None
) -> list[study.Cell]:
    """One cell per method and critic mode.

    Raises:
        ConfigError: an unknown sequence, method or critic mode.
    """
    tasks = study.known((sequence,), SEQUENCES, "sequence")[sequence]
    found = []
    for mode in critic_modes:
        if mode not in CRITIC_MODES:
            raise ConfigError(f"critic_modes={mode!r}: unknown; nearest: {nearest(mode, CRITIC_MODES)}")
        for method in study.known(methods, continual.METHODS, "methods"):
            steps = steps_per_task or STEPS[sequence]
            changes = {"learner": method, "critic_mode": mode, "steps_per_task": steps}
            changes["eval_every"] = max(50_000, steps // 5)  # Rarely: each scores all begun tasks.
            changes |= {} if mode == "persistent" else {"target_mode": "reset"}
            # A fifth of the updates of the task's own training.
            changes |= {"retrain_updates": steps // 200} if method == "packnet" else {}
            found.append(study.Cell(f"{sequence}-{method}-{mode}", "continual_cpu_steps", changes, tasks))
    return found


def solvable(tasks: tuple[str, ...], threads: int = 0) -> dict[str, float]:
    """Task -> share of episodes in which the official scripted policy succeeds, on this package's C engine."""
    shares = {}
    for task in dict.fromkeys(tasks):
        if task not in TASKS:
            continue  # Point mazes and the like have no scripted policy.
        env = make(task, _CONTROL_EPISODES, physics="c", horizon=_CONTROL_STEPS + 1, threads=threads, reward=False)
        done = np.zeros(_CONTROL_EPISODES, bool)
        for state in play(env, "scripted", 0, _CONTROL_STEPS):
            done |= np.asarray(state.success)
            if done.all():
                break
        shares[task] = float(done.mean())
        jax.clear_caches()
    return shares


def run(
    sequence: str = "easy",
    methods: tuple[str, ...] = tuple(continual.METHODS),
    critic_modes: tuple[str, ...] = ("persistent",),
    seeds: tuple[int, ...] = (0, 1, 2),
    steps_per_task: int | None = None,
    threads: int = 0,
    control: bool = True,
    dry_run: bool = False,
) -> int:
    """Train every method, critic mode and seed; kept runs are skipped, stopped runs continue.

    Args:
        sequence: easy, cw10 or cw20.
        methods: Names of crl_jax.continual.METHODS.
        critic_modes: persistent, reset, cka.
        seeds: Seeds.
        steps_per_task: Env steps of each task; 200,000 (easy) or 1,000,000 by default.
        threads: Threads of the C engine; 0 takes every core.
        control: Play every task with the scripted policy first, and leave out tasks that it never solves.
        dry_run: Print the runs and do nothing.
    """
    wanted = cells(sequence, methods, critic_modes, steps_per_task)
    if control and not dry_run:
        wanted = _controlled(wanted, threads)
    return study.run_cells(STUDY, wanted, seeds, dry_run=dry_run, threads=threads)


def _controlled(wanted: list[study.Cell], threads: int) -> list[study.Cell]:
    """The cells without the tasks that the scripted policy never solves."""
    console = Console()
    with doing("Scripted policies ...", console):
        shares = solvable(wanted[0].tasks, threads)
    for task, share in shares.items():
        console.print(f"scripted policy on {task}: {share:.0%} of {_CONTROL_EPISODES} episodes", highlight=False)
    lost = {task for task, share in shares.items() if share == 0}
    if not lost:
        return wanted
    console.print(f"Not trained, as nothing succeeds there: {', '.join(sorted(lost))}", highlight=False)
    tasks = tuple(task for task in wanted[0].tasks if task not in lost)
    return [study.Cell(cell.name, cell.preset, cell.changes, tasks) for cell in wanted]


# -- report ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scored:
    """One kept run: evaluations by both definitions of success, and diagnostics (N,) at the end of each task."""

    folder: Path
    config: SequenceConfig
    any: Evaluations
    final: Evaluations
    told: dict[str, np.ndarray]


def scored(folder: Path) -> Scored:
    """A kept run with its success matrices S[t, task]. Success on a task not yet begun counts as 0.

    Raises:
        ConfigError: not a run of a sequence, or a run that did not finish.
    """
    config, records = load(folder), read_metrics(folder)
    if not isinstance(config, SequenceConfig):
        raise ConfigError(f"{folder}: no run of a sequence of tasks")
    count = len(config.sequence.tasks)
    ends = {int(record[ENDED]): record["env_steps"] for record in records if ENDED in record}
    if len(ends) < count:
        raise ConfigError(f"{folder}: {len(ends)} of {count} tasks are finished; continue it with the same `run`")
    # A task's last env step may have two evaluations. The later one counts: it follows the method's work at the task's
    # end, such as PackNet's pruning.
    rows = {record["env_steps"]: record for record in records if "eval/success_any" in record}
    steps = np.array(list(rows))
    matrices = [
        np.array([[row.get(f"eval/{task}/success_{kind}", 0.0) for task in range(count)] for row in rows.values()])
        for kind in ("any", "final")
    ]
    ended = np.array([ends[task] for task in range(count)])
    at_any, at_last = (Evaluations(steps, matrix, ended) for matrix in matrices)
    return Scored(folder, config, at_any, at_last, _diagnostics(records, ended))


def _diagnostics(records: list[dict[str, Any]], ends: np.ndarray) -> dict[str, np.ndarray]:
    """Metric's title -> (N,) last value of each critic and method metric up to the end (N,) of each task."""
    own = sorted({name for record in records for name in record if name.startswith("eval/method/")})
    found = {}
    for name, shown in {**CRITIC, **{name: name.removeprefix("eval/method/") for name in own}}.items():
        values = [(record["env_steps"], record[name]) for record in records if name in record]
        found[shown] = np.array([[value for at, value in values if at <= end][-1] for end in ends])
    return found


def table(groups: dict[str, list[Scored]], kind: str) -> str:
    """Markdown table, one row per cell: mean [95% bootstrap interval over the seeds] of the sequence's scores.

    Args:
        kind: success "any" or "final".
    """
    reference = _reference(groups, kind)
    published = json.loads(PUBLISHED.read_text())["methods"]
    lines = [
        "| method | critic | seeds | performance | at own end | forgetting | own area | forward transfer | published |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for label, runs in groups.items():
        evaluations = [getattr(run, kind) for run in runs]
        method, mode = label.split(" ")
        columns = [
            [float(scores.performance(one)[-1]) for one in evaluations],
            [scores.own_performance(one) for one in evaluations],
            [float(scores.forgetting(one).mean()) for one in evaluations],
            [float(scores.areas(one).mean()) for one in evaluations],
        ]
        if reference is not None:
            columns.append([float(scores.forward_transfer(one, reference).mean()) for one in evaluations])
        told = [_interval(values) for values in columns] + ["-"] * (5 - len(columns))
        lines.append(f"| {method} | {mode} | {len(runs)} | {' | '.join(told)} | {published.get(method, '-')} |")
    return "\n".join(lines)


def _interval(values: list[float]) -> str:
    mean, low, high = (round(value, 2) + 0.0 for value in scores.mean_interval(values))  # Adding 0.0 avoids -0.00.
    return f"{mean:.2f}" if len(values) == 1 else f"{mean:.2f} [{low:.2f}, {high:.2f}]"


def _reference(groups: dict[str, list[Scored]], kind: str) -> np.ndarray | None:
    """(N,) mean area of each task over the runs of `scratch`, clipped below 1; None without such runs."""
    runs = groups.get("scratch reset", groups.get("scratch persistent"))
    if runs is None:
        return None
    return np.minimum(np.mean([scores.areas(getattr(run, kind)) for run in runs], axis=0), 1 - 1e-6)


def kept(sequence: str, results: Path | None = None) -> dict[str, list[Scored]]:
    """Label "<method> <critic mode>" -> the kept runs of the cell."""
    wanted = cells(sequence, tuple(continual.METHODS), CRITIC_MODES)
    found = study.kept_runs(STUDY, wanted, results)
    named = {name: name.removeprefix(f"{sequence}-").rsplit("-", 1) for name in found}
    return {" ".join(named[name]): [scored(folder) for folder in folders] for name, folders in found.items()}


def tasks_table(groups: dict[str, list[Scored]], kind: str) -> str:
    """Markdown table, one row per cell: mean success on each task after the whole sequence."""
    tasks = next(iter(groups.values()))[0].config.sequence.tasks
    lines = [f"| method | {' | '.join(tasks)} |", "|---|" + "---|" * len(tasks)]
    for label, runs in groups.items():
        last = np.mean([getattr(run, kind).success[-1] for run in runs], axis=0)
        lines.append(f"| {label} | {' | '.join(f'{value:.2f}' for value in last)} |")
    return "\n".join(lines)


def diagnostics_table(groups: dict[str, list[Scored]]) -> str:
    """Markdown table, one row per cell and diagnostic: mean over the seeds at the end of each task's training."""
    tasks = next(iter(groups.values()))[0].config.sequence.tasks
    lines = [f"| method | at the end of | {' | '.join(tasks)} |", "|---|---|" + "---|" * len(tasks)]
    for label, runs in groups.items():
        for name in runs[0].told:
            values = np.mean([run.told[name] for run in runs], axis=0)
            lines.append(f"| {label} | {name} | {' | '.join(f'{value:.2f}' for value in values)} |")
    return "\n".join(lines)


def figures(groups: dict[str, list[Scored]], out: Path, kind: str, name: str) -> list[Path]:
    """Draws success curves over the sequence, and matrices of success on each task (column) after each task (row)."""
    tasks = next(iter(groups.values()))[0].config.sequence.tasks
    curves, matrices = {}, {}
    for label, runs in groups.items():
        evaluations = [getattr(run, kind) for run in runs]
        curves[label] = [(one.env_steps, one.success, one.ends) for one in evaluations]
        rows = [[one.success[one.env_steps <= end][-1] for end in one.ends] for one in evaluations]
        scored_ = np.tril(np.ones((len(tasks), len(tasks)), bool))  # Tasks not yet begun are blank.
        matrices[label] = np.where(scored_, np.mean(rows, axis=0), np.nan)
    return [
        sequence_figure(curves, tasks, out / f"{name}_curves.png", f"success ({kind} step)"),
        heat_maps(matrices, tasks, tasks, out / f"{name}_matrices.png"),
    ]


def report(sequence: str = "easy", out: Path | None = None) -> int:
    """Tables and figures of the kept runs.

    Args:
        sequence: easy, cw10 or cw20.
        out: Folder of the pictures; runs/continual/report by default.
    """
    groups, out = kept(sequence), out or Path("runs") / STUDY / "report"
    console = Console()
    for text in (_tables(groups), *figures(groups, out, "final", f"{STUDY}_{sequence}")):
        console.print(str(text), markup=False, highlight=False, soft_wrap=True)
    return 0


def section(sequence: str = "easy") -> str:
    """Draws the README's figures; returns table, conclusions (if someone has written them) and figures as Markdown.

    Raises:
        ConfigError: no run is kept.
    """
    groups, docs, name = kept(sequence), study.ROOT / "docs", f"{STUDY}_{sequence}"
    pictures = [path.relative_to(study.ROOT) for path in figures(groups, docs, "final", name)]
    conclusions = docs / f"{name}_conclusions.md"
    told = [conclusions.read_text().strip()] if conclusions.exists() else []
    drawn = [f"![{path.stem.replace('_', ' ')}]({path})" for path in pictures]
    return "\n\n".join([table(groups, "final"), *told, *drawn])


def details(sequence: str = "easy") -> str:
    """The tables of docs/continual.md, as Markdown.

    Raises:
        ConfigError: no run is kept.
    """
    return _tables(kept(sequence))


def _tables(groups: dict[str, list[Scored]]) -> str:
    told = [
        ("Success at the last step:", table(groups, "final")),
        ("Success at any step:", table(groups, "any")),
        ("Success on each task after the whole sequence, at the last step:", tasks_table(groups, "final")),
        ("The critic on its batch, and what a method tells of itself:", diagnostics_table(groups)),
    ]
    return "\n\n".join(text for pair in told for text in pair)


if __name__ == "__main__":
    study.cli({"run": run, "report": report})
