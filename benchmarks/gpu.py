"""What a GPU tells in its first ten minutes: does it run, is it right, how fast, what bounds it (`crl bench gpu`).

Each section runs in a process of its own with a time limit of its own: a crash, a hang or a lack of memory ends that
section alone. The JSON is written after every section, so that a run that is cut still tells.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from benchmarks import common, gpu_sections
from benchmarks.gpu_sections import TOY, Sizes
from crl_jax.cli.options import script
from crl_jax.cli.progress import doing
from crl_jax.config import ConfigError, nearest
from crl_jax.runs.loggers import read_metrics


class Section(NamedTuple):
    """A part of the benchmark: what is measured, its limit in seconds, and variables that its process gets."""

    measure: str
    seconds: float
    environment: dict[str, str] = {}  # noqa: RUF012 - never changed


NO_GRAPHS = "--xla_gpu_enable_command_buffer="
"""XLA's flag for no CUDA graphs."""
ONE_GRAPH = "--xla_gpu_enable_command_buffer=+WHILE --xla_gpu_graph_min_graph_size=1"
"""XLA's flags for one CUDA graph that holds the whole scan of updates. By default a graph holds one update."""
SECTIONS = {
    "device": Section("device", 60),
    "launches": Section("launches", 45),
    "updates": Section("updates", 100),
    "training": Section("training", 260),
    "parity": Section("parity", 120),
    "physics": Section("physics", 150),
    "updates in one graph": Section("updates", 60, {"XLA_FLAGS": ONE_GRAPH}),
    "updates without graphs": Section("updates", 60, {"XLA_FLAGS": NO_GRAPHS}),
    "film": Section("film", 30),
}
"""Name -> section, in the order of their worth: the time that is left may not suffice for the last ones."""


@dataclass(frozen=True)
class Settings:
    """What is measured."""

    seconds: float = 570.0
    """Seconds of all sections; the last ones are left out when they are over."""
    only: tuple[str, ...] = ()
    """Sections; empty: all."""
    out: Path = common.RESULTS / "gpu.json"
    """File of the figures, written after every section."""
    toy: bool = False
    """Tiny sizes, on a CPU too: shows in some minutes that every section runs; its figures mean nothing."""


def run(name: str, section: Section, sizes: Sizes, limit: float) -> dict[str, Any]:
    """A section's figures, its status (ok, over N s, ended with N) and seconds; at a failure, the end of its output."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("w") as output:
            process = subprocess.Popen(
                gpu_sections.arguments(section.measure, Path(folder), sizes),
                env=os.environ | section.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code = process.wait(timeout=limit)
                status = "ok" if code == 0 else f"ended with {code}"
            except subprocess.TimeoutExpired:
                status = f"over {limit:.0f} s"
            finally:
                _end(process)
        told: dict[str, Any] = {"status": status, "seconds": round(time.monotonic() - began, 1)}
        for figures in read_metrics(Path(folder)):  # A line that was cut is left out.
            told |= figures
        return told if status == "ok" else told | {"log": log.read_text(errors="replace")[-2000:]}


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a section's process and its children."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def main(settings: Settings) -> None:
    """Measure, print, and write the JSON after every section."""
    for name in settings.only:
        if name not in SECTIONS:
            raise ConfigError(f"only={name!r}: no such section; nearest: {nearest(name, SECTIONS)}")
    if not settings.out.parent.is_dir():
        raise ConfigError(f"out={str(settings.out)!r}: there is no folder {settings.out.parent}")
    console, began = Console(stderr=True), time.monotonic()
    report: dict[str, Any] = {"name": "gpu", "toy": settings.toy, "sections": {}}
    for name, section in SECTIONS.items():
        if settings.only and name not in settings.only:
            continue
        left = settings.seconds - (time.monotonic() - began)
        if left < 10:
            told: dict[str, Any] = {"status": "no time left"}
        else:
            limit = left if settings.toy else min(section.seconds, left)  # A busy laptop compiles slowly.
            with doing(f"{name}: at most {limit:.0f} s", console):
                told = run(name, section, TOY if settings.toy else Sizes(), limit)
        report["sections"][name] = told
        _write(settings.out, report | {"seconds": round(time.monotonic() - began, 1)})
        console.print(f"{name}: {_short(told)}", markup=False, highlight=False)
        if name == "device" and not settings.toy and told.get("platform") != "gpu":
            raise ConfigError(
                "gpu: JAX finds no GPU here (`crl doctor` tells why); --toy runs every section, tiny, on a CPU"
            )
    console.print(f"written: {settings.out}")


def _write(path: Path, report: dict[str, Any]) -> None:
    """Write the whole file, or leave the one before."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(report, indent=1) + "\n")
    partial.replace(path)


def _short(told: dict[str, Any]) -> str:
    """A section in a line or some: the status and the numbers, without versions and logs."""
    left_out = ("machine", "doctor", "memory", "log")
    shown = {name: _rounded(value) for name, value in told.items() if name not in left_out}
    return json.dumps(shown)[:2000] + (f"\n{told['log']}" if "log" in told else "")


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(inner) for name, inner in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


if __name__ == "__main__":
    script(main, Settings, __doc__)
