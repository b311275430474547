"""Code shared by the benchmarks: timing, medians, cases in processes of their own, tables and JSON files."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import history
from crl_jax.scale.machine import commit, machine

RESULTS = Path(__file__).parent / "results"
COLOURS = {"c": "tab:blue", "warp": "tab:green", "jax": "tab:orange"}
"""Colour of each engine in every plot."""
_CASE = "--case"


def seconds(function: Callable[[], Any]) -> float:
    """Wall-clock seconds of one call, including the wait for its result (`jax.block_until_ready`)."""
    import jax

    start = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - start


def interleaved(cases: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each case. The cases take turns, `repeats` times, so that the machine's load affects all alike."""
    measured: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(repeats):
        for name, function in cases.items():
            measured[name].append(seconds(function))
    return measured


def fresh_process(module: str, case: Mapping[str, Any], limit: float, **environment: str) -> dict[str, Any]:
    """Measure `case` in a new process: no program is compiled there yet, and its memory is the case's own.

    Args:
        module: a benchmark whose `__main__` calls `serve`.
        limit: seconds after which the process is killed.
        environment: environment variables to add.

    Returns:
        The case and its measurements; if it failed, the case and the reason under `not_measured`.
    """
    command = [sys.executable, "-m", module, _CASE, json.dumps(case)]
    try:
        done = subprocess.run(
            command, env=os.environ | environment, stdout=subprocess.PIPE, text=True, timeout=limit, check=True
        )
    except subprocess.TimeoutExpired:
        return {**case, "not_measured": f"over {limit:.0f} s"}
    except subprocess.CalledProcessError as error:
        return {**case, "not_measured": f"ended with {error.returncode}"}
    return {**case, **json.loads(done.stdout.strip().splitlines()[-1])}


def serve(measure: Callable[..., dict[str, Any]]) -> bool:
    """In a process that `fresh_process` started, measure the case, print the result and return True; else False."""
    if sys.argv[1:2] != [_CASE]:
        return False
    print(json.dumps(measure(**json.loads(sys.argv[2]))))
    return True


def peak_memory() -> dict[str, float]:
    """Peak bytes: `resident_bytes` of the process; `device_bytes` of JAX's first device if the backend reports it."""
    import resource

    import jax

    unit = 1 if sys.platform == "darwin" else 1024
    memory = {"resident_bytes": float(unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)}
    stats = jax.local_devices()[0].memory_stats() or {}
    return memory | ({"device_bytes": stats["peak_bytes_in_use"]} if "peak_bytes_in_use" in stats else {})


def median(values: Sequence[float]) -> float:
    """Median; raises statistics.StatisticsError without values."""
    return float(statistics.median(values))


def here() -> str:
    """Device, cores and load of the machine, for the title of a plot."""
    facts = machine()
    device = facts["processor"] if facts["devices"][0].startswith("cpu") else facts["devices"][0]
    return f"{device}, {facts['cores']} cores, load {facts['load_1min']:.0f}"


def by_doublings(axes: Any, sizes: Sequence[int]) -> None:
    """Make both axes of a plot logarithmic, with a tick at every size, a grid and a legend."""
    axes.set(xscale="log", yscale="log")
    axes.set_xticks(list(sizes), [f"{size:,}" for size in sizes])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")


def publish(
    name: str,
    titles: Sequence[str],
    table: Sequence[Sequence[str]],
    rows: Sequence[Mapping[str, Any]],
    settings: Any = None,
) -> Path:
    """Print a table and write results/<name>.json: machine, settings, rows; returns the file's path.

    Args:
        titles, table: column titles and, per row, one text per column.
        rows: the measurements, for the file.
        settings: the benchmark's settings; anything that JSON can store.
    """
    printed = Table(title=name)
    for index, title in enumerate(titles):
        printed.add_column(title, justify="left" if index == 0 else "right", no_wrap=index == 0)
    for row in table:
        printed.add_row(*row)
    console = Console()
    # Output to a file has no terminal width: let the table be wide.
    (console if console.is_terminal else Console(width=max(console.width, 200))).print(printed)
    path = write(name, rows, settings)
    Console(stderr=True).print(f"written: {path}")
    return path


def write(name: str, rows: Sequence[Mapping[str, Any]], settings: Any = None) -> Path:
    """Write results/<name>.json (machine, settings, rows) and add a line to the history; returns the file's path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    content = {"name": name, "machine": machine(), "settings": settings, "rows": list(rows)}
    path.write_text(json.dumps(content, indent=1) + "\n")
    history.remember(RESULTS / "history", name, commit(history.ROOT), content["machine"], content["rows"])
    return path


def read_rows(name: str) -> list[dict[str, Any]]:
    """The rows of results/<name>.json; empty if the file does not exist."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text())["rows"] if path.exists() else []


def rows_from_here(name: str) -> list[dict[str, Any]]:
    """`read_rows`, but empty if the rows come from another machine or from other versions of the packages."""
    path, fixed = RESULTS / f"{name}.json", ("processor", "cores", "devices", "versions")
    if not path.exists():
        return []
    then, now = json.loads(path.read_text())["machine"], machine()
    return read_rows(name) if all(then.get(fact) == now[fact] for fact in fixed) else []
