"""Where metrics go: metrics.jsonl always; console, TensorBoard and wandb on request.

A record is a flat dict of numbers. A metric that was not computed, or is NaN or infinite, is absent from the record. It
is never written as 0 or null.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console as RichConsole
from rich.progress import BarColumn, Progress, TextColumn

from crl_jax.config import ConfigError

Number = float | int
METRICS_FILE = "metrics.jsonl"
PLAIN_LINE_SECONDS = 10.0
COMPILING = "compiling (half a minute or more) ..."


class Logger(Protocol):
    """A place for metrics."""

    def log(self, metrics: Mapping[str, Number], env_steps: int) -> None:
        """Records `metrics` (Python, NumPy or JAX scalars) at `env_steps`, counted over all environments."""

    def close(self) -> None:
        """Flushes and releases the resources. Call it once."""


def make_loggers(
    folder: Path,
    total_env_steps: int,
    *,
    tensorboard: bool = False,
    wandb: bool = False,
    resume_env_steps: int = 0,
    console: bool = True,
    config: dict[str, Any] | None = None,
    name: str = "",
    project: str = "crl_jax",
) -> list[Logger]:
    """The loggers of one run.

    Args:
        folder: the run's folder; made when missing.
        total_env_steps: where the progress bar ends.
        resume_env_steps: env steps of the checkpoint that the run continues from; later records are dropped. 0: a
            fresh run, which starts with no records.
        config: the run's settings as wandb shows them. name, project: the run's name and project in wandb.

    Raises:
        ConfigError: an optional logger's package is missing or does not start. No file has been truncated then.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    loggers: list[Logger] = []
    if tensorboard:
        loggers.append(TensorBoardLogger(folder / "tensorboard", resume_env_steps))
    if wandb:
        loggers.append(WandbLogger(folder, project, name, config or {}, resuming=resume_env_steps > 0))
    if console:
        loggers.append(ConsoleLogger(total_env_steps, resume_env_steps, title=_title(folder, total_env_steps, config)))
    return [JsonlLogger(folder, resume_env_steps), *loggers]


def scalars(metrics: Mapping[str, Any]) -> dict[str, Number]:
    """The metrics as plain Python numbers. Integers stay integers; NaN and infinities are left out."""
    plain = {key: getattr(value, "item", lambda value=value: value)() for key, value in metrics.items()}
    return {key: _plain(value) for key, value in plain.items() if math.isfinite(value)}


def read_metrics(folder: Path) -> list[dict[str, Number]]:
    """The records of a run, in order; [] when there are none. A last line cut off by a kill is left out.

    Raises:
        ValueError: a line before the last is not a JSON object.
    """
    path = Path(folder) / METRICS_FILE
    if not path.exists():
        return []
    lines = path.read_text(errors="replace").splitlines()
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            if not isinstance(record, dict):
                raise ValueError("not an object")
        except ValueError as error:
            if number == len(lines):
                break
            raise ValueError(f"{path}:{number}: not a JSON record ({error})") from error
        records.append(record)
    return records


def _title(folder: Path, total_env_steps: int, config: Mapping[str, Any] | None) -> str:
    """The line with which a run begins: what is trained, where, and for how long at most."""
    env = (config or {}).get("env", {})
    where = f" on engine {env['physics']}" if env.get("physics") else ""
    return f"{folder}: {env.get('task', 'training')}{where}, until {total_env_steps:,} env steps"


class JsonlLogger:
    """One JSON object per line, flushed at once: {"env_steps": ..., metric: number, ...}."""

    def __init__(self, folder: Path, resume_env_steps: int = 0):
        self._path = Path(folder) / METRICS_FILE
        kept = read_metrics(folder) if resume_env_steps > 0 else []
        kept = [record for record in kept if record.get("env_steps", 0) <= resume_env_steps]
        partial = self._path.with_suffix(".tmp")
        partial.write_text("".join(json.dumps(record) + "\n" for record in kept))
        os.replace(partial, self._path)
        self._file = open(self._path, "a")  # noqa: SIM115 - held open for the run

    def log(self, metrics: Mapping[str, Number], env_steps: int) -> None:
        record = {"env_steps": int(env_steps), **scalars(metrics)}
        self._file.write(json.dumps(record, allow_nan=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class TensorBoardLogger:
    """Event files for TensorBoard (tensorboardX)."""

    def __init__(self, folder: Path, resume_env_steps: int = 0):
        writer = _optional("tensorboardX", "tensorboard").SummaryWriter
        purge = resume_env_steps + 1 if resume_env_steps > 0 else None
        self._writer = writer(logdir=str(folder), purge_step=purge)

    def log(self, metrics: Mapping[str, Number], env_steps: int) -> None:
        for key, value in scalars(metrics).items():
            self._writer.add_scalar(key, value, env_steps)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class WandbLogger:
    """Weights & Biases. WANDB_MODE (online, offline, disabled) is honoured. A resumed run keeps its wandb id."""

    def __init__(self, folder: Path, project: str, name: str, config: dict[str, Any], *, resuming: bool = False):
        wandb = _optional("wandb", "wandb")
        remembered = Path(folder) / "wandb_id.txt"
        identity = remembered.read_text().strip() if resuming and remembered.exists() else None
        try:
            self._run = wandb.init(
                dir=str(folder),
                project=project,
                name=name or None,
                config=config,
                id=identity,
                resume="allow" if identity else None,
                settings=wandb.Settings(silent=True),
            )
        except Exception as error:
            raise ConfigError(f"wandb=True: it does not start ({_line(error)}); try WANDB_MODE=offline") from error
        remembered.write_text(self._run.id + "\n")
        self._step = self._run.step - 1
        # The x axis is env_steps: wandb's own step counter cannot go back after a resume.
        self._run.define_metric("env_steps")
        self._run.define_metric("*", step_metric="env_steps")

    def log(self, metrics: Mapping[str, Number], env_steps: int) -> None:
        # Offline, wandb counts a resumed run's steps from 0 again, over those of the run before it.
        self._step = max(self._step + 1, int(env_steps))
        self._run.log({"env_steps": int(env_steps), **scalars(metrics)}, step=self._step)

    def close(self) -> None:
        self._run.finish()


class ConsoleLogger:
    """A progress bar on a terminal; elsewhere a plain line about every ten seconds and at the end.

    Both show env steps, success at the end of the last evaluation's episodes, the time left, and speeds.
    """

    def __init__(
        self,
        total_env_steps: int,
        resume_env_steps: int = 0,
        console: RichConsole | None = None,
        clock: Callable[[], float] = time.monotonic,
        title: str = "",
    ):
        self._total, self._env_steps, self._clock = total_env_steps, resume_env_steps, clock
        self._console = console or RichConsole()
        self._latest: dict[str, Number] = {}
        self._last_line, self._pending = -math.inf, False
        self._progress: Progress | None = None
        if title:
            self._console.print(title, highlight=False, markup=False, soft_wrap=True)
        if self._console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(bar_width=20))
            self._progress = Progress(*columns, console=self._console)
            self._task = self._progress.add_task(COMPILING, total=total_env_steps, completed=resume_env_steps)
            self._progress.start()
        else:
            self._console.print(COMPILING, highlight=False, markup=False)

    def log(self, metrics: Mapping[str, Number], env_steps: int) -> None:
        self._latest.update(scalars(metrics))
        self._env_steps = env_steps
        if self._progress is not None:
            self._progress.update(self._task, completed=env_steps, description=self.line())
            return
        self._pending = True
        if self._clock() - self._last_line >= PLAIN_LINE_SECONDS:
            self._write_line()

    def close(self) -> None:
        if self._progress is not None:
            self._progress.stop()
        elif self._pending:
            self._write_line()

    def line(self) -> str:
        """The state of the run as one line of text."""
        speed, updates = (self._latest.get(f"time/{unit}_per_s") for unit in ("env_steps", "updates"))
        success = self._latest.get("eval/success_final")
        parts = [f"{self._env_steps:,}/{self._total:,} env steps"]
        if success is not None:
            parts.append(f"success {success:.0%}")
        if speed:
            parts.append(f"{_clock_time((self._total - self._env_steps) / speed)} left")
        if speed is not None:
            parts.append(f"{speed:,.0f} env steps/s")
        if updates is not None:
            parts.append(f"{updates:,.0f} updates/s")
        return " | ".join(parts)

    def _write_line(self) -> None:
        self._console.print(self.line(), highlight=False, markup=False, soft_wrap=True)
        self._last_line, self._pending = self._clock(), False


@contextlib.contextmanager
def closing(loggers: list[Logger]) -> Iterator[list[Logger]]:
    """Closes every logger at the end of the block, even when closing one of them fails."""
    with contextlib.ExitStack() as stack:
        for logger in loggers:
            stack.callback(logger.close)
        yield loggers


def _plain(value: Any) -> Number:
    return int(value) if isinstance(value, int) else float(value)


def _optional(package: str, field: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ConfigError(f"{field}=True: needs the package {package} (pip install {package})") from error


def _clock_time(seconds: float) -> str:
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
