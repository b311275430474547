"""Commands about runs and tasks: `crl report | watch | envs | audit`. Their parameters are the commands' options."""

from __future__ import annotations

import dataclasses
import fnmatch
from json import dumps
from pathlib import Path
from typing import Literal

import tyro
from rich import box
from rich.console import Console
from rich.table import Table

from crl_jax.cli.options import check_host
from crl_jax.cli.progress import doing
from crl_jax.config import ConfigError, nearest, require


def report(run: tyro.conf.Positional[tuple[Path, ...]], /, out: Path | None = None) -> int:
    """Curves, diagnostics and one self-contained HTML page of one or several runs.

    Args:
        run: Run folders, or folders that contain them. Runs that differ only in the seed share a curve.
        out: Folder for the page and pictures; by default the run's own for one run, else `report` beside the runs.
    """
    from crl_jax import report as reports
    from crl_jax.runs import recorded

    if not run:
        raise ConfigError("report: name at least one run folder")
    found = recorded.find_runs(run)
    console = Console()
    with doing(f"Drawing the report of {len(found)} run{'s' * (len(found) != 1)} ...", console):
        page = reports.write_report(found, out or (found[0] if len(found) == 1 else found[0].parent / "report"))
    console.print(reports.table(found, console.width))
    if len(found) > 1:
        console.print(reports.group_table(recorded.groups_of(found), console.width))
    console.print(str(page), highlight=False, soft_wrap=True)
    return 0


def watch(
    run: tyro.conf.Positional[tuple[Path, ...]],
    /,
    host: str = "localhost",
    port: int = 8090,
    every: float = 5.0,
) -> int:
    """Follow running jobs on one page in the browser: progress, time left, curves, last films. It only reads.

    Args:
        run: Run folders, or folders that contain runs, also ones that start later.
        host: Address to serve at; 0.0.0.0 lets other machines in.
        port: Port of the page.
        every: Seconds between two looks at the runs.
    """
    from crl_jax.report import live
    from crl_jax.runs import stop_on_signals

    require(bool(run), "watch", "", "name at least one folder")
    require(1 <= port <= 65535, "port", port, "must lie in 1 ... 65535; nearest: 8090")
    require(every >= 0.5, "every", every, "must be at least 0.5 seconds")
    check_host(host)
    console = Console()
    with stop_on_signals() as stop:
        stop.under_way = None
        live.serve(run, host, port, every, lambda line: console.print(line, soft_wrap=True), lambda: bool(stop.signal))
    return 0


def envs(
    pattern: tyro.conf.Positional[tuple[str, ...]] = (),
    /,
    group: Literal["all", "metaworld", "single-goal", "mazes", "bodies", "robotics"] = "all",
    goal: str = "auto",
    horizon: int | None = None,
    json: bool = False,
) -> int:
    """List the tasks: success rule, engines, horizon, sizes. On a narrow terminal the sizes are left out.

    Args:
        pattern: Tasks to list, e.g. push* or mt10; all by default.
        group: Tasks of one kind.
        goal: Goal contract for which sizes are shown: object, hand_object, object_relative or auto.
        horizon: Env steps of an episode; the task's own by default.
        json: Print JSON with every field.
    """
    import envs_mjx
    from crl_jax.report.columns import Column, fitted
    from envs_mjx.locomotion.tasks import BACKENDS

    pattern = tuple(name for one in pattern for name in envs_mjx.SPLITS.get(one, (one,)))
    known = envs_mjx.names() if group == "all" else envs_mjx.GROUPS[group]
    names = [name for name in known if not pattern or any(fnmatch.fnmatch(name, one) for one in pattern)]
    where = "" if group == "all" else f" in group {group}"
    for one in pattern:
        told = f"no such task{where}; nearest: {nearest(one, known)}"
        require(bool(fnmatch.filter(known, one)), "envs", one, told)
    require(horizon is None or horizon >= 1, "horizon", horizon, "must be at least 1")
    rows = [envs_mjx.describe(name, goal, horizon) for name in names]
    if json:
        print(dumps([dataclasses.asdict(row) for row in rows], indent=1))
        return 0

    def engines(row: envs_mjx.Description) -> str:
        shown = dict.fromkeys("Brax" if name in BACKENDS else name for name in row.engines)
        return ", ".join(name + "*" * (name in row.unfaithful) for name in shown)

    console = Console()
    columns = [
        Column("task", [row.name for row in rows], right=False),
        Column("success (native)", [row.success for row in rows], right=False, folds=True),
        Column("engines", [engines(row) for row in rows], right=False),
        Column("horizon", [str(row.horizon) for row in rows], 1),
        Column("state", [str(row.obs_size) for row in rows], 3),
        Column("goal", [str(row.goal_size) for row in rows], 2),
        Column("action", [str(row.action_size) for row in rows], 4),
    ]
    console.print(fitted(columns, console.width, f"{len(names)} task{'s' * (len(names) != 1)}"))
    if goal != "auto":
        console.print(f"Sizes are those with --goal {goal}.", highlight=False)
    if any(name in BACKENDS for row in rows for name in row.engines):
        console.print(f"Brax: its backends {', '.join(BACKENDS)}, as many as the task takes", highlight=False)
    if any(row.unfaithful for row in rows):
        told = "* not measured to be faithful there (docs/fidelity.md): needs --allow-unfaithful"
        console.print(told, highlight=False)
    return 0


def audit(task: tyro.conf.Positional[tuple[str, ...]] = (), /, page: Path | None = None) -> int:
    """Commanded goals against what the official scripted policy achieves while it succeeds.

    Args:
        task: Tasks of Meta-World; all 50 by default (takes minutes).
        page: Also write the table as a Markdown page.
    """
    from rich.progress import track

    import envs_mjx
    from crl_jax.play import audit as audits

    named = tuple(name for one in task for name in envs_mjx.SPLITS.get(one, (one,)))
    tasks = named or envs_mjx.SPLITS["mt50"]
    for one in tasks:
        near = nearest(one, envs_mjx.SPLITS["mt50"])
        require(one in envs_mjx.SPLITS["mt50"], "audit", one, f"no task with a scripted policy; nearest: {near}")
    if page and (page.is_dir() or not page.parent.is_dir()):
        raise ConfigError(f"page={page}: name a file in a folder that exists")
    found = [envs_mjx.audit(one) for one in track(tasks, "running scripted policies", console=Console(stderr=True))]
    rows, table = audits.rows(found), Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    shown = [title for title in audits.TITLES if title not in ("contract", "remark")]
    for title in shown:
        table.add_column(title, justify="left" if title == "task" else "right", no_wrap=title == "task")
    for row in rows:
        table.add_row(*(text for title, text in zip(audits.TITLES, row, strict=True) if title in shown))
    Console().print(table)
    Console().print("Distances in metres; of the opening, from 0 to 1.", highlight=False)
    for row in rows:
        if row[-1]:
            Console().print(f"{row[0]}: {row[-1]}", highlight=False)
    if page:
        page.write_text(audits.page(rows))
        Console().print(str(page), highlight=False, soft_wrap=True)
    return 0
