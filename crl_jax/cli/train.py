"""`crl train` and `crl continual`: parse the command line, train, and print the results."""

from __future__ import annotations

import argparse
import dataclasses
import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro
from rich.console import Console
from rich.table import Table

import envs_mjx
from crl_jax import runs
from crl_jax.cli.options import count, parse, path
from crl_jax.cli.progress import doing, filming
from crl_jax.config import Config, ConfigError, check_shared, nearest, require, shared
from crl_jax.config.learner import READERS
from crl_jax.config.sequence import SequenceConfig, of_tasks
from crl_jax.scale import hosts
from envs_mjx.base import EnvError

if TYPE_CHECKING:
    from crl_jax.train import Result

REPORT = "report.html"
_ABOUT_HOSTS = (
    "Several processes train together with --coordinator HOST:PORT --num-processes N --process-id I (under Slurm these "
    "are found out; --num-processes 1 trains alone); --devices counts the devices of all."
)


def train_command(presets: Mapping[str, Config], arguments: list[str]) -> int:
    """Run `crl train`; returns the exit code."""
    first = _early_parser("train")
    first.add_argument("--coordinator")
    first.add_argument("--num-processes", type=count)
    first.add_argument("--process-id", type=count)
    first.add_argument("--seeds", type=count, nargs="+")
    joining, rest = _parse_early(first, arguments)
    asked = (joining.coordinator, joining.num_processes, joining.process_id)
    hosts.check(*asked)
    config, resumed = settings(presets, rest, "train", f"Train. {_ABOUT_HOSTS}")
    if resumed:
        config = runs.resume(resumed, config)
    envs_mjx.check_task(config.env.task, config.env.obs)  # before what pictures ask of the other settings
    check_shared(config, len(envs_mjx.tasks_of(config.env.task)))
    config.validate()
    if not resumed and not any(word.split("=")[0] == "--preset" for word in arguments):
        name = default_preset(config.env.task)
        print(f"Preset {name} (--preset takes another; `crl train --help` lists them).", flush=True)
    if joining.seeds is not None:
        alone = any(word.split("=")[0] == "--seed" for word in arguments)
        require(not alone, "seeds", joining.seeds, "says which seeds; leave --seed out")
        return _train_seeds(config, resumed, joining.seeds)
    with hosts.joined(*asked):
        from crl_jax.train import train

        result, is_leader = train(config, resumed), hosts.is_leader()
    return _finish(result) if is_leader else 0


def _train_seeds(config: Config, resumed: Path | None, seeds: list[int]) -> int:
    from crl_jax.train import train_seeds

    if resumed:
        raise ConfigError(f"seeds={seeds}: a run is resumed alone; leave --seeds out")
    return max(_finish(result) for result in train_seeds(config, seeds))


def continual_command(presets: Mapping[str, Config], arguments: list[str]) -> int:
    """Run `crl continual`; returns the exit code."""
    first = _early_parser("continual")
    first.add_argument("--preset", default="continual_cpu")
    first.add_argument("--resume", type=path)
    known, rest = _parse_early(first, arguments)
    split = next((index for index, word in enumerate(rest) if word.startswith("-")), len(rest))
    tasks, rest = _sequence(rest[:split]), rest[split:]
    if known.preset not in presets:
        raise ConfigError(f"preset={known.preset!r}: no such preset; nearest: {nearest(known.preset, presets)}")
    default = runs.load(known.resume) if known.resume else of_tasks(presets[known.preset], tasks)
    if not isinstance(default, SequenceConfig):
        raise ConfigError(f"resume: {known.resume} learned one task; continue it with `crl train --resume`")
    if not tasks and not known.resume and not any(flag in ("-h", "--help") for flag in rest):
        raise ConfigError("continual: name tasks (`crl envs` lists them), e.g. `crl continual push window-close`")
    for flag, instead in (("--total-env-steps", "--steps-per-task"), ("--task", "the tasks' names alone")):
        if any(word.split("=")[0].replace("_", "-") == flag for word in rest):
            raise ConfigError(f"continual: {flag} follows from the sequence; give {instead}")
    if tasks and known.resume:
        raise ConfigError(f"continual: {' '.join(tasks)}: a resumed run has its tasks; leave them out")
    about = f"Learn tasks one after another. Presets: {', '.join(presets)} (these defaults: {known.preset})."
    prog = "crl continual TASK TASK ... [--preset NAME] | --resume RUN"
    given = (tyro.conf.OmitArgPrefixes,)
    config: Any = parse(SequenceConfig, rest, prog, default=default, config=given, description=about)
    config = runs.resume(known.resume, config) if known.resume else config
    from crl_jax.sequence import train_sequence

    return _finish(train_sequence(config, known.resume))


def _sequence(words: Sequence[str]) -> tuple[str, ...]:
    """The tasks named by `words`; a benchmark's name (`SPLITS`, e.g. cw10) is replaced by its tasks."""
    from envs_mjx import SPLITS

    return tuple(task for word in words for task in SPLITS.get(word, (word,)))


def _early_parser(command: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(prog=f"crl {command}", add_help=False, allow_abbrev=False, exit_on_error=False)


def _parse_early(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """The arguments that the parser knows, and the remaining ones. Raises ConfigError."""
    try:
        return parser.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise ConfigError(f"{parser.prog.removeprefix('crl ')}: {error}") from None


def default_preset(task: str | None) -> str:
    """The preset for a task when none is named: another one for several tasks at once."""
    return "mt10_cpu" if task and len(envs_mjx.tasks_of(task)) > 1 else "metaworld_cpu"


def settings(
    presets: Mapping[str, Config], arguments: Sequence[str], command: str, about: str
) -> tuple[Config, Path | None]:
    """Parse `TASK [--preset NAME] [options]` or `--resume RUN [options]` into the config, and RUN or None.

    Args:
        command, about: name and description for the help text.

    Raises:
        ConfigError, CheckpointError: an unknown preset, no task, no run, or a bad option, in one line.
    """
    first = _early_parser(command)
    first.add_argument("--preset")
    first.add_argument("--resume", type=path)
    known, rest = _parse_early(first, arguments)
    # The task comes before the other options, so that an option's value is never mistaken for the task.
    task = rest.pop(0) if rest and not rest[0].startswith("-") else None
    preset = known.preset or default_preset(task)
    if preset not in presets:
        raise ConfigError(f"preset={preset!r}: no such preset; nearest: {nearest(preset, presets)}")
    default = runs.load(known.resume) if known.resume else presets[preset]
    if isinstance(default, SequenceConfig):
        raise ConfigError(f"resume: {known.resume} learns a sequence; continue it with `crl continual --resume`")
    if task:
        default = dataclasses.replace(default, env=dataclasses.replace(default.env, task=task))
        default = shared(default, len(envs_mjx.tasks_of(task)))
    elif not known.resume and not any(flag in ("-h", "--help") for flag in rest):
        example = f"crl {command} reach --preset {preset}"
        raise ConfigError(f"{command}: name a task (`crl envs` lists them), e.g. `{example}`")
    about = f"{about} Presets: {', '.join(presets)} (these defaults: {preset})."
    prog = f"crl {command} TASK [--preset NAME] | --resume RUN"
    config: Config = parse(Config, rest, prog, default=default, config=(tyro.conf.OmitArgPrefixes,), description=about)
    return config, known.resume


def _finish(result: Result) -> int:
    console = Console()
    if result.stopped_by:
        console.print(f"Stopped by {result.stopped_by}; everything is saved. Continue with:", highlight=False)
        command = "train" if type(result.config) is Config else "continual"
        console.print(f"  crl {command} --resume {shlex.quote(str(result.folder))}", highlight=False, soft_wrap=True)
        return 0
    if not result.trained:
        console.print(f"{result.folder} has ended already; nothing was trained. Train on with:", highlight=False)
        console.print(f"  {_more(result.folder, result.config)}", highlight=False, soft_wrap=True)
        if (result.folder / REPORT).exists():
            return 0
    return _show(console, result.folder, result.config)


def _show(console: Console, folder: Path, config: Config) -> int:
    from crl_jax import report
    from crl_jax.play import policy

    with doing("Drawing the report ...", console):
        page = report.write_report(folder)
    files = [page, *sorted(folder.glob("*.png"))]
    if config.run.video:
        try:
            with filming(console, "; --no-video leaves it out") as told:
                files.append(policy.film(policy.load(folder), folder / "videos" / "policy.mp4", told=told))
        except EnvError as error:
            console.print(f"No video: {error}", highlight=False)
    rewarded = config.agent.method in READERS["reward"]
    taught = f"the {config.baseline.reward} reward" if rewarded else "no reward"
    table = Table(show_header=False)
    for name, value in report.told(folder):
        table.add_row(name, value)
    console.print(f"{folder} learned from {taught}:", highlight=False, soft_wrap=True)
    console.print(table)
    for file in files:
        console.print(f"  {file}", highlight=False, soft_wrap=True)
    console.print("Next:", highlight=False)
    crl = _own_name()
    for command, why in suggestions(folder, config):
        command = crl + command.removeprefix("crl")
        console.print(f"  {command:56} # {why}", highlight=False, soft_wrap=True)
    return 0


def _own_name() -> str:
    """How this command is called here: its path, where the virtual environment is not active."""
    if shutil.which("crl"):
        return "crl"
    beside = Path(sys.executable).with_name("crl")
    return os.path.relpath(beside) if beside.is_relative_to(Path.cwd()) else str(beside)


def _more(folder: Path, config: Config) -> str:
    """The command that trains a run on, to twice its env steps."""
    until = " --until 0" if config.evaluation.until else ""
    return f"crl train --resume {shlex.quote(str(folder))}{until} --total-env-steps {2 * config.train.total_env_steps}"


def suggestions(folder: Path, config: Config) -> list[tuple[str, str]]:
    """Commands to try after a run, with what each does."""
    run, one_task = shlex.quote(str(folder)), type(config) is Config
    twice = _more(folder, config)
    if one_task and config.env.task in envs_mjx.SPLITS["mt50"] and config.env.obs == "state":
        score = (f"crl eval {run} --official", "score it in the official Meta-World package")
    else:
        score = (f"crl eval {run}", "score it on fresh episodes")
    return [score, *([(twice, "train on")] if one_task else []), ("crl demo --list", "trained policies of other tasks")]
