"""The command line: `crl train | continual | eval | render | report | envs | audit | bench | profile | fidelity`.

Every error that a user can cause ends in one line on stderr and exit code 2. The caller (`configs`) passes the presets,
so that this package does not import `configs`.
"""

from __future__ import annotations

import dataclasses
import errno
import fnmatch
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from json import dumps
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich import box
from rich.console import Console
from rich.table import Table

from crl_jax.cli import train as cli_train
from crl_jax.cli.doctor import doctor
from crl_jax.cli.options import USER_ERRORS, call, shown
from crl_jax.cli.progress import FILMING, doing
from crl_jax.config import Config, ConfigError, nearest, require

_MAIN = '\nif __name__ == "__main__"'
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
COMMANDS = (
    "train",
    "continual",
    "eval",
    "render",
    "demo",
    "view",
    "report",
    "envs",
    "audit",
    "doctor",
    "bench",
    "fidelity",
    "profile",
)
MEASURED = ("fidelity", "profile")
"""Commands that run the benchmark of the same name."""
USAGE = """usage: crl COMMAND ...

  train TASK [--preset NAME] [options]   train, then draw curves and film the learned arm
  train TASK --seeds 0 1 2 [options]     a run for each seed, as one program (engines in JAX)
  train --resume RUN                     continue a run from its last checkpoint
  continual TASK TASK ... [options]      learn tasks one after another (or cw10, cw20); --resume RUN continues
  train ... --coordinator HOST:PORT --num-processes N --process-id I
                                         one of N processes that train together (under Slurm: found out)
  eval RUN [--official]                  score a run's policy on fresh episodes
  render RUN                             film a run's policy
  render TASK [--policy NAME]            film a task under its scripted or a random policy
  demo [TASK] [--list]                   play a trained policy that ships with the package
  view RUN|TASK [--policy NAME]          watch it live in the browser, and command goals by hand
  report RUN...                          curves, tables and one HTML page of runs or folders of runs
  envs [PATTERN...] [--group NAME]       list the tasks
  audit [TASK...]                        the goals that tasks command, against what the scripted policy achieves
  doctor                                 what this machine has, and what works on it
  bench [NAME] [options]                 list the benchmarks, or run one
  profile TASK [--preset NAME] [options] where an iteration's time goes: a table, and a trace for XProf
  fidelity [options]                     measure how near the engines are to the official physics (bench fidelity)

`crl COMMAND --help` shows every option."""


def main(presets: Mapping[str, Config], argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        exit code: 0, or 2 after an error of the user, which is printed in one line.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    return shown(lambda: _main(presets, arguments))


def _main(presets: Mapping[str, Config], arguments: list[str]) -> int:
    try:
        if not arguments or arguments[0] in ("-h", "--help"):
            print(USAGE)
            return 0
        command = arguments.pop(0)
        if command not in COMMANDS:
            raise ConfigError(f"{command}: no such command; nearest: {nearest(command, COMMANDS)}")
        if command == "train":
            return cli_train.train_command(presets, arguments)
        if command == "continual":
            return cli_train.continual_command(presets, arguments)
        if command in MEASURED:
            return _run_bench(command, arguments)
        if command == "bench" and arguments and not arguments[0].startswith("-"):
            return _run_bench(arguments[0], arguments[1:])
        code: int = call(HANDLERS[command], arguments, prog=f"crl {command}")
        return code
    except USER_ERRORS as error:
        return fail(str(error))
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return fail(f"{error.filename or 'the disk'}: no space left; the last checkpoint is intact")
        if error.filename is None:
            raise
        return fail(f"{error.filename}: {error.strerror}")
    except MemoryError:
        return fail("out of memory; a smaller --replay-capacity or --num-envs needs less")
    except RuntimeError as error:  # JAX's own.
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return fail(
            f"the device is out of memory ({str(error)[:160]}); a smaller --replay-capacity or --num-envs needs less"
        )


def fail(message: str) -> int:
    """Print an error of the user in one line on stderr. Returns the exit code, 2."""
    print(f"crl: error: {' '.join(message.split())}", file=sys.stderr)
    return 2


# -- the other commands -----------------------------------------------------------------------------------------------


def _eval(
    run: tyro.conf.Positional[Path],
    /,
    episodes: int = 128,
    seed: int = 1,
    official: bool = False,
    stochastic: bool = False,
    step: int | None = None,
    number: int | None = None,
) -> int:
    """Score a run's policy on fresh episodes by the task's native success.

    Args:
        run: Folder of the run.
        episodes: Fresh episodes.
        seed: Seed of starts and goals; training never uses it.
        official: Score zero-shot in the official Meta-World package instead of on our engine.
        stochastic: Sample actions instead of taking the policy's mode.
        step: Checkpoint to take; the newest by default.
        number: Task to score in a run of several tasks, counted from 0; the last one begun by default.
    """
    from crl_jax.play import policy

    if episodes < 1:
        raise ConfigError(f"episodes={episodes}: must be at least 1")
    if seed < 0:
        raise ConfigError(f"seed={seed}: must be 0 or more")
    trained = policy.load(run, step, number)
    console = Console()
    where = "official Meta-World" if official else f"engine {trained.config.env.physics}"
    with doing(f"{episodes} episodes on {where} ...", console):
        metrics = (policy.score_official if official else policy.score)(trained, episodes, seed, stochastic)
    table = Table(
        title=f"{run}: {trained.config.env.task} at {trained.env_steps:,} env steps, {episodes} episodes, {where}"
    )
    table.add_column("metric")
    table.add_column("value", justify="right")
    for name, value in metrics.items():
        table.add_row(name, f"{value:.4g}")
    console.print(table)
    return 0


def _render(
    target: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="RUN|TASK")]] = "",
    /,
    policy: str | None = None,
    episodes: int = 3,
    seed: int = 1,
    out: Path | None = None,
    width: int = 480,
    height: int = 360,
    camera: str = "close",
    physics: str | None = None,
    step: int | None = None,
    sheet: Path | None = None,
) -> int:
    """Film a run's policy, or a task under its scripted or a random policy; or draw every task on one sheet.

    Args:
        target: Folder of a run, or a task of `crl envs` (a folder of the same name: write ./NAME).
        policy: For a task: scripted (the official package's policy; the default if there is one) or random.
        episodes: Fresh episodes, one after another.
        seed: Seed of starts and goals.
        out: The mp4; RUN/videos/policy.mp4 or TASK.mp4 by default.
        width: Pixels.
        height: Pixels.
        camera: close, or a camera of the scene: corner, corner2, corner3, topview, behindGripper, gripperPOV.
        physics: For a task: the engine; c by default (for ant and the like, the published one).
        step: For a run: checkpoint to take; the newest by default.
        sheet: Write this PNG instead of a film: all 50 tasks, each at its scripted policy's success (takes minutes).
    """
    import envs_mjx
    from crl_jax.play import render

    for name, value in (("episodes", episodes), ("width", width), ("height", height)):
        if value < 1:
            raise ConfigError(f"{name}={value}: must be at least 1")
    console, size = Console(), (width, height)
    if sheet:
        path = render.draw_sheet(sheet, Console(stderr=True))
    elif target in envs_mjx.names():
        render.refuse({"step": step}, f"{target} is a task")
        with doing(f"{FILMING}: {target} ...", console):
            engine = physics or ("c" if envs_mjx.needs_engine(target) else "auto")
            path = render.film_task(target, out, policy, episodes, seed, size, camera, engine)
    else:
        render.refuse({"policy": policy, "physics": physics}, f"{target or 'nothing'} is no task")
        render.require_run(target)
        with doing(f"{FILMING} ...", console):
            path = render.film_run(Path(target), step, out, episodes, seed, size, camera)
    console.print(str(path), highlight=False, soft_wrap=True)
    return 0


def _demo(
    task: tyro.conf.Positional[str] = "",
    /,
    list: bool = False,
    episodes: int = 3,
    seed: int = 1,
    out: Path | None = None,
    width: int = 480,
    height: int = 360,
    camera: str = "close",
) -> int:
    """Play a trained policy that ships with the package: its success on fresh episodes, and a film.

    Args:
        task: One of --list.
        list: List the policies that ship, with the success of each and the run that made it.
        episodes: Fresh episodes to film, one after another.
        seed: Seed of starts and goals.
        out: The mp4; demo-TASK.mp4 by default.
        width: Pixels.
        height: Pixels.
        camera: close, or a camera of the scene: corner, corner2, corner3, topview, behindGripper, gripperPOV.
    """
    from crl_jax.play import policy, render, shipped

    console = Console()
    if list or not task:
        _show_shipped(console)
        return 0
    for name, value in (("episodes", episodes), ("width", width), ("height", height)):
        require(value >= 1, name, value, "must be at least 1")
    about, path = shipped.about(task), render.checked(out or Path(f"demo-{task}.mp4"), ".mp4")
    console.print(f"{task}: trained for {about.env_steps:,} env steps without a reward", highlight=False)
    with doing("Loading the policy ...", console):
        trained = shipped.load(task)
    with doing("128 fresh episodes ...", console):
        found = policy.score(trained, 128, seed)
    console.print(f"success at the last step of 128 fresh episodes: {found['success_final']:.0%}", highlight=False)
    with doing(f"{FILMING} ...", console):
        policy.film(trained, path, episodes, seed, (width, height), camera)
    console.print(str(path), highlight=False, soft_wrap=True)
    return 0


def _view(
    target: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="RUN|TASK")]],
    /,
    policy: Literal["demo", "scripted", "random"] | None = None,
    seed: int = 1,
    host: str = "localhost",
    port: int = 8080,
) -> int:
    """Watch a policy live in the browser: pause, speed, next episode, and goals that you command by sliders.

    Args:
        target: Folder of a run, or a task of Meta-World.
        policy: For a task: demo (the policy that ships), scripted or random; by default the first that there is.
        seed: Seed of starts and goals.
        host: Address to serve at; 0.0.0.0 lets other machines in.
        port: Port; the next free one if it is taken.
    """
    from crl_jax.play import view
    from crl_jax.runs import stop_on_signals

    require(1 <= port <= 65535, "port", port, "must lie in 1 ... 65535; nearest: 8080")
    console = Console()
    with doing("Loading and compiling ...", console):
        session = view.Session(target, policy, seed)
    with stop_on_signals() as stop:
        stop.under_way = "view"
        view.serve(session, host, port, lambda line: console.print(line, soft_wrap=True), lambda: bool(stop.signal))
    return 0


def _show_shipped(console: Console) -> None:
    """Print a table of the policies that ship."""
    from crl_jax.play import shipped

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for title in ("task", "success", "official", "env steps", "commit"):
        table.add_column(title, justify="left" if title == "task" else "right", no_wrap=True)
    for task in shipped.names():
        one = shipped.about(task)
        steps = f"{one.env_steps:,}"
        table.add_row(task, f"{one.success:.2f}", f"{one.official:.2f}", steps, one.commit)
    console.print(table)
    console.print("`crl demo TASK` plays one. Success: last step of 512 fresh episodes.", highlight=False)


def _report(run: tyro.conf.Positional[tuple[Path, ...]], /, out: Path | None = None) -> int:
    """Curves, diagnostics and one self-contained HTML page of one or several runs.

    Args:
        run: Run folders, or folders that contain them. Runs that differ only in the seed share a curve.
        out: Folder for the page and pictures; by default the run's own for one run, else `report` beside the runs.
    """
    from crl_jax import report
    from crl_jax.runs import recorded

    if not run:
        raise ConfigError("report: name at least one run folder")
    found = recorded.find_runs(run)
    console = Console()
    with doing(f"Drawing the report of {len(found)} runs ...", console):
        page = report.write_report(found, out or (found[0] if len(found) == 1 else found[0].parent / "report"))
    console.print(report.table(found, console.width))
    if len(found) > 1:
        console.print(report.group_table(recorded.groups_of(found), console.width))
    console.print(str(page), highlight=False, soft_wrap=True)
    return 0


def _envs(
    pattern: tyro.conf.Positional[tuple[str, ...]] = (),
    /,
    group: Literal["all", "metaworld", "single-goal", "mazes", "bodies"] = "all",
    goal: str = "hand_object",
    horizon: int | None = None,
    json: bool = False,
) -> int:
    """List the tasks: success rule, engines, horizon, sizes. On a narrow terminal the sizes are left out.

    Args:
        pattern: Tasks to list, e.g. push*; all by default.
        group: Tasks of one kind.
        goal: Goal contract for which sizes are shown: object, hand_object, object_relative or auto.
        horizon: Env steps of an episode; the task's own by default.
        json: Print JSON with every field.
    """
    import envs_mjx
    from crl_jax.report.columns import Column, fitted
    from envs_mjx.locomotion.tasks import BACKENDS

    known = envs_mjx.names() if group == "all" else envs_mjx.GROUPS[group]
    names = [name for name in known if not pattern or any(fnmatch.fnmatch(name, one) for one in pattern)]
    require(bool(names), "envs", " ".join(pattern), f"no such task; nearest: {nearest(' '.join(pattern), known)}")
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
    console.print(fitted(columns, console.width, f"{len(names)} tasks (goal contract {goal})"))
    console.print(f"Brax: its backends {', '.join(BACKENDS)}, as many as the task takes", highlight=False)
    console.print("* not measured to be faithful there (docs/fidelity.md): needs --allow-unfaithful", highlight=False)
    return 0


def _audit(task: tyro.conf.Positional[tuple[str, ...]] = (), /, page: Path | None = None) -> int:
    """Commanded goals against what the official scripted policy achieves while it succeeds.

    Args:
        task: Tasks of Meta-World; all 50 by default (takes minutes).
        page: Also write the table as a Markdown page.
    """
    from rich.progress import track

    import envs_mjx
    from crl_jax.play import audit

    tasks = task or envs_mjx.SPLITS["mt50"]
    for one in tasks:
        near = nearest(one, envs_mjx.SPLITS["mt50"])
        require(one in envs_mjx.SPLITS["mt50"], "audit", one, f"no task with a scripted policy; nearest: {near}")
    if page and (page.is_dir() or not page.parent.is_dir()):
        raise ConfigError(f"page={page}: name a file in a folder that exists")
    found = [envs_mjx.audit(one) for one in track(tasks, "running scripted policies", console=Console(stderr=True))]
    rows, table = audit.rows(found), Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    shown = [title for title in audit.TITLES if title not in ("contract", "remark")]
    for title in shown:
        table.add_column(title, justify="left" if title == "task" else "right", no_wrap=title == "task")
    for row in rows:
        table.add_row(*(text for title, text in zip(audit.TITLES, row, strict=True) if title in shown))
    Console().print(table)
    Console().print("Distances in metres; of the opening, from 0 to 1.", highlight=False)
    for row in rows:
        if row[-1]:
            Console().print(f"{row[0]}: {row[-1]}", highlight=False)
    if page:
        page.write_text(audit.page(rows))
        Console().print(str(page), highlight=False, soft_wrap=True)
    return 0


def _bench() -> int:
    """List the benchmarks: `crl bench NAME [options]` runs one, `crl bench NAME --help` shows its options."""
    print("\n".join(_benchmarks()))
    return 0


def _benchmarks() -> list[str]:
    """Names of the modules in `benchmarks/` that can be run.

    Raises:
        ConfigError: there is no such folder here.
    """
    if not BENCHMARKS.is_dir():
        raise ConfigError("bench: the benchmarks come with a checkout of the repository, not with a wheel")
    return sorted(path.stem for path in BENCHMARKS.glob("[!_]*.py") if _MAIN in path.read_text())


def _run_bench(name: str, arguments: list[str]) -> int:
    if name not in _benchmarks():
        raise ConfigError(f"bench={name!r}: no such benchmark; nearest: {nearest(name, _benchmarks())}")
    # -P and PYTHONPATH: the benchmark is found from any working directory. Paths in options stay relative to that one.
    command = [sys.executable, "-P", "-m", f"benchmarks.{name}", *arguments]
    path = os.pathsep.join(filter(None, (str(BENCHMARKS.parent), os.environ.get("PYTHONPATH"))))
    return subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, check=False).returncode


HANDLERS: dict[str, Callable[..., int]] = {
    "eval": _eval,
    "render": _render,
    "demo": _demo,
    "view": _view,
    "report": _report,
    "envs": _envs,
    "audit": _audit,
    "doctor": doctor,
    "bench": _bench,
}
"""Command -> function whose parameters are its options; the other commands parse their own."""
