"""The folder of a run, `runs/<name>/` with config.json, metrics.jsonl, checkpoints/: create, load and resume it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shlex
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from crl_jax.config import AnyConfig, Config, ConfigError, differences
from crl_jax.config.sequence import SequenceConfig
from crl_jax.runs.checkpoint import CheckpointError
from crl_jax.runs.loggers import METRICS_FILE
from crl_jax.scale import hosts

CONFIG, CHECKPOINTS, COMMAND = "config.json", "checkpoints", "command.txt"
_MACHINE = ("naconmax", "njmax", "devices", "allow_cpu")
MAY_CHANGE = ("total_env_steps", "until", "runs", "name", "video", "wandb", "tensorboard", "keep", *_MACHINE)
"""Fields that a resumed run may change, because they change neither the state nor what the next iteration learns.

Engine buffers that overflow stop the run. Another number of `devices` splits the same state and draws other random
numbers, but learns the same."""


def create(config: AnyConfig) -> AnyConfig:
    """Make the folder of a new run and write its config.json.

    Returns:
        config with its final `name`.

    Raises:
        ConfigError: the name is taken by another run, or the folder cannot be written.
    """
    root = Path(config.run.runs)
    name = config.run.name or _free_name(root, f"{config.label}-s{config.run.seed}")
    folder = root / name
    config = dataclasses.replace(config, run=dataclasses.replace(config.run, name=name))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        _claim(folder / CONFIG, config.to_dict())
    except FileExistsError:
        taken = f"{folder} holds a run already; go on with it (--resume {folder}), or take another name (--name)"
        raise ConfigError(f"name={name!r}: {taken}") from None
    except OSError as error:
        raise ConfigError(f"runs={config.run.runs!r}: cannot write {folder}: {error.strerror}") from error
    return config


def check_shared(folder: Path) -> None:
    """Refuse a run's folder that is not visible to every process.

    Raises:
        ConfigError: this or another process does not see the config.json that process 0 wrote.
    """
    here = (folder / CONFIG).is_file()
    if hosts.largest(int(not here)):
        raise ConfigError(
            f"runs={str(folder.parent)!r}: not every process sees {folder} (this one {'does' if here else 'does not'});"
            " name a folder that all hosts share"
        )


def load(folder: Path) -> Config:
    """The config of a run.

    Raises:
        CheckpointError: no run there, or its config.json is damaged.
    """
    path = Path(folder) / CONFIG
    if not path.is_file():
        raise CheckpointError(f"{folder}: no run here (no {CONFIG})")
    try:
        values = json.loads(path.read_text())
        return (SequenceConfig if "sequence" in values else Config).from_dict(values)
    except (ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: damaged or of another version: {error}") from error


def resume(folder: Path, wanted: Config | None) -> Config:
    """The config with which to continue a run: its own, with the `MAY_CHANGE` fields of `wanted` but its own folder.

    Raises:
        CheckpointError: no run there. ConfigError: `wanted` differs in a field that must not change.
    """
    config = load(folder)
    if wanted is None:
        return config
    changed = differences(config, wanted, MAY_CHANGE)
    if changed:
        raise ConfigError(f"resume {folder}: the config differs: {'; '.join(changed)}. Start a new run for that")
    run = dataclasses.replace(wanted.run, runs=config.run.runs, name=config.run.name)
    return dataclasses.replace(wanted, run=run)


def note_command(folder: Path) -> None:
    """Append the command line of this process to the run's command.txt."""
    with open(folder / COMMAND, "a") as file:
        file.write(shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]) + "\n")


def discard(folder: Path) -> None:
    """Take back `create` for a run that could not begin. Files that are not the run's stay; so does a begun run."""
    if (folder / METRICS_FILE).exists():
        return
    for name in (CONFIG, COMMAND):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "wandb", ignore_errors=True)
    with contextlib.suppress(OSError):  # It holds other files.
        folder.rmdir()


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a reader sees the old file or the new one, never half of one."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(value, indent=2) + "\n")
    os.replace(partial, path)


def _claim(path: Path, value: Any) -> None:
    """Write JSON to a file that does not exist yet; of several processes that try, one succeeds.

    Raises:
        FileExistsError: the file exists.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(json.dumps(value, indent=2) + "\n")
    try:
        os.link(partial, path)
    except OSError as error:
        if isinstance(error, FileExistsError):
            raise
        with open(path, "x") as file:  # A file system without hard links.
            file.write(partial.read_text())
    finally:
        partial.unlink()


def _free_name(root: Path, name: str) -> str:
    count, free = 1, name
    while (root / free).exists():
        count += 1
        free = f"{name}-{count}"
    return free
