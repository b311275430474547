"""Tables of run folders, and one self-contained HTML page with their curves (see `figures` and `recorded`)."""

from __future__ import annotations

import base64
import html
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from crl_jax.config import ConfigError
from crl_jax.report.columns import Column, fitted
from crl_jax.report.figures import Band, comparison_figure, curve_figure, diagnostics_figure
from crl_jax.report.stats import area_under_curve, best_and_last, iqm, iqm_interval
from crl_jax.runs.recorded import config_of, curve_of, find_runs, flat, groups_of, records_of, task_of, throughput

Groups = Mapping[str, Sequence[Path]]
"""Label -> run folders."""
EMBEDDED_VIDEO_BYTES = 8 * 2**20
DETAILED, CROWDED = 9, 14
"""Most runs for which each run's diagnostics are shown; most groups whose curves are drawn in one figure."""

HEAD = """<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Run report</title><style>
body{font:16px/1.5 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#222}
img,video{max-width:100%} table{border-collapse:collapse} tr{border-bottom:1px solid #ddd}
th{text-align:left;padding-right:2em;font-weight:500} td{text-align:right;padding-right:2em}
.wide{overflow-x:auto}
pre{background:#f4f4f4;padding:1em;overflow:auto}</style>"""


def summary(folder: Path) -> dict[str, Any]:
    """The numbers of one run. A number that was never recorded is absent.

    Returns:
        name, task, seed; env_steps, updates; seconds (without compilation), compile_seconds; env_steps_per_s and
        updates_per_s, averaged over the whole run; best_*, last_*, auc_* of success_any and success_final, in [0, 1].

    Raises:
        ConfigError: not a run folder, or one without records.
    """
    folder = Path(folder)
    config, records = flat(config_of(folder)), records_of(folder)
    found: dict[str, Any] = {"name": folder.resolve().name}
    found |= {key: config[key] for key in ("task", "seed") if config.get(key) is not None}
    found["env_steps"] = max(record["env_steps"] for record in records)
    for name, key in (("updates", "updates"), ("seconds", "time/seconds"), ("compile_seconds", "time/compile_seconds")):
        recorded = [record[key] for record in records if key in record]
        if recorded:
            found[name] = max(recorded)
    for name in ("env_steps", "updates"):
        if name in found and found.get("seconds", 0) > 0:
            found[f"{name}_per_s"] = found[name] / found["seconds"]
    for name in ("success_any", "success_final"):
        steps, values = curve_of(records, f"eval/{name}")
        if len(values):
            found[f"best_{name}"], found[f"last_{name}"] = best_and_last(values)
            found[f"auc_{name}"] = area_under_curve(steps, values)
    return found


def told(folder: Path) -> list[tuple[str, str]]:
    """What a run has reached, for people: (name, value) of what was recorded, the most important first."""
    found = summary(folder)
    rows = [
        (f"success at {when}", f"{found[f'last_{key}']:.0%} (best evaluation: {found[f'best_{key}']:.0%})")
        for when, key in (("the last step", "success_final"), ("any step", "success_any"))
        if f"last_{key}" in found
    ]
    rows.append(("env steps", f"{found['env_steps']:,}"))
    if "seconds" in found:
        spent = f"{duration(found['seconds'])}, and {duration(found.get('compile_seconds', 0.0))} to compile"
        speeds = (f"{found[f'{name}_per_s']:,.0f} {name.replace('_', ' ')}/s" for name in ("env_steps", "updates"))
        rows += [("training", spent), ("speed", ", ".join(speeds))]
    return rows


def duration(seconds: float | None) -> str:
    """Seconds as people say them: 40 s, 12 min, 3.5 h."""
    if seconds is None:
        return "-"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def table(folders: Sequence[Path], width: int = 80) -> Table:
    """A rich table with one row per run, in `width` characters."""
    columns = (
        ("last any", "last_success_any", "{:.0%}", 0),
        ("last final", "last_success_final", "{:.0%}", 0),
        ("best any", "best_success_any", "{:.0%}", 3),
        ("AUC any", "auc_success_any", "{:.3f}", 5),
        ("env steps", "env_steps", "{:,}", 1),
        ("seconds", "seconds", "{:,.0f}", 2),
        ("env steps/s", "env_steps_per_s", "{:,.0f}", 4),
        ("task", "task", "{}", 7),
        ("seed", "seed", "{}", 6),
    )
    rows = list(map(summary, folders))
    told = [
        Column(title, [form.format(row[key]) if key in row else "-" for row in rows], rank, title != "task")
        for title, key, form, rank in columns
    ]
    return fitted([Column("run", [row["name"] for row in rows], right=False, folds=True), *told], width, "Runs")


SCORES = tuple(f"{kind}_success_{when}" for when in ("any", "final") for kind in ("best", "last", "auc"))


def aggregate(groups: Groups) -> list[dict[str, Any]]:
    """Statistics of each group's runs as rliable defines them. The runs of all tasks are pooled.

    Returns:
        One dict per group: label; numbers of runs and of tasks; and, for each score of `SCORES` that all its runs have,
        (interquartile mean, low, high), with low and high of the 95% stratified bootstrap interval.
    """
    rows = []
    for label, folders in groups.items():
        found: dict[str, list[dict[str, Any]]] = {}
        for folder in folders:
            found.setdefault(task_of(folder), []).append(summary(folder))
        row: dict[str, Any] = {"label": label, "runs": len(folders), "tasks": len(found)}
        for name in SCORES:
            if all(name in one for runs in found.values() for one in runs):
                strata = [np.array([one[name] for one in runs]) for runs in found.values()]
                low, high = iqm_interval(strata)
                row[name] = (iqm(np.concatenate(strata)), float(low), float(high))
        rows.append(row)
    return rows


def group_table(groups: Groups, width: int = 80) -> Table:
    """`aggregate` as a rich table, in `width` characters."""
    rows, ranks = aggregate(groups), dict(zip(SCORES, (3, 1, 5, 4, 0, 6), strict=True))
    told = [
        Column(name.replace("_success", "").replace("_", " "), [interval(row.get(name)) for row in rows], ranks[name])
        for name in SCORES
    ]
    names = Column("group", [row["label"] for row in rows], right=False, folds=True)
    counts = Column("runs", [str(row["runs"]) for row in rows], 2)
    title = "Success of groups: interquartile mean [95% bootstrap interval]"
    return fitted([names, counts, *told], width, title)


def interval(value: tuple[float, float, float] | None) -> str:
    """An entry of `aggregate` as text."""
    return "-" if value is None else "{:.2f} [{:.2f}, {:.2f}]".format(*value)


def write_report(
    folders: Path | Sequence[Path],
    out: Path | None = None,
    groups: Groups | None = None,
    pooled: Groups | None = None,
    pictures: Sequence[tuple[str, Path]] = (),
    notes: Sequence[str] = (),
) -> Path:
    """Writes learning_curve.png, diagnostics*.png and report.html into `out`; returns the page's path.

    Args:
        folders: run folders, or folders that contain run folders.
        out: folder to write to. Required for several runs; for a single run the default is its own folder.
        groups: the seeds of each setting and task; None: found from their configs (`recorded.groups_of`).
        pooled: the runs of each setting over all tasks. Ignored, and found from the configs, when `groups` is None.
        pictures: further pictures, (title, file). notes: lines of text at the top, such as the command of the runs.

    Raises:
        ConfigError: a folder is no run or has no evaluation; `out` is missing for several.
    """
    runs = find_runs([Path(folders)] if isinstance(folders, (str, Path)) else folders) if folders else []
    if not runs or (out is None and len(runs) > 1):
        raise ConfigError(f"out={out}: {len(runs)} runs need a folder to write their report to")
    out = Path(out or runs[0])
    out.mkdir(parents=True, exist_ok=True)
    found = groups or groups_of(runs)
    together = (pooled if groups else groups_of(runs, apart=False)) or found
    band: Band = "bootstrap" if len(runs) > len(found) else "range"
    drawn = list(pictures)
    if len(found) <= CROWDED:
        drawn.insert(0, ("Learning curve", curve_figure(found, out / "learning_curve.png", band)))
    if len(together) < len(found):
        drawn.append(("All tasks", curve_figure(together, out / "all_tasks.png", band)))
    if 1 < len(found) <= CROWDED and (compared := comparison_figure(found, out / "comparison.png")):
        drawn.append(("Diagnostics side by side", compared))
    for run in runs if len(runs) <= DETAILED else []:
        file = "diagnostics.png" if len(runs) == 1 else f"diagnostics_{run.resolve().name}.png"
        if diagnosed := diagnostics_figure(run, out / file):
            drawn.append((f"Diagnostics of {run.resolve().name}", diagnosed))
    tables = [found, together] if len(together) < len(found) else [found]
    page = out / "report.html"
    page.write_text(_page(runs, tables, drawn, notes), encoding="utf-8")
    return page


def _page(
    runs: list[Path], tables: list[Groups], pictures: Sequence[tuple[str, Path]], notes: Sequence[str] = ()
) -> str:
    title = runs[0].resolve().name if len(runs) == 1 else f"{len(runs)} runs"
    parts = [f"<h1>{html.escape(title)}</h1>", *(f"<p>{html.escape(note)}</p>" for note in notes)]
    if len(runs) > 1:
        parts += [f"<h2>{_INTERVALS}</h2>", *map(_aggregate_table, tables)]
    parts += [_run_table([summary(run) for run in runs])]
    parts += [
        "<h2>Where the seconds went</h2>",
        _run_table([{"name": run.resolve().name} | throughput(run) for run in runs]),
    ]
    parts += ["<h2>Commands</h2>", *(f"<pre>{html.escape(command)}</pre>" for command in _commands(runs))]
    for title, path in pictures:
        parts.append(
            f'<h2>{html.escape(title)}</h2><img alt="{html.escape(title)}" src="{_embedded(path, "image/png")}">'
        )
    for run in runs:
        parts += [
            f'<h2>{html.escape(video.stem)}</h2><video controls loop src="{_embedded(video, "video/mp4")}"></video>'
            for video in sorted((run / "videos").glob("*.mp4"))[-1:]
            if video.stat().st_size <= EMBEDDED_VIDEO_BYTES
        ]
    for run in runs:
        settings = html.escape(json.dumps(config_of(run), indent=2))
        parts.append(
            f"<details><summary>Settings of {html.escape(run.resolve().name)}</summary><pre>{settings}</pre></details>"
        )
    return f'<!doctype html><html lang="en"><head>{HEAD}</head><body>{"".join(parts)}</body></html>\n'


_INTERVALS = "Interquartile mean [95% stratified bootstrap interval] over seeds and tasks"


def _aggregate_table(groups: Groups) -> str:
    rows = [
        {"group": row["label"], "runs": row["runs"], "tasks": row["tasks"]}
        | {name: interval(row[name]) for name in SCORES if name in row}
        for row in aggregate(groups)
    ]
    return _html_table(rows)


def _run_table(rows: list[dict[str, Any]]) -> str:
    """One row per run; for a single run, one row per number."""
    if len(rows) == 1:
        return _html_table([{"": name.replace("_", " "), "value": value} for name, value in rows[0].items()])
    return _html_table(rows)


def _html_table(rows: list[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f"<th>{html.escape(name.replace('_', ' '))}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(shown(row.get(name, '-')))}</td>" for name in names) + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _commands(runs: list[Path]) -> list[str]:
    """The commands that made the runs, without duplicates."""
    return list(dict.fromkeys(_command(run) for run in runs))


def _command(run: Path) -> str:
    """The command that made the run: config.json's "command", or else the run's command.txt."""
    command = config_of(run).get("command")
    if isinstance(command, list):
        return shlex.join(map(str, command))
    if command:
        return str(command)
    written = run / "command.txt"
    return written.read_text().strip() if written.exists() else "not recorded"


def _embedded(path: Path, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def shown(value: Any) -> str:
    """A summary's value as text."""
    if isinstance(value, float):
        return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
