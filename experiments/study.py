"""What the studies of this folder share: cells that are run once, kept, and reported together.

A cell is a name, a preset and what it changes: data. `run_cells` trains every (cell, seed) that is not kept yet and
keeps its config.json, metrics.jsonl and machine.json under experiments/results/<study>/<cell>-s<seed>/. Stopped at any
time, the same command goes on: kept runs are skipped, an unfinished one continues from its checkpoint under
runs/<study>/.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console

from configs import PRESETS
from crl_jax import report as reports
from crl_jax import runs
from crl_jax.config import Config, ConfigError, differences, nearest, with_overrides
from crl_jax.config.sequence import SequenceConfig, of_tasks, resolved
from crl_jax.runs.checkpoint import CheckpointError
from crl_jax.runs.loggers import METRICS_FILE
from crl_jax.scale.machine import machine
from envs_mjx import contract_of
from envs_mjx.base import EnvError
from experiments.slurm import resumed

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "experiments" / "results"
_FILES = (runs.CONFIG, METRICS_FILE)
MACHINE = "machine.json"
_RESOLVED = ("physics", "horizon", "threads")
"""Fields in which a kept run may differ from the config that asked for it."""


@dataclass(frozen=True)
class Cell:
    """One setting of a study.

    Attributes:
        name: its folders' name, unique in the study. preset: of `configs`. changes: fields that differ from it.
        tasks: of a run that learns several tasks one after another; (): one task, the preset's or that of `changes`.
    """

    name: str
    preset: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    tasks: tuple[str, ...] = ()

    def config(self, study: str, seed: int = 0, **changes: Any) -> Config:
        """The run of one seed, validated; its goal contract by its own name, as kept runs tell what they were.

        Raises:
            ConfigError: an unknown preset or a bad setting.
        """
        if self.preset not in PRESETS:
            raise ConfigError(f"preset={self.preset!r}: no such preset; nearest: {nearest(self.preset, PRESETS)}")
        named = {"seed": seed, "name": f"{self.name}-s{seed}", "runs": f"runs/{study}", "video": False}
        base = of_tasks(PRESETS[self.preset], self.tasks) if self.tasks else PRESETS[self.preset]
        config = with_overrides(base, **{**self.changes, **named, **changes}).validate()
        if isinstance(config, SequenceConfig):
            return resolved(config)
        return with_overrides(config, goal=contract_of(config.env.task, config.env.goal))


def run_cells(
    study: str,
    cells: Sequence[Cell],
    seeds: Sequence[int],
    results: Path | None = None,
    dry_run: bool = False,
    **changes: Any,
) -> int:
    """Train what is not kept yet, one run after another.

    Args:
        study: name of the folders of its runs. results: where they are kept, instead of RESULTS.
        changes: fields that every run changes, e.g. threads.
        dry_run: tell what would be done, and do nothing.

    Returns:
        0, also when a signal stopped a run: everything is saved.

    Raises:
        ConfigError: a bad cell, told before any run begins.
    """
    from crl_jax.sequence import train_any

    console = Console()
    todo = [(cell, seed, cell.config(study, seed, **changes)) for cell in cells for seed in seeds]
    for number, (cell, seed, config) in enumerate(todo, start=1):
        kept = (results or RESULTS) / study / f"{cell.name}-s{seed}"
        told = f"[{number}/{len(todo)}] {kept.name}: {config.label}, {config.train.total_env_steps:,} env steps"
        if is_kept(kept, config):
            console.print(f"{told}; kept already, skipped", markup=False, highlight=False)
            continue
        console.print(told, markup=False, highlight=False)
        if dry_run:
            continue
        result = train_any(*resumed(config))
        if result.stopped_by:
            console.print(f"Stopped by {result.stopped_by}, saved; the same command goes on.", highlight=False)
            return 0
        keep(result.folder, kept)
    return 0


def is_kept(kept: Path, config: Config) -> bool:
    """Whether the run is kept, with as many env steps at least.

    Raises:
        ConfigError: a run of other settings is kept there.
    """
    if not (kept / METRICS_FILE).exists():
        return False
    known = runs.load(kept)
    changed = differences(known, config, (*runs.MAY_CHANGE, *_RESOLVED))
    if changed:
        raise ConfigError(f"{kept} keeps another run ({'; '.join(changed)}): move it away, or ask for the same")
    return known.train.total_env_steps >= config.train.total_env_steps


def keep(folder: Path, kept: Path) -> None:
    """Copy a run's config and metrics, with the machine and versions that made them; all or nothing."""
    partial = kept.with_name(kept.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name in _FILES:
        shutil.copy(folder / name, partial / name)
    runs.write_json(partial / MACHINE, machine())
    shutil.rmtree(kept, ignore_errors=True)
    partial.rename(kept)


def kept_runs(study: str, cells: Sequence[Cell], results: Path | None = None) -> dict[str, list[Path]]:
    """Cell name -> its kept runs, in the order of the cells; cells without any are left out.

    Raises:
        ConfigError: none is kept.
    """
    found: dict[str, list[Path]] = {}
    folder = (results or RESULTS) / study
    for cell in cells:
        matching = re.compile(re.escape(cell.name) + r"-s\d+")
        there = (path.parent for path in folder.glob(f"{cell.name}-s*/{METRICS_FILE}"))
        folders = sorted(run for run in there if matching.fullmatch(run.name))
        if folders:
            found[cell.name] = folders
    if not found:
        raise ConfigError(f"no kept runs under {folder}; make them with `run`")
    return found


Column = tuple[str, str, str]
"""Title, entry of `report.summary` or a metric's name, format."""
SUCCESS: tuple[Column, ...] = tuple(
    (f"{kind} {when}", f"{kind}_success_{when}", "{:.2f}")
    for when in ("any", "final")
    for kind in ("best", "last", "auc")
)


def known(names: Sequence[str], table: Mapping[str, Any], field: str) -> dict[str, Any]:
    """The rows of `table` that are named.

    Raises:
        ConfigError: an unknown name, with the nearest.
    """
    for name in names:
        if name not in table:
            raise ConfigError(f"{field}={name!r}: unknown; nearest: {nearest(name, table)}")
    return {name: table[name] for name in names}


def markdown_table(
    groups: Mapping[str, Sequence[Path]],
    columns: Sequence[Column] = SUCCESS,
    name: str = "cell",
    told_of: Callable[[Path], Mapping[str, Any]] | None = None,
) -> str:
    """A row for each group: of each column the median [lowest, highest] over its runs; "-" if it was not recorded.

    Minutes are a column only where a run recorded its seconds.

    Args:
        told_of: a run's numbers by name; `numbers` by default.
    """
    told = {label: [(told_of or numbers)(folder) for folder in folders] for label, folders in groups.items()}
    timed = any("minutes" in one for runs_ in told.values() for one in runs_)
    columns = [*columns, ("env steps", "env_steps", "{:,.0f}"), *([("minutes", "minutes", "{:.1f}")] if timed else [])]
    lines = [f"| {name} | runs | {' | '.join(title for title, _, _ in columns)} |", "|---" * (len(columns) + 2) + "|"]
    for label, runs_ in told.items():
        cells = [spread([one[key] for one in runs_ if key in one], form) for _, key, form in columns]
        lines.append(f"| {label} | {len(runs_)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def numbers(folder: Path) -> dict[str, Any]:
    """A run's `report.summary`, its minutes, and the last value of every training metric under its own name."""
    from crl_jax.runs.recorded import records_of

    last: dict[str, Any] = {}
    for record in records_of(folder):
        last |= {key: value for key, value in record.items() if key.startswith("train/")}
    found = last | reports.summary(folder)
    return found | ({"minutes": found["seconds"] / 60} if "seconds" in found else {})


def spread(values: Sequence[float], form: str = "{:.2f}") -> str:
    """Median [lowest, highest] as text; one number when all are the same to the digits shown."""
    if not values:
        return "-"
    ordered = sorted(values)
    middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    low, mid, high = (form.format(value) for value in (ordered[0], middle, ordered[-1]))
    return mid if low == high else f"{mid} [{low}, {high}]"


def cli(commands: Mapping[str, Callable[..., int]]) -> None:
    """Run one of a study's commands; a user's error is one line on stderr."""
    try:
        sys.exit(tyro.extras.subcommand_cli_from_dict(dict(commands)))
    except (ConfigError, EnvError, CheckpointError) as error:
        sys.exit(f"error: {error}")
