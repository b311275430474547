"""Figures of run folders: success over env steps and over minutes, and diagnostics of one run or of several groups."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from crl_jax.config import ConfigError
from crl_jax.report.stats import iqm_curve, iqm_interval
from crl_jax.runs.recorded import Curve, curve_of, minutes_at, records_of, task_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Band = Literal["range", "bootstrap"]
POINTS = 200
"""Maximum number of points drawn per curve."""

# Okabe and Ito's palette, which colour-blind readers can tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")

Panel = tuple[str, str, bool, str]
# (title, y label, log scale, what the metric's name after its last "/" must match)
PANELS: tuple[Panel, ...] = (
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
    ("Distinct goals in a batch", "share of the goals", False, r"distinct_goals.*"),
    ("Distance to the goal at evaluation", "m", False, r"(min|final)_distance"),
    ("Throughput", "env steps/s", False, r"env_steps_per_s"),
)

COMPARED: dict[str, tuple[str, str]] = {
    "eval/success_final": ("Success at the last step", "success rate"),
    "train/categorical_accuracy": ("Categorical accuracy of the critic", "fraction"),
    "train/logits_neg": ("Mean negative logit", "energy"),
    "train/participation_ratio": ("Dimensions that phi uses", "participation ratio"),
    "train/distinct_goals": ("Distinct goals in a batch", "share of the goals"),
    "train/object_moved": ("Episodes in which the object moved", "fraction"),
}
"""Metric -> title and y label: the metrics that separate a collapsed critic from one that sees objects move."""


def curve_figure(groups: Mapping[str, Sequence[Path]], path: Path, band: Band = "range") -> Path:
    """Success over env steps and over training time, one line per group.

    Args:
        groups: label -> run folders (the seeds of one setting, on one task or on several).
        path: a .png (or any format that matplotlib writes).
        band: "range": the mean over the runs, with their minimum and maximum; "bootstrap": the interquartile mean over
            runs and tasks, with its stratified 95% bootstrap interval.

    Raises:
        ConfigError: a folder is no run, or no run was evaluated yet.
    """
    from matplotlib.ticker import EngFormatter, PercentFormatter

    runs = {label: [records_of(Path(folder)) for folder in folders] for label, folders in groups.items()}
    tasks = {label: [task_of(Path(folder)) for folder in folders] for label, folders in groups.items()}
    figure = new_figure(2, 2, 8.5)
    (any_steps, any_time), (final_steps, final_time) = figure.subplots(2, 2, sharey=True, sharex="col")
    drawn = 0
    rows = ((any_steps, any_time, "success_any"), (final_steps, final_time, "success_final"))
    for steps_axes, time_axes, name in rows:
        for colour, (label, seeds) in zip(_colours(len(runs)), runs.items(), strict=True):
            told = f"{label} (n={len(seeds)})" if len(seeds) > 1 else label
            curves = [curve_of(records, f"eval/{name}") for records in seeds]
            drawn += _draw(steps_axes, curves, tasks[label], told, colour, band)
            timed = [(minutes_at(records, curve[0]), curve[1]) for records, curve in zip(seeds, curves, strict=True)]
            _draw(time_axes, timed, tasks[label], told, colour, band)
    if not drawn:
        raise ConfigError(f"no evaluation recorded yet under {', '.join(str(f) for g in groups.values() for f in g)}")
    for axes, title in ((any_steps, "Success at any step of the episode"), (final_steps, "Success at the last step")):
        axes.set_title(title, loc="left")
        axes.set(ylabel="success rate", ylim=(-0.03, 1.03))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    final_steps.set_xlabel("env steps")
    final_steps.xaxis.set_major_formatter(EngFormatter(sep=""))
    final_time.set_xlabel("training time (min, without compilation)")
    any_steps.legend(loc="best", frameon=False, fontsize=8)
    return saved(figure, path)


def tasks_figure(groups: Mapping[str, Sequence[Path]], path: Path) -> Path:
    """Success over env steps, one panel per group, one colour per run. Dotted: at any step; solid: at the last step."""
    from matplotlib.ticker import EngFormatter, PercentFormatter

    figure, grid = _grid(len(groups))
    styles = {"success_any": ("at any step", ":", 1.2), "success_final": ("at the last step", "-", 1.8)}
    for axes, (label, folders) in zip(grid, groups.items(), strict=True):
        for number, (colour, folder) in enumerate(zip(_colours(len(folders)), folders, strict=True)):
            records = records_of(Path(folder))
            for name, (told, line, width) in styles.items():
                steps, values = curve_of(records, f"eval/{name}")
                axes.plot(steps, values, line, color=colour, linewidth=width, label=None if number else told)
        axes.set(title=label if len(folders) == 1 else f"{label} ({len(folders)} seeds)", ylim=(-0.03, 1.03))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", frameon=False, ncols=2)
    return saved(figure, path)


def diagnostics_figure(folder: Path, path: Path) -> Path | None:
    """The recorded metrics of `PANELS` (critic, actor, data) over env steps. None when the run recorded none."""
    from matplotlib.ticker import EngFormatter

    records = records_of(Path(folder))
    keys = sorted({key for record in records for key in record})
    panels = [(panel, [key for key in keys if re.fullmatch(panel[3], key.split("/")[-1])]) for panel in PANELS]
    panels = [(panel, matching) for panel, matching in panels if matching]
    if not panels:
        return None
    figure, grid = _grid(len(panels))
    for axes, ((title, unit, logarithmic, _), matching) in zip(grid, panels, strict=False):
        for colour, key in zip(_colours(len(matching)), matching, strict=True):
            steps, values = curve_of(records, key)
            axes.plot(steps, values, color=colour, linewidth=1.4, marker="o" if len(steps) < 3 else None, label=key)
            if logarithmic and (values > 0).all():
                axes.set_yscale("log")
        axes.set(title=title, ylabel=unit, xlabel="env steps")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.legend(frameon=False, fontsize=8)
    return saved(figure, path)


def comparison_figure(groups: Mapping[str, Sequence[Path]], path: Path) -> Path | None:
    """The metrics of `COMPARED` over env steps, one line per group: the mean over its runs, and their range.

    Returns:
        The picture; None when no run recorded any of these metrics.
    """
    from matplotlib.ticker import EngFormatter

    runs = {label: [records_of(Path(folder)) for folder in folders] for label, folders in groups.items()}
    recorded = {key for seeds in runs.values() for records in seeds for record in records for key in record}
    panels = [(key, *told) for key, told in COMPARED.items() if key in recorded]
    if not panels:
        return None
    figure, grid = _grid(len(panels))
    for axes, (key, title, unit) in zip(grid, panels, strict=False):
        for colour, (label, seeds) in zip(_colours(len(runs)), runs.items(), strict=True):
            curves = [curve_of(records, key) for records in seeds]
            _draw(axes, curves, [label] * len(curves), label, colour, "range")
        axes.set(title=title, ylabel=unit, xlabel="env steps")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    lines, labels = max((axes.get_legend_handles_labels() for axes in grid), key=lambda told: len(told[1]))
    figure.legend(lines, labels, loc="outside lower center", frameon=False, fontsize=8, ncols=3)
    return saved(figure, path)


def metric_figure(
    panels: Mapping[str, Mapping[str, Sequence[Path]]],
    metric: str,
    unit: str,
    path: Path,
    given: Mapping[str, Mapping[str, Curve]] | None = None,
) -> Path:
    """One recorded metric over env steps, one panel per title, one line per group of runs (mean and range).

    Args:
        panels: title -> label -> run folders. metric: its name in the records, e.g. "eval/time_at_goal".
        given: title -> label -> a published curve, drawn dashed in the colour of its label.

    Raises:
        ConfigError: a folder is no run.
    """
    given = given or {}
    labels = list(dict.fromkeys(label for table in (panels, given) for one in table.values() for label in one))
    colours = dict(zip(labels, _colours(len(labels)), strict=True))
    figure, grid = _grid(len(panels))
    for axes, (title, groups) in zip(grid, panels.items(), strict=True):
        draw_metric(axes, groups, metric, colours, given.get(title, {}))
        axes.set(title=title, ylabel=unit, xlabel="env steps")
    return saved(figure, path)


def draw_metric(
    axes: Axes,
    groups: Mapping[str, Sequence[Path]],
    metric: str,
    colours: Mapping[str, str] | None = None,
    given: Mapping[str, Curve] | None = None,
) -> None:
    """One recorded metric over env steps, one line per group of runs (mean and range); see `metric_figure`."""
    from matplotlib.ticker import EngFormatter

    colours = colours or dict(zip(groups, _colours(len(groups)), strict=True))
    for label, folders in groups.items():
        curves = [curve_of(records_of(Path(folder)), metric) for folder in folders]
        told = f"{label} (n={len(folders)})" if len(folders) > 1 else label
        _draw(axes, curves, [label] * len(curves), told, colours[label], "range")
    for label, (steps, values) in (given or {}).items():
        axes.plot(steps, values, color=colours[label], linestyle="--", linewidth=1.2, label=f"{label}, published")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.legend(frameon=False, fontsize=8)


Series = Mapping[str, Sequence[tuple[float, Sequence[float]]]]
"""Label -> points; each point is an x and the values of the runs at that x."""


def series_figure(panels: Mapping[str, Series], x_label: str, y_label: str, path: Path) -> Path:
    """Mean and range of runs over a quantity of their setting (log x axis), one panel per title, one line per label."""
    figure, grid = _grid(len(panels))
    for axes, (title, series) in zip(grid, panels.items(), strict=True):
        for colour, (label, points) in zip(_colours(len(series)), series.items(), strict=True):
            ordered = sorted((x, list(values)) for x, values in points)
            means = [float(np.mean(values)) for _, values in ordered]
            spans = [[mean - min(values), max(values) - mean] for mean, (_, values) in zip(means, ordered, strict=True)]
            xs = [x for x, _ in ordered]
            axes.errorbar(xs, means, np.transpose(spans), color=colour, label=label, marker="o", capsize=3)
        axes.set(title=title, xlabel=x_label, ylabel=y_label, xscale="log")
        axes.legend(frameon=False, fontsize=8)
    return saved(figure, path)


Levels = Mapping[str, Mapping[str, Sequence[float]]]
"""Factor -> level -> a value for each run."""


def levels_figure(rows: Mapping[str, Levels], y_label: str, path: Path, marked: Sequence[str] = ()) -> Path:
    """Values in [0, 1] of every level, one panel per row and factor. A dot is a run; a bar is the median of the runs.

    Args:
        marked: levels whose labels are bold.
    """
    columns = max(len(factors) for factors in rows.values())
    figure = new_figure(len(rows), columns, 2.7 * columns, height=2.6 * len(rows))
    grid = figure.subplots(len(rows), columns, sharey=True, squeeze=False)
    for line, (row, factors) in zip(grid, rows.items(), strict=True):
        line[0].set_ylabel(f"{row}\n{y_label}")
        for axes, (factor, levels) in zip(line, factors.items(), strict=False):
            for x, values in enumerate(levels.values()):
                axes.plot([x - 0.3, x + 0.3], [np.median(values)] * 2, color=COLOURS[1], linewidth=2.5)
                axes.plot([x] * len(values), values, "o", color=COLOURS[0], markersize=5)
            axes.set_xticks(range(len(levels)), [level.replace("_", "\n") for level in levels], fontsize=8)
            for label, level in zip(axes.get_xticklabels(), levels, strict=True):
                label.set_fontweight("bold" if level in marked else "normal")
            axes.set(title=factor, xlim=(-0.6, len(levels) - 0.4), ylim=(-0.04, 1.04))
    return saved(figure, path)


def heat_map(
    values: np.ndarray, rows: Sequence[str], columns: Sequence[str], title: str, path: Path, unit: str = "success"
) -> Path:
    """A heat map of (len(rows), len(columns)) values in [0, 1]; NaN is left blank."""
    figure = new_figure(1, 1, 1.6 + 1.1 * len(columns), height=1.4 + 0.6 * len(rows))
    axes = figure.subplots()
    picture = axes.imshow(values, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_title(title, loc="left")
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", color="w" if value < 0.6 else "k")
    figure.colorbar(picture, ax=axes, label=unit)
    return saved(figure, path, grid=False)


def sequence_figure(
    groups: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]],
    tasks: Sequence[str],
    path: Path,
    unit: str = "success",
) -> Path:
    """Success on every task of a sequence over env steps, one panel per group, one line per task.

    Args:
        groups: label -> for each run: env steps (T,), success (T, N), and env steps at the end of each task (N,).
        tasks: names of the N tasks.
    """
    from matplotlib.ticker import EngFormatter

    figure, grid = _grid(len(groups), 3 if len(groups) <= 6 else 4)
    for axes, (label, runs) in zip(grid, groups.items(), strict=True):
        steps, _, ends = runs[0]
        values = np.stack([[np.interp(steps, at, column) for column in success.T] for at, success, _ in runs])
        for number, (colour, task) in enumerate(zip(_colours(len(tasks)), tasks, strict=True)):
            begun = steps > (ends[number - 1] if number else 0)
            mine = values[:, number, begun]
            told, style = f"{number + 1} {task}", "--" if number >= len(COLOURS) else "-"
            axes.plot(steps[begun], mine.mean(axis=0), color=colour, linestyle=style, linewidth=1.8, label=told)
            if len(runs) > 1:
                axes.fill_between(steps[begun], mine.min(0), mine.max(0), color=colour, alpha=0.15, linewidth=0)
        for end in ends[:-1]:
            axes.axvline(end, color="0.5", linestyle=":", linewidth=1)
        axes.set(title=f"{label} (n={len(runs)})", ylim=(-0.03, 1.03), xlabel="env steps", ylabel=unit)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    lines, labels = grid[0].get_legend_handles_labels()
    figure.legend(
        lines,
        labels,
        loc="outside lower center",
        frameon=False,
        fontsize=8,
        ncols=min(len(tasks), 2 * min(3, len(groups))),
    )
    return saved(figure, path)


def heat_maps(matrices: Mapping[str, np.ndarray], rows: Sequence[str], columns: Sequence[str], path: Path) -> Path:
    """One panel per matrix of values in [0, 1]: success after the row's task, on the column's task. NaN is blank."""
    across = 3 if len(columns) > 5 else 6
    names = [f"{number + 1} {row}" for number, row in enumerate(rows)]
    figure, grid = _grid(len(matrices), across)
    for place, (axes, (label, values)) in enumerate(zip(grid, matrices.items(), strict=True)):
        picture = axes.imshow(values, vmin=0, vmax=1, cmap="viridis", aspect="auto")
        axes.set_xticks(range(len(columns)), [str(number + 1) for number in range(len(columns))])
        axes.set_yticks(range(len(rows)), [] if place % across else names, fontsize=8)
        axes.set_title(label, loc="left", fontsize=10)
        for (row, column), value in np.ndenumerate(values):
            if len(columns) <= 10 and np.isfinite(value):
                axes.text(
                    column, row, f"{value:.2f}", ha="center", va="center", color="w" if value < 0.6 else "k", size=7
                )
    figure.colorbar(picture, ax=grid, label="success after row's task, on column's")
    return saved(figure, path, grid=False)


def _draw(axes: Axes, curves: list[Curve], tasks: list[str], label: str, colour: str, band: Band) -> int:
    """Draws one group's line and band; returns 1, or 0 when none of its runs recorded the metric.

    Runs without a common span of x, such as a fast and a very slow run over minutes, are drawn as separate lines.
    """
    pairs = [(curve, task) for curve, task in zip(curves, tasks, strict=True) if len(curve[0])]
    if not pairs:
        return 0
    curves, tasks = [curve for curve, _ in pairs], [task for _, task in pairs]
    low, high = max(xs[0] for xs, _ in curves), min(xs[-1] for xs, _ in curves)
    grid = np.unique(np.concatenate([xs[(xs >= low) & (xs <= high)] for xs, _ in curves]))
    if not len(grid):
        for number, (xs, ys) in enumerate(curves):
            axes.plot(xs, ys, color=colour, label=None if number else label, linewidth=1.2, marker="o", markersize=3)
        return 1
    if len(grid) > POINTS:
        grid = np.linspace(low, high, POINTS)
    values = np.stack([np.interp(grid, xs, ys) for xs, ys in curves])
    strata = [values[[other == task for other in tasks]] for task in dict.fromkeys(tasks)]
    line = values.mean(0) if band == "range" else iqm_curve(strata)
    axes.plot(grid, line, color=colour, label=label, linewidth=2, marker="o" if len(grid) < 3 else None)
    if len(curves) > 1:
        between = (values.min(0), values.max(0)) if band == "range" else iqm_interval(strata)
        axes.fill_between(grid, *between, color=colour, alpha=0.2, linewidth=0)
    return 1


def _colours(count: int) -> list[str]:
    return [COLOURS[index % len(COLOURS)] for index in range(count)]


def _grid(panels: int, across: int = 3) -> tuple[Figure, list[Axes]]:
    """A figure of `panels` panels, at most `across` in a row. A larger `across` makes smaller panels."""
    columns = min(across, panels)
    rows = -(-panels // columns)
    figure = new_figure(rows, columns, 13.8 / across * columns, 9.3 / across * rows)
    grid = list(figure.subplots(rows, columns, squeeze=False).flatten())
    for axes in grid[panels:]:
        axes.set_axis_off()
    return figure, grid[:panels]


def new_figure(rows: int, columns: int, width: float, height: float | None = None) -> Figure:
    """An empty figure for (rows, columns) panels; width and height are in inches, 3.1 per row by default."""
    # pyplot is avoided: it wants a display and keeps a global list of figures.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height or 3.1 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def saved(figure: Figure, path: Path, grid: bool = True) -> Path:
    """Writes the figure to a file, without the top and right border of its axes; returns the path."""
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        if grid:
            axes.grid(alpha=0.3)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    return path
