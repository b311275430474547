"""Pictures of `experiments.topology`: the learned Q over mazes beside the true distance, and plans through them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crl_jax.report.figures import COLOURS, draw_metric, new_figure, saved
from envs_mjx.mazes.point import MAZES
from experiments import study
from experiments.depth_grids import Kept
from experiments.maze_paths import Grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Told = Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]]
"""Task -> label of a depth -> kept results of each seed, see `topology.computed`."""
METRIC = "eval/time_at_goal"
STYLES = {"line": ":", "midpoints": "o-"}
"""Kind of plan -> matplotlib format."""
PANEL = 2.6
"""Side of a panel, inches."""


def topology_figure(told: Told, curves: Mapping[str, Kept], path: Path) -> Path:
    """One row per task: time at goal by depth, Q of each depth's first seed, and the negative shortest path.

    Above each map of Q: rank correlation with the path and with the Euclidean distance, median and range over seeds.

    Args:
        curves: task -> label -> runs; a task without runs has an empty first panel.
    """
    labels = list(dict.fromkeys(label for one in told.values() for label in one))
    figure = new_figure(len(told), len(labels) + 2, PANEL * (len(labels) + 2), 1.15 * PANEL * len(told))
    rows = figure.subplots(len(told), len(labels) + 2, squeeze=False)
    for (task, one), axes in zip(told.items(), rows, strict=True):
        _curves(axes[0], task, curves.get(task, {}))
        for label, place in zip(labels, axes[1:-1], strict=True):
            if label not in one:
                place.set_axis_off()
                continue
            seeds = one[label]
            spoken = [study.spread([seed[key] for seed in seeds]) for key in ("path", "straight")]
            _map(place, task, seeds[0], np.array(seeds[0]["q"]))
            place.set_title(f"Q, {label}\npath {spoken[0]}\nEuclidean {spoken[1]}", fontsize=8, loc="left")
        first = next(iter(one.values()))[0]
        grid = Grid(MAZES[task].walls, first["per_cell"])
        _map(axes[-1], task, first, -grid.distances(grid.nearest(np.array(first["goal"]))))
        axes[-1].set_title("shortest path,\nenv steps, negative", fontsize=8, loc="left")
    return saved(figure, path, grid=False)


def plan_figure(told: Told, path: Path) -> Path:
    """One row per task, one column per depth: the plans of every seed over the maze."""
    labels = list(dict.fromkeys(label for one in told.values() for label in one))
    figure = new_figure(len(told), len(labels), PANEL * len(labels), 1.15 * PANEL * len(told))
    rows = figure.subplots(len(told), len(labels), squeeze=False)
    for (task, one), axes in zip(told.items(), rows, strict=True):
        for label, place in zip(labels, axes, strict=True):
            if label not in one:
                place.set_axis_off()
                continue
            _walls(place, task)
            for colour, seed in zip(COLOURS, one[label], strict=False):
                for name, style in STYLES.items():
                    row, column = np.array(seed["plans"][name]["waypoints"]).T
                    place.plot(column, row, style, color=colour, markersize=3, linewidth=1)
            _ends(place, one[label][0])
            keys = [f"{name}_longest_leg" for name in STYLES]
            line, midpoints = (study.spread([seed[key] for seed in one[label] if key in seed]) for key in keys)
            title = f"{task}, {label}\nlongest leg\nmidpoints {midpoints}\nline (dotted) {line}"
            place.set_title(title, fontsize=8, loc="left")
    return saved(figure, path, grid=False)


def _curves(axes: Axes, task: str, groups: Kept) -> None:
    if not groups:
        axes.set_axis_off()
        return
    draw_metric(axes, groups, METRIC)
    axes.set(ylabel="env steps at goal", xlabel="env steps")
    axes.set_title(task, fontsize=8, loc="left")


def _map(axes: Axes, task: str, seed: Mapping[str, Any], values: np.ndarray) -> None:
    """Draws values (S,) of the free places of a maze as colours; places without a finite value are left blank."""
    grid = Grid(MAZES[task].walls, seed["per_cell"])
    picture = np.full(grid.free.shape, np.nan)
    picture[grid.free] = np.where(np.isfinite(values), values, np.nan)
    height, width = MAZES[task].walls.shape
    _walls(axes, task)
    shown = axes.imshow(picture, extent=(0, width, height, 0), cmap="viridis", interpolation="nearest")
    _ends(axes, seed)
    axes.figure.colorbar(shown, ax=axes, shrink=0.7)


def _walls(axes: Axes, task: str) -> None:
    walls = MAZES[task].walls
    axes.imshow(np.where(walls, 0.3, 0.95), extent=(0, walls.shape[1], walls.shape[0], 0), cmap="gray", vmin=0, vmax=1)
    axes.set(xticks=[], yticks=[])


def _ends(axes: Axes, seed: Mapping[str, Any]) -> None:
    for (row, column), marker, colour in ((seed["start"], "s", "k"), (seed["goal"], "*", "r")):
        axes.plot(column, row, marker=marker, color=colour, markersize=8, markeredgecolor="w")
