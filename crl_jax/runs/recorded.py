"""Run folders read back: records, curves, and which runs are the seeds of one setting.

Reads config.json and metrics.jsonl only, so that a run can be reported while it trains or long after.
Axis letters: T evaluations over time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crl_jax.config import Config, ConfigError
from crl_jax.runs.folder import CONFIG, MAY_CHANGE
from crl_jax.runs.loggers import METRICS_FILE, read_metrics

Curve = tuple[np.ndarray, np.ndarray]
NO_SETTING = (*MAY_CHANGE, "seed", "threads", "checkpoint_every", "command")
"""Fields in which the runs of one setting may differ."""
_IN_LABEL = 4


def find_runs(paths: Sequence[Path]) -> list[Path]:
    """The run folders among `paths`. A path that is no run folder is searched for runs below it, ordered by name.

    Raises:
        ConfigError: a path without any run.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        below = [path] if (path / CONFIG).exists() else sorted(file.parent for file in path.rglob(METRICS_FILE))
        below = [folder for folder in below if (folder / CONFIG).exists()]
        if not below:
            raise ConfigError(f"{path} is no run folder: it has no {CONFIG}, nor has a folder in it")
        found += below
    return list(dict.fromkeys(found))


def config_of(folder: Path) -> dict[str, Any]:
    """A run's config.json as plain values, not validated: another version of this package may have written it.

    Raises:
        ConfigError: the file is missing, or no JSON.
    """
    try:
        config = json.loads((folder / CONFIG).read_text())
    except FileNotFoundError as error:
        raise ConfigError(f"{folder} is no run folder: it has no {CONFIG}") from error
    except ValueError as error:
        raise ConfigError(f"{folder / CONFIG} is no JSON ({error})") from error
    if not isinstance(config, dict):
        raise ConfigError(f"{folder / CONFIG} holds no settings; it is damaged, or of another program")
    return config


def records_of(folder: Path) -> list[dict[str, Any]]:
    """A run's records, in order.

    Raises:
        ConfigError: there are none, or the file is damaged.
    """
    try:
        records = [record for record in read_metrics(folder) if "env_steps" in record]
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if not records:
        raise ConfigError(f"no metrics under {folder}: {METRICS_FILE} is missing or empty")
    return records


def flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of all sections of a config.json in one flat dict."""
    sections = [value for value in config.values() if isinstance(value, Mapping)]
    leaves = {key: value for key, value in config.items() if not isinstance(value, Mapping)}
    return {key: value for section in sections for key, value in section.items()} | leaves


def task_of(folder: Path) -> str:
    """The run's task; the name of its folder when the config names no task."""
    return str(flat(config_of(folder)).get("task") or folder.resolve().name)


def groups_of(runs: Sequence[Path], apart: bool = True) -> dict[str, list[Path]]:
    """Label -> the runs of one setting. Their configs differ only in the fields of `NO_SETTING`, such as the seed.

    A label names the task and the fields that differ between groups. A field missing from an older config.json has its
    default value.

    Args:
        apart: True: runs of different tasks are in different groups. False: a group holds the runs of all tasks.
    """
    ignored = {*NO_SETTING, *(() if apart else ("task", "horizon"))}
    defaults = flat(Config().to_dict())
    settings = []
    for run in runs:
        values = defaults | flat(config_of(run)) | ({"task": task_of(run)} if apart else {})
        settings.append({key: value for key, value in values.items() if key not in ignored})
    differ = [key for key in dict.fromkeys(key for one in settings for key in one) if _several(settings, key)]
    groups: dict[str, list[Path]] = {}
    members: dict[str, dict[str, Any]] = {}
    for run, setting in zip(runs, settings, strict=True):
        label = _label(setting, differ) or (task_of(run) if apart else "all tasks")
        if members.setdefault(label, setting) != setting:  # they differ in a field that the label omits
            label = f"{label} ({run.resolve().name})"
            members[label] = setting
        groups.setdefault(label, []).append(run)
    return groups


def _several(settings: list[dict[str, Any]], key: str) -> bool:
    return len({json.dumps(one.get(key)) for one in settings}) > 1


def _label(setting: dict[str, Any], differ: list[str]) -> str:
    named = [key for key in differ if key != "task"]
    told = [str(setting["task"])] if "task" in differ else []
    told += [f"{key} {setting.get(key)}" for key in named[:_IN_LABEL]]
    return ", ".join([*told, *(["..."] if len(named) > _IN_LABEL else [])])


def curve_of(records: list[dict[str, Any]], key: str) -> Curve:
    """(T,) env steps and (T,) values of a metric, from the records that hold it; empty when none does."""
    points = sorted((record["env_steps"], record[key]) for record in records if key in record)
    return np.array([step for step, _ in points], float), np.array([value for _, value in points], float)


def minutes_at(records: list[dict[str, Any]], steps: np.ndarray) -> np.ndarray:
    """Training time in minutes at given env steps, interpolated between records; empty when no record has a time."""
    known, seconds = curve_of(records, "time/seconds")
    return np.interp(steps, known, seconds) / 60 if len(known) else np.array([])


def throughput(folder: Path) -> dict[str, float]:
    """How a run's time splits into phases, in seconds. An entry that was never recorded is absent.

    Returns:
        compile_seconds, warm_up_seconds, training_seconds (collecting and learning), evaluation_seconds; and, per
        second of training only, env_steps_per_s and updates_per_s. `crl profile` splits the training further.
    """
    records = records_of(folder)
    found: dict[str, float] = {}
    compiled = [record["time/compile_seconds"] for record in records if "time/compile_seconds" in record]
    if compiled:
        found["compile_seconds"] = max(compiled)
    evaluation, last = 0.0, 0.0
    rounds: list[tuple[int, int, float]] = []  # env steps and updates at its end, its seconds
    for record in (record for record in records if "time/seconds" in record):
        if any(key.startswith("eval/") for key in record):
            evaluation += record["time/seconds"] - last
        elif "time/env_steps_per_s" in record:
            rounds.append((record["env_steps"], record.get("updates", 0), record["time/seconds"] - last))
        last = record["time/seconds"]
    if evaluation:
        found["evaluation_seconds"] = evaluation
    if len(rounds) > 1:  # the first also holds the warm-up; its training takes as long as theirs
        later = sum(seconds for _, _, seconds in rounds[1:])
        each = later / (len(rounds) - 1)
        found["training_seconds"] = later + each
        found["warm_up_seconds"] = max(rounds[0][2] - each, 0.0)
        if later > 0:
            found["env_steps_per_s"] = (rounds[-1][0] - rounds[0][0]) / later
            found["updates_per_s"] = (rounds[-1][1] - rounds[0][1]) / later
    return found
