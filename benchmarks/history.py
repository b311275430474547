"""Speed over time: what the tracked benchmarks measured at each commit, as one figure (docs/speed_history.png).

`crl bench NAME` appends a line to results/history/NAME.jsonl: commit, date, machine, and the tracked numbers, run and
compile apart. `--from-git` first makes these lines for commits that kept a result before lines were written.

Numbers of two machines cannot be compared, so every processor has lines of its own.
"""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

ROOT = Path(__file__).parent.parent
HISTORY = Path(__file__).parent / "results" / "history"
FIGURE = ROOT / "docs" / "speed_history.png"


@dataclass(frozen=True)
class Tracked:
    """What of a benchmark's rows is tracked.

    Attributes:
        label: fields of a row that name its case.
        run: field with env steps per second; None if the benchmark measures no speed.
        compile: fields with seconds that compiling took, added up.
    """

    label: tuple[str, ...]
    run: str | None = None
    compile: tuple[str, ...] = ()


TRACKED = {
    "env_throughput": Tracked(("task",), "ours", ("first_call_s",)),
    "train_throughput": Tracked(("case",), "env_steps_per_s"),
    "compile_time": Tracked(("engine", "task", "start"), None, ("reset_s", "step_s")),
    "depth": Tracked(("depth", "unrolled", "remat"), None, ("compile_s",)),
}
UNITS = {"run": "env steps/s", "compile": "seconds to compile"}


@dataclass(frozen=True)
class Settings:
    """Draw docs/speed_history.png from results/history/."""

    from_git: bool = False
    """First add what earlier commits kept under benchmarks/results."""


def entry(name: str, at: str, machine: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A line of the history: the tracked numbers of `rows`, measured at commit `at`."""
    tracked = TRACKED[name]
    found: dict[str, Any] = {"commit": at, "date": machine["date"], "machine": dict(machine), "run": {}, "compile": {}}
    for row in rows:
        label = ", ".join(f"{field} {row[field]}" for field in tracked.label if field in row) or "all"
        if tracked.run is not None and tracked.run in row:
            found["run"][label] = row[tracked.run]
        seconds = [row[field] for field in tracked.compile if field in row]
        if seconds:
            found["compile"][label] = sum(seconds)
    return found


def remember(
    folder: Path, name: str, at: str | None, machine: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> None:
    """Append a line to `folder`/NAME.jsonl, if the benchmark is tracked, the commit known and the line new."""
    if name not in TRACKED or at is None:
        return
    found = entry(name, at, machine, rows)
    if not (found["run"] or found["compile"]):
        return
    line = json.dumps(found)
    path = folder / f"{name}.jsonl"
    if path.exists() and line in path.read_text().splitlines():
        return
    folder.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as file:
        file.write(line + "\n")


def recall(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Benchmark -> its lines, oldest first."""
    paths = sorted(folder.glob("*.jsonl"))
    lines = {path.stem: [json.loads(line) for line in path.read_text().splitlines()] for path in paths}
    return {name: sorted(entries, key=lambda one: one["date"]) for name, entries in lines.items()}


def from_git(folder: Path) -> None:
    """Lines for the results that commits of this checkout kept under benchmarks/results."""
    for name in TRACKED:
        path = f"benchmarks/results/{name}.json"
        for at in reversed(_git("log", "--diff-filter=AM", "--format=%h", "--abbrev=9", "--", path, cwd=ROOT).split()):
            kept = json.loads(_git("show", f"{at}:{path}", cwd=ROOT))
            if "date" in kept["machine"]:
                remember(folder, name, at, kept["machine"], kept["rows"])


def draw(history: Mapping[str, Sequence[Mapping[str, Any]]], path: Path) -> Path:
    """A panel for each benchmark and kind (env steps per second, seconds to compile) over the commits.

    Returns:
        the file's path.
    """
    from crl_jax.report.figures import new_figure, saved

    panels = [(name, kind) for name, lines in history.items() for kind in UNITS if any(one[kind] for one in lines)]
    rows = -(-len(panels) // 2)
    figure = new_figure(rows, 2, width=12)
    cells = figure.subplots(rows, 2, squeeze=False).ravel()
    for cell, (name, kind) in zip(cells, panels, strict=False):
        _draw_lines(cell, history[name], kind)
        cell.set(title=f"{name}: {UNITS[kind]}", yscale="log")
        cell.legend(fontsize=6)
    for cell in cells[len(panels) :]:
        cell.set_visible(False)
    return saved(figure, path)


def _draw_lines(cell: Any, entries: Sequence[Mapping[str, Any]], kind: str) -> None:
    """A line for each case on each processor."""
    commits = list(dict.fromkeys(one["commit"] for one in entries))
    processors = list(dict.fromkeys(one["machine"]["processor"] for one in entries))
    for processor, marker in zip(processors, itertools.cycle("osv^D"), strict=False):
        mine = [one for one in entries if one["machine"]["processor"] == processor]
        for case in dict.fromkeys(case for one in mine for case in one[kind]):
            points = [(commits.index(one["commit"]), one[kind][case]) for one in mine if case in one[kind]]
            label = f"{case} ({processor[:24]})" if len(processors) > 1 else case
            cell.plot(*zip(*points, strict=True), marker=marker, label=label, alpha=0.8)
    dates = {one["commit"]: one["date"] for one in entries}
    ticks = [f"{commit}\n{dates[commit]}" for commit in commits]
    cell.set_xticks(range(len(commits)), ticks, fontsize=6)
    cell.set_xlim(-0.5, len(commits) - 0.5)


def _git(*words: str, cwd: Path) -> str:
    return subprocess.run(["git", *words], cwd=cwd, check=True, capture_output=True, text=True).stdout


def main(settings: Settings) -> None:
    """Draw the figure; with `from_git`, after adding the lines of earlier commits."""
    if settings.from_git:
        from_git(HISTORY)
    history = recall(HISTORY)
    console = Console(stderr=True)
    if not history:
        console.print(f"no history under {HISTORY}; run a benchmark ({', '.join(TRACKED)}), or add --from-git")
        return
    console.print(f"written: {draw(history, FIGURE)}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    from crl_jax.cli.options import script

    script(main, Settings, __doc__)
