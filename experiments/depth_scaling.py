"""How much does depth help? `python -m experiments.depth_scaling run | report`.

The question of "1000 Layer Networks for Self-Supervised RL" (arXiv:2503.14858): does a deeper network reach more goals,
and is the cause the depth, the number of parameters, the batch, the critic or the actor? Grids: depth; width (wide
instead of deep); batch; apart (critic and actor of different depths); baselines (SAC and TD3 with hindsight, equally
deep). A cell is named by its setting, so that a run that two grids share is trained once.
The default is point mazes and small networks, for a CPU. `--full` is the paper's setting and environments, for a GPU.
The report shows the published values beside ours.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

import envs_mjx
from crl_jax import agents, runs
from crl_jax import report as reports
from crl_jax.config import Config, ConfigError
from crl_jax.report.figures import Series, heat_map, metric_figure, series_figure
from crl_jax.runs.recorded import Curve, curve_of, records_of, throughput
from envs_mjx.base import EnvSpec
from experiments import study
from experiments.depth_grids import METHODS, Kept, Scale, cell, cells, groups_of, horizon, scale_of

STUDY = "depth_scaling"
PUBLISHED = study.ROOT / "experiments" / "published" / "depth_scaling.json"
METRIC = "eval/time_at_goal"
LAST = 5
"""A run's last time at goal is the mean of this many last evaluations, as for the published curves."""
COLUMNS: tuple[study.Column, ...] = (
    ("time at goal", "last_time_at_goal", "{:.1f}"),
    ("best", "best_time_at_goal", "{:.1f}"),
    ("success any", "last_success_any", "{:.2f}"),
    ("success final", "last_success_final", "{:.2f}"),
    ("parameters", "parameters", "{:,.0f}"),
    ("ms per update", "ms_per_update", "{:.1f}"),
)


def run(
    tasks: tuple[str, ...] = (),
    grids: tuple[str, ...] = ("depth",),
    seeds: tuple[int, ...] = (0, 1, 2),
    depths: tuple[int, ...] = (),
    full: bool = False,
    total_env_steps: int | None = None,
    threads: int = 0,
    dry_run: bool = False,
) -> int:
    """Train every cell and seed; kept runs are skipped, stopped runs continue.

    Args:
        tasks: point_U, point_Maze11x11, point_FourRooms; with --full the paper's tasks. All by default.
        grids: depth, width, batch, apart, baselines.
        seeds: Seeds.
        depths: Train only cells whose critic has one of these depths; all by default.
        full: The paper's setting (preset scaling_crl), for a GPU.
        total_env_steps: Env steps of each run; the task's own by default.
        threads: Threads of the C engine; 0 takes every core.
        dry_run: Print the runs and do nothing.
    """
    wanted = cells(tasks or tuple(scale_of(full).tasks), grids, full, total_env_steps)
    chosen = [one for one in wanted if not depths or one.changes["critic_depth"] in depths]
    if not chosen:
        there = sorted({one.changes["critic_depth"] for one in wanted})
        raise ConfigError(f"depths={depths}: no cell is so deep; one of {', '.join(map(str, there))}")
    return study.run_cells(STUDY, chosen, seeds, dry_run=dry_run, threads=threads)


def measured(folder: Path) -> dict[str, Any]:
    """A run's `study.numbers`, with numbers of this study.

    Returns:
        `study.numbers`; parameters; and, if recorded, last_time_at_goal (mean of the last `LAST` evaluations) and
        best_time_at_goal, both in env steps, and ms_per_update (collecting and learning, without evaluations).
    """
    found = study.numbers(folder)
    _, values = curve_of(records_of(folder), METRIC)
    if len(values):
        found |= {"last_time_at_goal": float(values[-LAST:].mean()), "best_time_at_goal": float(values.max())}
    speed = throughput(folder).get("updates_per_s")
    if speed:
        found["ms_per_update"] = 1000 / speed
    return found | {"parameters": parameters(runs.load(folder))}


@functools.cache
def _spec(task: str) -> EnvSpec:
    """The sizes of a task, without building a simulation."""
    told = envs_mjx.describe(task)
    obs, goal = jnp.ones(told.obs_size), jnp.ones(told.goal_size)
    return EnvSpec(told.obs_size, told.goal_size, told.action_size, told.horizon, obs, obs, goal, goal)


def parameters(config: Config) -> int:
    """Number of parameters of a run's critic and actor, from shapes; nothing is allocated."""
    return _counted(Config(network=config.network, agent=config.agent, baseline=config.baseline), config.env.task)


@functools.cache
def _counted(config: Config, task: str) -> int:
    """`parameters` of the sections that they depend on: the seeds of a cell are counted once."""
    agent = agents.make(config, _spec(task))
    state = jax.eval_shape(agent.init, jax.random.PRNGKey(0))
    networks = [getattr(state, name, None) for name in ("phi", "psi", "critic", "actor")]
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(networks))


Told = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Cell's name -> run's name -> `measured`."""
Scores = Mapping[str, Sequence[float]]
"""Cell's name -> last time at goal of each of its runs."""


def published() -> dict[str, Any]:
    """The paper's curves, condensed; the JSON file names its source."""
    found: dict[str, Any] = json.loads(PUBLISHED.read_text())
    return found


def beside_published(scores: Scores, scale: Scale, grid: str) -> str:
    """Markdown table of the time at goal, one column per depth: our runs, then the published mean ± standard error.

    Args:
        grid: depth: one row per environment; batch: one row per environment and batch size.
    """
    ours: dict[str, dict[int, Sequence[float]]] = {}
    for task, setting in itertools.product(scale.tasks, scale.settings(grid)):
        if reached := scores.get(cell(scale, task, setting).name):
            row = task if grid == "depth" else f"{task}, batch {setting.batch_size}"
            ours.setdefault(row, {})[setting.critic_depth] = reached
    told, theirs = published(), {}
    if grid == "depth":
        theirs = {task: one["depths"] for task, one in told["depth"].items()}
    for task, rows in told["batch"].items() if grid == "batch" else ():
        for size in dict.fromkeys(size for sizes in rows.values() for size in sizes):
            theirs[f"{task}, batch {size}"] = {depth: sizes[size] for depth, sizes in rows.items() if size in sizes}
    depths = sorted(
        {depth for row in ours.values() for depth in row} | {int(d) for row in theirs.values() for d in row}
    )
    lines = [f"| time at goal | {' | '.join(f'depth {depth}' for depth in depths)} |", "|---" * (len(depths) + 1) + "|"]
    for name, measured_row in ours.items():
        shown = [study.spread(measured_row.get(depth, []), "{:.1f}") for depth in depths]
        lines.append(f"| {name} | {' | '.join(shown)} |")
    for name, published_row in theirs.items():
        found = [published_row.get(str(depth)) for depth in depths]
        shown = [f"{one['last']:.0f} ± {one['std_error']:.0f}" if one else "-" for one in found]
        lines.append(f"| {name}, published | {' | '.join(shown)} |")
    return "\n".join(lines)


def published_curves(task: str) -> dict[str, Curve]:
    """Label -> (T,) env steps and (T,) time at goal, per depth of the paper; empty if the paper lacks the task."""
    told = published()
    rows = told["depth"].get(task, {"depths": {}})["depths"]
    curves = {}
    for depth, row in rows.items():
        each = row["epochs"] / len(row["curve"]) * told["env_steps_per_epoch"]
        curves[f"depth {depth}"] = ((np.arange(len(row["curve"])) + 0.5) * each, np.array(row["curve"], float))
    return curves


def report(full: bool = False, out: Path | None = None) -> int:
    """Tables, curves over env steps, pictures of every grid with kept runs, and one HTML page.

    numbers.json, beside the page, holds the numbers of every run from which the tables and pictures are made.

    Args:
        full: Report the runs of the paper's setting.
        out: Folder of the page and pictures; runs/depth_scaling/report by default.
    """
    scale = scale_of(full)
    kept = study.kept_runs(STUDY, cells(tuple(scale.tasks), tuple(scale.grids), full))
    out = out or Path("runs") / STUDY / "report"
    out.mkdir(parents=True, exist_ok=True)
    told = {name: {folder.name: measured(folder) for folder in folders} for name, folders in kept.items()}
    runs.write_json(out / "numbers.json", told)
    scores = scores_of(told)
    tables = [table_of(kept, told), *(beside_published(scores, scale, grid) for grid in ("depth", "batch"))]
    (out / "tables.md").write_text("\n\n".join([*tables, published()["source"]]) + "\n")
    command = f"Made by: python -m experiments.depth_scaling run{' --full' if full else ''}"
    everything = [folder for folders in kept.values() for folder in folders]
    page = reports.write_report(everything, out, kept, pictures=drawn(kept, told, scale, out), notes=[command])
    console = Console()
    for text in (*tables, str(page)):
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    return 0


def table_of(kept: Kept, told: Told) -> str:
    """Markdown table, one row per cell: `COLUMNS`, each the median and range over the cell's runs."""
    numbers = {run: one for of_runs in told.values() for run, one in of_runs.items()}
    return study.markdown_table(kept, COLUMNS, told_of=lambda folder: numbers[folder.name])


def section() -> str:
    """The README's table of the point mazes by depth, as Markdown.

    Raises:
        ConfigError: no run of grid depth is kept.
    """
    scale = scale_of(False)
    kept = study.kept_runs(STUDY, cells(tuple(scale.tasks), ("depth",)))
    told = {name: {folder.name: measured(folder) for folder in folders} for name, folders in kept.items()}
    groups = {
        f"{task}, {label}": folders
        for task in scale.tasks
        for label, folders in groups_of(kept, scale, task, "depth").items()
    }
    return table_of(groups, told)


def scores_of(told: Told) -> dict[str, list[float]]:
    """Cell's name -> last time at goal of each of its runs that was evaluated."""
    return {
        name: [one["last_time_at_goal"] for one in of_runs.values() if "last_time_at_goal" in one]
        for name, of_runs in told.items()
    }


def drawn(kept: Kept, told: Told, scale: Scale, out: Path) -> list[tuple[str, Path]]:
    """Draws curves per task and the pictures of every grid with kept runs; returns (title, file) of each."""
    scores, pictures, unit = scores_of(told), [], "env steps at goal"
    for grid, title in (("depth", "Time at goal by depth"), ("baselines", "CRL, SAC and TD3 by depth")):
        panels = {task: groups for task in scale.tasks if len(groups := groups_of(kept, scale, task, grid)) > 1}
        given = {task: published_curves(task) for task in panels} if grid == "depth" else {}
        if panels:
            pictures.append((title, metric_figure(panels, METRIC, unit, out / f"{grid}.png", given)))
    sizes = {name: float(next(iter(of_runs.values()))["parameters"]) for name, of_runs in told.items()}
    sets = {task: series for task in scale.tasks if len(series := deep_or_wide(scores, sizes, scale, task)) > 1}
    if sets:
        pictures.append(("Deeper or wider", series_figure(sets, "parameters", unit, out / "width.png")))
    sets = {task: series for task in scale.tasks if len(series := by_method(scores, scale, task)) > 1}
    if sets:
        pictures.append(("What depth gives each method", series_figure(sets, "depth", unit, out / "methods.png")))
    for task, grid in itertools.product(scale.tasks, ("batch", "apart")):
        if found := _heat(scores, scale, task, grid, out / f"{task}-{grid}.png"):
            pictures.append((f"{task}: {grid}", found))
    return pictures


def deep_or_wide(scores: Scores, sizes: Mapping[str, float], scale: Scale, task: str) -> Series:
    """Time at goal over parameters, one line for deeper and one for wider networks; each needs two sizes or more."""
    found = {}
    for grid, label in (("depth", "deeper"), ("width", "wider")):
        names = [cell(scale, task, setting).name for setting in scale.settings(grid)]
        found[label] = [(sizes[name], scores[name]) for name in names if scores.get(name)]
    return {label: points for label, points in found.items() if len(points) > 1}


def by_method(scores: Scores, scale: Scale, task: str) -> Series:
    """Time at goal over depth, one line per method that was run at two depths or more."""
    found: dict[str, list[tuple[float, Sequence[float]]]] = {method: [] for method in METHODS}
    for setting in scale.settings("baselines"):
        if reached := scores.get(cell(scale, task, setting).name):
            found[setting.method].append((setting.critic_depth, reached))
    return {method: points for method, points in found.items() if len(points) > 1}


def _heat(scores: Scores, scale: Scale, task: str, grid: str, path: Path) -> Path | None:
    """Heat map of the share of the episode at the goal, one row per critic depth; None with fewer than two cells."""
    column = "batch_size" if grid == "batch" else "actor_depth"
    settings = scale.settings(grid)
    rows = sorted({setting.critic_depth for setting in settings})
    columns = sorted({getattr(setting, column) for setting in settings})
    values = np.full((len(rows), len(columns)), np.nan)
    for setting in settings:
        found = scores.get(cell(scale, task, setting).name)
        if found:
            place = rows.index(setting.critic_depth), columns.index(getattr(setting, column))
            values[place] = np.mean(found) / horizon(scale, task)
    if np.isfinite(values).sum() < 2:
        return None
    titles = [f"critic {row}" for row in rows], [f"{column.replace('_', ' ')} {one}" for one in columns]
    return heat_map(values, *titles, f"{task}: {grid}", path, "share of the episode at the goal")


if __name__ == "__main__":
    study.cli({"run": run, "report": report})
