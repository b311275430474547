"""Continual learning over a sequence of tasks: `python -m experiments.continual run | report`.

`run` first plays every task with the official scripted policy. A task that this policy never solves is printed and left
out. `run` then trains every (method, critic mode, seed). Config and metrics are kept under
experiments/results/continual/. Two rows of `--methods` keep all tasks: `replay` is fine-tuning on a ring that holds
every task's steps, `multitask` learns all tasks at once.

`report` reads the kept runs. It draws success curves with the boundaries between tasks, and matrices of the success on
each task after each task. It prints a table of performance, forgetting and forward transfer. Forward transfer is
relative to the kept runs of method `scratch` on the same sequence: those with critic mode reset, where each task is
learned alone, or, if there are none, those with critic mode persistent.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from configs import PRESETS
from crl_jax import continual
from crl_jax.cli.progress import doing
from crl_jax.config.continual import CRITIC_MODES
from envs_mjx import make
from envs_mjx.film import play
from envs_mjx.metaworld.splits import CW10, CW20
from envs_mjx.metaworld.tasks import TASKS
from envs_mjx.physics.cores import stay_on
from experiments import study
from experiments.continual_tables import (
    Scored,
    diagnostics_table,
    figures,
    multitask_line,
    scored,
    table,
    tasks_table,
)

STUDY = "continual"
EASY = ("window-close", "faucet-close", "handle-press-side", "push")
SEQUENCES = {
    "easy": EASY,
    "four": EASY,
    "cw10": CW10,
    "cw10_steps": CW10,
    "cw20": CW20,
}
"""`four`, `easy`: tasks that CRL solves on a CPU, each learned alone; the hardest is last. `easy` and `cw10_steps` are
runs with an earlier preset, a decision at every env step."""
PRESET_OF = {name: "continual_cpu" for name in SEQUENCES} | dict.fromkeys(("easy", "cw10_steps"), "continual_cpu_steps")
STEPS = {"easy": 200_000, "four": 200_000, "cw10": 500_000, "cw10_steps": 1_000_000, "cw20": 500_000}
"""Env steps of each task."""
MULTITASK = "multitask"
ROWS = (*continual.METHODS, "replay", MULTITASK)
_CONTROL_EPISODES, _CONTROL_STEPS = 8, 500


def cells(
    sequence: str, methods: tuple[str, ...], critic_modes: tuple[str, ...], steps_per_task: int | None = None
) -> list[study.Cell]:
    """One cell per method and critic mode; one in all of `multitask`.

    Raises:
        ConfigError: an unknown sequence, method or critic mode.
    """
    tasks = study.known((sequence,), SEQUENCES, "sequence")[sequence]
    study.known(methods, dict.fromkeys(ROWS), "methods")
    study.known(critic_modes, dict.fromkeys(CRITIC_MODES), "critic_modes")
    steps, preset, found = steps_per_task or STEPS[sequence], PRESET_OF[sequence], []
    for mode in critic_modes:
        for method in methods:
            if method == MULTITASK:
                continue
            changes = {"learner": method, "critic_mode": mode, "steps_per_task": steps}
            changes["eval_every"] = max(50_000, steps // 5)  # Rarely: each scores all begun tasks.
            changes |= {} if mode == "persistent" else {"target_mode": "reset"}
            # A fifth of the updates of the task's own training.
            changes |= {"retrain_updates": steps // 200} if method == "packnet" else {}
            changes |= _replay(preset, len(tasks), steps) if method == "replay" else {}
            found.append(study.Cell(f"{sequence}-{method}-{mode}", preset, changes, tasks))
    return found + ([multitask(sequence, tasks, steps)] if MULTITASK in methods else [])


def _replay(preset: str, tasks: int, steps: int) -> dict[str, Any]:
    """Fine-tuning on a ring with room for the steps of all tasks, each of which may take a round more than asked."""
    one = PRESETS[preset]
    each = steps + one.env_steps_per_iteration() * one.train.iterations_per_round
    room = -(-tasks * each // (one.env.action_repeat * one.train.replay_capacity)) * one.train.replay_capacity
    kept = {"replay_mode": "keep", "task_code": True, "replay_capacity": room}
    return {"learner": "ft1", "new_head": False, **kept}


def multitask(sequence: str, tasks: tuple[str, ...], steps: int) -> study.Cell:
    """All tasks at once, with the preset, env steps and updates of the sequence, and a ring that forgets nothing."""
    names, one = tuple(dict.fromkeys(tasks)), PRESETS[PRESET_OF[sequence]]
    envs, unroll, repeat = len(names) * max(16, 128 // len(names)), one.train.unroll_length, one.env.action_repeat
    total, scale = len(names) * steps, envs / one.env.num_envs
    unrolls = -(-total // (envs * unroll * repeat)) + one.train.iterations_per_round
    changes = {
        "task": "+".join(names),
        "num_envs": envs,
        "eval_episodes": envs,
        "eval_every": total // 20,
        "total_env_steps": total,
        "updates_per_iteration": round(one.train.updates_per_iteration * scale),
        "min_replay": round(one.train.min_replay * scale),
        "replay_capacity": unrolls * unroll * envs,
    }
    return study.Cell(f"{sequence}-{MULTITASK}", PRESET_OF[sequence], changes)


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
    core: int | None = None,
    control: bool = True,
    dry_run: bool = False,
) -> int:
    """Train every method, critic mode and seed; kept runs are skipped, stopped runs continue.

    Args:
        sequence: easy, four, cw10, cw10_steps or cw20.
        methods: Names of crl_jax.continual.METHODS, replay, multitask.
        critic_modes: persistent, reset, keep_phi, keep_psi, cka.
        seeds: Seeds.
        steps_per_task: Env steps of each task; 200,000 (easy, four) or 500,000 (cw10, cw20) by default.
        threads: Threads of the C engine; 0 takes every core.
        core: Core to stay on, from 0.
        control: Play every task with the scripted policy first, and leave out tasks that it never solves.
        dry_run: Print the runs and do nothing.
    """
    if core is not None:
        stay_on(core)  # Here already, because the scripted policies start JAX.
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
    whole = [study.Cell(cell.name, cell.preset, cell.changes, tasks) for cell in wanted if cell.tasks]
    return whole + [cell for cell in wanted if not cell.tasks]


def kept(sequence: str, results: Path | None = None) -> dict[str, list[Scored]]:
    """Label "<method> <critic mode>" -> the kept runs of the cell."""
    wanted = cells(sequence, tuple(row for row in ROWS if row != MULTITASK), CRITIC_MODES)
    found = study.kept_runs(STUDY, wanted, results)
    named = {name: name.removeprefix(f"{sequence}-").rsplit("-", 1) for name in found}
    return {" ".join(named[name]): [scored(folder) for folder in folders] for name, folders in found.items()}


def report(sequence: str = "easy", out: Path | None = None) -> int:
    """Tables and figures of the kept runs.

    Args:
        sequence: easy, four, cw10, cw10_steps or cw20.
        out: Folder of the pictures; runs/continual/report by default.
    """
    groups, out = kept(sequence), out or Path("runs") / STUDY / "report"
    console = Console()
    for text in (_tables(sequence, groups), *figures(groups, out, "final", f"{STUDY}_{sequence}")):
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
    return "\n\n".join([_scores(sequence, groups, "final"), *told, *drawn])


def details(sequence: str = "easy") -> str:
    """The tables of docs/continual.md, as Markdown.

    Raises:
        ConfigError: no run is kept.
    """
    return _tables(sequence, kept(sequence))


def _scores(sequence: str, groups: dict[str, list[Scored]], kind: str) -> str:
    """`table`, and under it the runs that learned all tasks at once."""
    tasks = tuple(dict.fromkeys(SEQUENCES[sequence]))
    folders = sorted((study.RESULTS / STUDY).glob(f"{sequence}-{MULTITASK}-s*"))
    return "\n".join([table(groups, kind), *([multitask_line(folders, tasks, kind)] if folders else [])])


def _tables(sequence: str, groups: dict[str, list[Scored]]) -> str:
    told = [
        ("Success at the last step:", _scores(sequence, groups, "final")),
        ("Success at any step:", _scores(sequence, groups, "any")),
        ("Success on each task after the whole sequence, at the last step:", tasks_table(groups, "final")),
        ("The critic on its batch, and what a method tells of itself:", diagnostics_table(groups)),
    ]
    return "\n\n".join(text for pair in told for text in pair)


if __name__ == "__main__":
    study.cli({"run": run, "report": report})
