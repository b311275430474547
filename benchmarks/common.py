"""What the benchmarks share: where it was measured, medians of repeats, a table and a JSON file."""

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
from crl_jax.scale.machine import machine

RESULTS = Path(__file__).parent / "results"
COLOURS = {"c": "tab:blue", "warp": "tab:green", "jax": "tab:orange"}
"""Of the engines, in every plot."""
_CASE = "--case"


def seconds(function: Callable[[], Any]) -> float:
    """Wall-clock seconds of one call; what it returns is waited for (`jax.block_until_ready`)."""
    import jax

    start = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - start


def interleaved(cases: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each case, `repeats` times in turn, so that a change of the machine's load meets all cases alike."""
    measured: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(repeats):
        for name, function in cases.items():
            measured[name].append(seconds(function))
    return measured


def fresh_process(module: str, case: Mapping[str, Any], limit: float, **environment: str) -> dict[str, Any]:
    """What `serve` answers to `case` in a process of its own, where nothing is compiled and memory is the case's alone.

    Args:
        module: a benchmark whose `__main__` calls `serve`.
        limit: seconds, after which the process is ended.
        environment: variables put into the process's environment.

    Returns:
        the case with the measurements; or with `not_measured`, the reason.
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
    """In a process that `fresh_process` started: print what `measure` makes of the case, and return True."""
    if sys.argv[1:2] != [_CASE]:
        return False
    print(json.dumps(measure(**json.loads(sys.argv[2]))))
    return True


def peak_memory() -> dict[str, float]:
    """`resident_bytes`: the process's peak; `device_bytes`: JAX's peak on its first device, where the backend tells."""
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
    """The device and how busy the machine is, for the title of a plot."""
    facts = machine()
    device = facts["processor"] if facts["devices"][0].startswith("cpu") else facts["devices"][0]
    return f"{device}, {facts['cores']} cores, load {facts['load_1min']:.0f}"


def by_doublings(axes: Any, sizes: Sequence[int]) -> None:
    """Both axes of a plot logarithmic, with a tick at every size, a grid and a legend."""
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
        rows: the measurements themselves, for the file.
        settings: what was asked for; anything that JSON takes.
    """
    printed = Table(title=name)
    for index, title in enumerate(titles):
        printed.add_column(title, justify="left" if index == 0 else "right", no_wrap=index == 0)
    for row in table:
        printed.add_row(*row)
    console = Console()
    # In a file a table is as wide as it needs to be.
    (console if console.is_terminal else Console(width=max(console.width, 200))).print(printed)
    path = write(name, rows, settings)
    Console(stderr=True).print(f"written: {path}")
    return path


def write(name: str, rows: Sequence[Mapping[str, Any]], settings: Any = None) -> Path:
    """Write results/<name>.json (machine, settings, rows) and a line of the history; returns the file's path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    content = {"name": name, "machine": machine(), "settings": settings, "rows": list(rows)}
    path.write_text(json.dumps(content, indent=1) + "\n")
    history.remember(RESULTS / "history", name, history.commit(), content["machine"], content["rows"])
    return path


def read_rows(name: str) -> list[dict[str, Any]]:
    """The rows of results/<name>.json; none where there is no such file."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text())["rows"] if path.exists() else []


def rows_from_here(name: str) -> list[dict[str, Any]]:
    """`read_rows`; none where they come from another machine or from other versions."""
    path, fixed = RESULTS / f"{name}.json", ("processor", "cores", "devices", "versions")
    if not path.exists():
        return []
    then, now = json.loads(path.read_text())["machine"], machine()
    return read_rows(name) if all(then.get(fact) == now[fact] for fact in fixed) else []
