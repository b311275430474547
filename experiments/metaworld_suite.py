"""Reward-free CRL on several Meta-World tasks and seeds: `python -m experiments.metaworld_suite run | report`.

`run` trains every (task, seed) with one preset and keeps its config and metrics under experiments/results/<preset>/.
`report` makes tables and docs/<preset>.png from the kept runs; `experiments.pages` writes the tables into the docs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from crl_jax.config import ConfigError
from crl_jax.play import policy, shipped
from crl_jax.scale.machine import commit
from envs_mjx import SPLITS
from experiments import study
from experiments.metaworld_tables import CLIP_EVERY, CLIP_SIZE, PRESETS, SOLVED, first_seeds, section
from experiments.study import ROOT

FRESH_EPISODES, OFFICIAL_EPISODES, FRESH_SEED = 512, 100, 1_000_003
"""Episodes of `score`, and their seed, which no run and no evaluation takes."""


def run(
    tasks: tuple[str, ...] = ("push", "faucet-close", "handle-press-side"),
    seeds: tuple[int, ...] = (0, 1, 2),
    preset: str = "metaworld_cpu",
    total_env_steps: int | None = None,
    until: float = 0.0,
    threads: int = 0,
    core: int | None = None,
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
        core: Core to stay on, from 0. Two commands on two cores of their own each run faster than two that share both.
        dry_run: Print the runs and do nothing.
    """
    names = tuple(dict.fromkeys(name for task in tasks for name in (SPLITS["mt50"] if task == "all" else (task,))))
    changes = {"until": until} | ({"total_env_steps": total_env_steps} if total_env_steps else {})
    cells = [study.Cell(task, preset, {"task": task, **changes}) for task in names]
    return study.run_cells(preset, cells, seeds, dry_run=dry_run, score=score, core=core, threads=threads)


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


def ship(folder: Path = Path("runs/metaworld_cpu"), least: float = SOLVED) -> int:
    """Write the policies of the first seed's kept runs into the package, for `crl demo`.

    Args:
        folder: Folder of the run folders with their checkpoints.
        least: Success at the last step, on fresh episodes, that a policy must have.
    """
    at = commit(ROOT) or "unknown"  # Asked once: each file that is written changes the checkout.
    for task, told in first_seeds().items():
        run_folder = folder / f"{task}-s0"
        if told["success_final"] < least or not (run_folder / "score.json").exists():
            continue
        trained = policy.load(run_folder)
        if trained.env_steps != told["env_steps"]:
            raise ConfigError(
                f"{run_folder}: at {trained.env_steps:,} env steps, the kept run at {told['env_steps']:,}"
            )
        official = told["official"]["success_final"]
        until, steps = trained.config.evaluation.until, trained.config.train.total_env_steps
        command = f"crl train {task} --preset {PRESETS[0]} --seed 0 --until {until} --total-env-steps {steps}"
        about = shipped.About(
            task,
            trained.env_steps,
            told["success_final"],
            official,
            command,
            at,
            trained.config.to_dict(),
        )
        print(shipped.save(trained, about))
    return 0


def report(presets: tuple[str, ...] = PRESETS) -> int:
    """Print a table for each preset and draw docs/<preset>.png, from the kept runs.

    Args:
        presets: Presets whose runs are kept under experiments/results/.
    """
    for preset in presets:
        print(section(preset))
    return 0


if __name__ == "__main__":
    study.cli({"run": run, "report": report, "ship": ship})
