"""Run folders to curves, a table and one self-contained HTML page.

Reads config.json and metrics.jsonl only, so that a run can be reported while it trains or long after.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from rich.table import Table

from crl_jax.config import ConfigError
from crl_jax.loggers import read_metrics
from crl_jax.stats import area_under_curve, best_and_last, bootstrap_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curve = tuple[np.ndarray, np.ndarray]
Band = Literal["range", "bootstrap"]

# Okabe and Ito's palette, told apart by every kind of colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
EMBEDDED_VIDEO_BYTES = 8 * 2**20

HEAD = """<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Run report</title><style>
body{font:16px/1.5 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#222}
img,video{max-width:100%} table{border-collapse:collapse} tr{border-bottom:1px solid #ddd}
th{text-align:left;padding-right:2em;font-weight:500} td{text-align:right;padding-right:2em}
pre{background:#f4f4f4;padding:1em;overflow:auto}</style>"""

# (title, y label, log scale, what the metric's name after its last "/" must match)
PANELS: tuple[tuple[str, str, bool, str], ...] = (
    ("Categorical accuracy of the critic", "fraction", False, r"categorical_accuracy"),
    ("Critic's logits", "energy", False, r"logits_(pos|neg)"),
    ("Logsumexp of the logits", "nats", False, r"logsumexp"),
    ("Values of the critic, and their targets", "return", False, r"q|q_target"),
    ("Reward in a batch", "reward", False, r"reward"),
    ("Losses", "loss", False, r".*_loss"),
    ("Entropy coefficient alpha", "alpha", True, r"alpha"),
    ("Policy entropy", "nats", False, r"entropy"),
    ("Gradient norms", "global norm", True, r".*grad_norm.*"),
    ("Dimensions that phi uses (participation ratio)", "dimensions", False, r"participation_ratio"),
    ("Episodes in which the object moved", "fraction", False, r"object_moved.*"),
    ("Distinct goals in a batch", "goals", False, r"distinct_goals.*"),
    ("Distance to the goal at evaluation", "m", False, r"(min|final)_distance"),
    ("Throughput", "env steps/s", False, r"env_steps_per_s"),
)


def summary(folder: Path) -> dict[str, Any]:
    """The numbers of one run; what was never recorded is absent.

    Returns:
        name, task, seed; env_steps, updates; seconds (training, no compilation), compile_seconds; env_steps_per_s,
        updates_per_s (over the whole run); and for success_any and success_final: best_*, last_*, auc_* in [0, 1].

    Raises:
        ConfigError: not a run folder, or one without records.
    """
    folder = Path(folder)
    config, records = _config(folder), _records(folder)
    found: dict[str, Any] = {"name": folder.resolve().name}
    found |= {key: value for key in ("task", "seed") if (value := _setting(config, key)) is not None}
    found["env_steps"] = max(record["env_steps"] for record in records)
    for name, key in (("updates", "updates"), ("seconds", "time/seconds"), ("compile_seconds", "time/compile_seconds")):
        recorded = [record[key] for record in records if key in record]
        if recorded:
            found[name] = max(recorded)
    for name in ("env_steps", "updates"):
        if name in found and found.get("seconds", 0) > 0:
            found[f"{name}_per_s"] = found[name] / found["seconds"]
    for name in ("success_any", "success_final"):
        steps, values = _curve(records, f"eval/{name}")
        if len(values):
            found[f"best_{name}"], found[f"last_{name}"] = best_and_last(values)
            found[f"auc_{name}"] = area_under_curve(steps, values)
    return found


def table(folders: Sequence[Path]) -> Table:
    """The runs side by side, one row each, as a rich table."""
    columns = (
        ("task", "task", "{}"),
        ("seed", "seed", "{}"),
        ("best any", "best_success_any", "{:.0%}"),
        ("last any", "last_success_any", "{:.0%}"),
        ("AUC any", "auc_success_any", "{:.3f}"),
        ("last final", "last_success_final", "{:.0%}"),
        ("env steps", "env_steps", "{:,}"),
        ("seconds", "seconds", "{:,.0f}"),
        ("env steps/s", "env_steps_per_s", "{:,.0f}"),
    )
    shown = Table(title="Runs")
    shown.add_column("run")
    for title, _, _ in columns:
        shown.add_column(title, justify="left" if title == "task" else "right")
    for row in map(summary, folders):
        shown.add_row(row["name"], *(form.format(row[key]) if key in row else "-" for _, key, form in columns))
    return shown


def curve_figure(groups: Mapping[str, Sequence[Path]], path: Path, band: Band = "range") -> Path:
    """Success over env steps and over training time; each group's line is the mean over its runs.

    Args:
        groups: label -> run folders (the seeds of one setting).
        path: a .png (or any format that matplotlib writes).
        band: what is shaded: the range over the seeds, or the 95% bootstrap interval of their mean.

    Raises:
        ConfigError: a folder is no run, or no run was evaluated yet.
    """
    from matplotlib.ticker import EngFormatter, PercentFormatter

    runs = {label: [_records(Path(folder)) for folder in folders] for label, folders in groups.items()}
    figure = _figure(2, 2, 8.5)
    (any_steps, any_time), (final_steps, final_time) = figure.subplots(2, 2, sharey=True, sharex="col")
    drawn = 0
    rows = ((any_steps, any_time, "success_any"), (final_steps, final_time, "success_final"))
    for steps_axes, time_axes, name in rows:
        for colour, (label, seeds) in zip(_colours(len(runs)), runs.items(), strict=True):
            label = f"{label} (n={len(seeds)})" if len(seeds) > 1 else label
            curves = [_curve(records, f"eval/{name}") for records in seeds]
            drawn += _draw(steps_axes, curves, label, colour, band)
            timed = [(_minutes(records, curve[0]), curve[1]) for records, curve in zip(seeds, curves, strict=True)]
            _draw(time_axes, [curve for curve in timed if len(curve[0])], label, colour, band)
    if not drawn:
        raise ConfigError(f"no evaluation recorded yet under {', '.join(str(f) for g in groups.values() for f in g)}")
    for axes, title in ((any_steps, "Success at any step of the episode"), (final_steps, "Success at the last step")):
        axes.set_title(title, loc="left")
        axes.set(ylabel="success rate", ylim=(-0.03, 1.03))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    final_steps.set_xlabel("env steps")
    final_steps.xaxis.set_major_formatter(EngFormatter(sep=""))
    final_time.set_xlabel("training time (min, without compilation)")
    any_steps.legend(loc="best", frameon=False)
    return _saved(figure, path)


def diagnostics_figure(folder: Path, path: Path) -> Path | None:
    """What the critic, the actor and the data did over env steps; only what was recorded. None when nothing was."""
    from matplotlib.ticker import EngFormatter

    records = _records(Path(folder))
    keys = sorted({key for record in records for key in record})
    panels = [(panel, [key for key in keys if re.fullmatch(panel[3], key.split("/")[-1])]) for panel in PANELS]
    panels = [(panel, matching) for panel, matching in panels if matching]
    if not panels:
        return None
    columns = min(3, len(panels))
    figure = _figure(-(-len(panels) // columns), columns, 4.6 * columns)
    grid = figure.subplots(-(-len(panels) // columns), columns, squeeze=False).flatten()
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    for axes, ((title, unit, logarithmic, _), matching) in zip(grid, panels, strict=False):
        for colour, key in zip(_colours(len(matching)), matching, strict=True):
            steps, values = _curve(records, key)
            axes.plot(steps, values, color=colour, linewidth=1.4, marker="o" if len(steps) < 3 else None, label=key)
            if logarithmic and (values > 0).all():
                axes.set_yscale("log")
        axes.set(title=title, ylabel=unit, xlabel="env steps")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.legend(frameon=False, fontsize=8)
    return _saved(figure, path)


def write_report(folders: Path | Sequence[Path], out: Path | None = None) -> Path:
    """Writes learning_curve.png, diagnostics.png and report.html into `out`; returns the page's path.

    Args:
        folders: one run folder or several; runs of one task are drawn as the seeds of one curve.
        out: where to; the run folder itself when there is only one (required for several).

    Raises:
        ConfigError: a folder is no run or has no evaluation; `out` is missing for several.
    """
    runs = [Path(folders)] if isinstance(folders, (str, Path)) else [Path(folder) for folder in folders]
    if not runs or (out is None and len(runs) > 1):
        raise ConfigError(f"out={out}: {len(runs)} runs need a folder to write their report to")
    out = Path(out or runs[0])
    out.mkdir(parents=True, exist_ok=True)
    groups: dict[str, list[Path]] = {}
    for run in runs:
        groups.setdefault(str(_setting(_config(run), "task") or run.resolve().name), []).append(run)
    pictures = [("Learning curve", curve_figure(groups, out / "learning_curve.png"))]
    for run in runs:
        file = "diagnostics.png" if len(runs) == 1 else f"diagnostics_{run.resolve().name}.png"
        drawn = diagnostics_figure(run, out / file)
        if drawn:
            pictures.append((f"Diagnostics of {run.resolve().name}", drawn))
    page = out / "report.html"
    page.write_text(_page(runs, pictures), encoding="utf-8")
    return page


def _page(runs: list[Path], pictures: list[tuple[str, Path]]) -> str:
    rows = [summary(run) for run in runs]
    names = list(dict.fromkeys(name for row in rows for name in row))
    body = "".join(
        f"<tr><th>{html.escape(name.replace('_', ' '))}</th>"
        + "".join(f"<td>{html.escape(shown(row.get(name, '-')))}</td>" for row in rows)
        + "</tr>"
        for name in names
    )
    parts = [f"<h1>{html.escape(', '.join(row['name'] for row in rows))}</h1>", f"<table>{body}</table>"]
    parts += ["<h2>Command</h2>", *(f"<pre>{html.escape(_command(run))}</pre>" for run in runs)]
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
        settings = html.escape(json.dumps(_config(run), indent=2))
        parts.append(
            f"<details><summary>Settings of {html.escape(run.resolve().name)}</summary><pre>{settings}</pre></details>"
        )
    return f'<!doctype html><html lang="en"><head>{HEAD}</head><body>{"".join(parts)}</body></html>\n'


def _command(run: Path) -> str:
    """The command that made the run: config.json's "command", or else the run's command.txt."""
    command = _config(run).get("command")
    if isinstance(command, list):
        import shlex

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


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text())
    except FileNotFoundError as error:
        raise ConfigError(f"{folder} is no run folder: it has no config.json") from error
    except ValueError as error:
        raise ConfigError(f"{folder / 'config.json'} is no JSON ({error})") from error
    return config


def _records(folder: Path) -> list[dict[str, Any]]:
    records = [record for record in read_metrics(folder) if "env_steps" in record]
    if not records:
        raise ConfigError(f"no metrics under {folder}: metrics.jsonl is missing or empty")
    return records


def _setting(config: Mapping[str, Any], key: str) -> Any:
    """A setting wherever it is nested: at the top, or in one of the sections."""
    if key in config:
        return config[key]
    sections = (value for value in config.values() if isinstance(value, Mapping))
    return next((section[key] for section in sections if key in section), None)


def _curve(records: list[dict[str, Any]], key: str) -> Curve:
    points = sorted((record["env_steps"], record[key]) for record in records if key in record)
    return np.array([step for step, _ in points], float), np.array([value for _, value in points], float)


def _minutes(records: list[dict[str, Any]], steps: np.ndarray) -> np.ndarray:
    """Training time at given env steps, interpolated between the records that carry it; empty when none does."""
    known, seconds = _curve(records, "time/seconds")
    return np.interp(steps, known, seconds) / 60 if len(known) else np.array([])


def _draw(axes: Axes, curves: list[Curve], label: str, colour: str, band: Band) -> int:
    curves = [curve for curve in curves if len(curve[0])]
    if not curves:
        return 0
    low, high = max(xs[0] for xs, _ in curves), min(xs[-1] for xs, _ in curves)
    grid = np.unique(np.concatenate([xs[(xs >= low) & (xs <= high)] for xs, _ in curves]))
    if not len(grid):
        raise ConfigError(f"runs of {label} do not overlap: no span that all of them were evaluated on")
    values = np.stack([np.interp(grid, xs, ys) for xs, ys in curves])
    axes.plot(grid, values.mean(0), color=colour, label=label, linewidth=2, marker="o" if len(grid) < 3 else None)
    if len(curves) > 1:
        axes.fill_between(grid, *_band(values, band), color=colour, alpha=0.2, linewidth=0)
    return 1


def _band(values: np.ndarray, band: Band) -> tuple[np.ndarray, np.ndarray]:
    if band == "range":
        return values.min(0), values.max(0)
    intervals = np.array([bootstrap_interval(column, lambda runs: float(runs.mean())) for column in values.T])
    return intervals[:, 0], intervals[:, 1]


def _colours(count: int) -> list[str]:
    return [COLOURS[index % len(COLOURS)] for index in range(count)]


def _figure(rows: int, columns: int, width: float) -> Figure:
    # A Figure without pyplot: no display, no global list of figures.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, 3.1 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _saved(figure: Figure, path: Path) -> Path:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    return path
