"""What the benchmarks share: where it was measured, medians of repeats, a table and a JSON file."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from crl_jax.machine import machine

RESULTS = Path(__file__).parent / "results"


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


def median(values: Sequence[float]) -> float:
    """Median; raises statistics.StatisticsError without values."""
    return float(statistics.median(values))


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
    Console().print(printed)
    path = write(name, rows, settings)
    Console(stderr=True).print(f"written: {path}")
    return path


def write(name: str, rows: Sequence[Mapping[str, Any]], settings: Any = None) -> Path:
    """Write results/<name>.json: machine, settings, rows; returns the file's path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    content = {"name": name, "machine": machine(), "settings": settings, "rows": list(rows)}
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path


def read_rows(name: str) -> list[dict[str, Any]]:
    """The rows of results/<name>.json; none where there is no such file."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text())["rows"] if path.exists() else []
