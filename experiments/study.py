"""Shared code of the studies in this folder: train each cell once, keep its runs, and report them together.

A cell is plain data: a name, a preset, and the fields that it changes. `run_cells` trains every (cell, seed) that is
not kept yet, and keeps its config.json, metrics.jsonl and machine.json under
experiments/results/<study>/<cell>-s<seed>/. A study can be stopped at any time. The same command then skips kept runs,
and continues an unfinished run from its checkpoint under runs/<study>/.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from configs import PRESETS
from crl_jax import report as reports
from crl_jax import runs
from crl_jax.cli.options import USER_ERRORS, call_one, shown
from crl_jax.config import Config, ConfigError, differences, nearest, with_overrides
from crl_jax.config.sequence import SequenceConfig, of_tasks, resolved
from crl_jax.runs.loggers import METRICS_FILE, read_metrics
from crl_jax.scale.machine import machine, run_cpu_programs_where_called
from envs_mjx import check, contract_of, control_of
from envs_mjx.physics.cores import stay_on
from experiments.slurm import resumed

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "experiments" / "results"
_FILES = (runs.CONFIG, METRICS_FILE)
MACHINE, SCORE, CLIP = "machine.json", "score.json", "policy.webp"
_RESOLVED = ("physics", "horizon", "threads")
"""Fields in which a kept run may differ from its cell's config."""


@dataclass(frozen=True)
class Cell:
    """One setting of a study.

    Attributes:
        name: prefix of its run folders, unique in the study. preset: name in `configs`. changes: fields that differ
            from the preset.
        tasks: tasks that the run learns one after another; (): the one task of `changes` or of the preset.
    """

    name: str
    preset: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    tasks: tuple[str, ...] = ()

    def config(self, study: str, seed: int = 0, **changes: Any) -> Config:
        """The validated config of one seed. Goal contract and control "auto" are resolved, so that kept runs name them.

        Raises:
            ConfigError, EnvError: an unknown preset or task, or a bad setting.
        """
        if self.preset not in PRESETS:
            raise ConfigError(f"preset={self.preset!r}: no such preset; nearest: {nearest(self.preset, PRESETS)}")
        named = {"seed": seed, "name": f"{self.name}-s{seed}", "runs": f"runs/{study}", "video": False}
        base = of_tasks(PRESETS[self.preset], self.tasks) if self.tasks else PRESETS[self.preset]
        config = with_overrides(base, **{**self.changes, **named, **changes}).validate()
        for task in self.tasks or (config.env.task,):
            check(task, config.env.physics, config.env.allow_unfaithful)
        if isinstance(config, SequenceConfig):
            return resolved(config)
        task, env = config.env.task, config.env
        return with_overrides(
            config, goal=contract_of(task, env.goal), control=control_of(task, env.control, env.action_repeat)
        )


def run_cells(
    study: str,
    cells: Sequence[Cell],
    seeds: Sequence[int],
    results: Path | None = None,
    dry_run: bool = False,
    score: Callable[[Path], Mapping[str, Any]] | None = None,
    core: int | None = None,
    **changes: Any,
) -> int:
    """Train the runs that are not kept yet, one after another: every cell with the first seed, then with the next.

    Args:
        study: name of the study's folders. results: folder of kept runs; RESULTS by default.
        changes: fields that every run changes, e.g. threads.
        dry_run: print the runs, and do nothing.
        score: run folder -> numbers measured once the run has ended, kept as score.json.
        core: core to stay on, from 0: two commands on a core each run faster than two that share both.

    Returns:
        0, also when a signal stopped a run, because everything is saved.

    Raises:
        ConfigError: a bad cell; raised before any run begins. EnvError: no such core.
    """
    from crl_jax.sequence import train_any

    if core is not None:
        stay_on(core)
    if any(cell.changes.get("overlap") for cell in cells) and not dry_run:
        run_cpu_programs_where_called()
    console = Console()
    todo = [(cell, seed, cell.config(study, seed, **changes)) for seed in seeds for cell in cells]
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
        if score:
            runs.write_json(result.folder / SCORE, dict(score(result.folder)))
        keep(result.folder, kept)
    return 0


def is_kept(kept: Path, config: Config) -> bool:
    """Whether the folder keeps a run of at least as many env steps, or one that has reached `until` as asked for.

    Raises:
        ConfigError: the folder keeps a run of other settings.
    """
    if not (kept / METRICS_FILE).exists():
        return False
    known = runs.load(kept)
    changed = differences(known, config, (*runs.MAY_CHANGE, *_RESOLVED))
    if changed:
        raise ConfigError(f"{kept} keeps another run ({'; '.join(changed)}): move it away, or ask for the same")
    wanted, until = config.train.total_env_steps, config.evaluation.until
    if known.evaluation.until == 0:
        return known.train.total_env_steps >= wanted
    ended = read_metrics(kept)[-1]["env_steps"]
    reached = ended < known.train.total_env_steps  # It would have ended there with any larger budget.
    return ended >= wanted or (reached and 0 < until <= known.evaluation.until)


def keep(folder: Path, kept: Path) -> None:
    """Copy a run's config and metrics to `kept`, and record the machine and versions there; all files or none."""
    partial = kept.with_name(kept.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name in _FILES:
        shutil.copy(folder / name, partial / name)
    for name in (SCORE, CLIP):
        if (folder / name).exists():
            shutil.copy(folder / name, partial / name)
    runs.write_json(partial / MACHINE, machine())
    shutil.rmtree(kept, ignore_errors=True)
    partial.rename(kept)


def kept_runs(study: str, cells: Sequence[Cell], results: Path | None = None) -> dict[str, list[Path]]:
    """Cell name -> its kept runs, in the order of the cells. Cells without kept runs are left out.

    Raises:
        ConfigError: no run is kept.
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
"""(title, key in the numbers of a run, format)."""
SUCCESS: tuple[Column, ...] = tuple(
    (f"{kind} {when}", f"{kind}_success_{when}", "{:.2f}")
    for when in ("any", "final")
    for kind in ("best", "last", "auc")
)


def known(names: Sequence[str], table: Mapping[str, Any], field: str) -> dict[str, Any]:
    """The rows of `table` whose keys are `names`.

    Raises:
        ConfigError: an unknown name; the message has the nearest known name.
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
    """One row per group: for each column the median [lowest, highest] over the group's runs; "-" when not recorded.

    The column of minutes is there only if a run recorded its seconds.

    Args:
        told_of: function from a run's folder to its numbers by name; `numbers` by default.
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
    """A run's `report.summary`, its minutes, and the last value of every "train/" metric under the metric's name."""
    from crl_jax.runs.recorded import records_of

    last: dict[str, Any] = {}
    for record in records_of(folder):
        last |= {key: value for key, value in record.items() if key.startswith("train/")}
    found = last | reports.summary(folder)
    return found | ({"minutes": found["seconds"] / 60} if "seconds" in found else {})


def spread(values: Sequence[float], form: str = "{:.2f}") -> str:
    """Median [lowest, highest] as text; one number when all three look the same; "-" without values."""
    if not values:
        return "-"
    ordered = sorted(values)
    middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    low, mid, high = (form.format(value) for value in (ordered[0], middle, ordered[-1]))
    return mid if low == high else f"{mid} [{low}, {high}]"


def cli(commands: Mapping[str, Callable[..., int]]) -> None:
    """Run one of a study's commands. A user's error becomes one line on stderr."""
    try:
        sys.exit(shown(lambda: call_one(commands)))
    except USER_ERRORS as error:
        sys.exit(f"error: {error}")
