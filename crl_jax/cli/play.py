"""Commands that play a policy: `crl eval | render | demo | view`. Their parameters are the commands' options."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from rich import box
from rich.console import Console
from rich.table import Table

from crl_jax.cli.options import check_host
from crl_jax.cli.progress import doing, filming
from crl_jax.config import require

if TYPE_CHECKING:
    from crl_jax.config import EnvConfig
    from crl_jax.play.policy import Trained

LARGEST = 4096
"""Pixels of a film's side, at most."""


def _seed(seed: int) -> None:
    """Refuse a seed that JAX does not take."""
    require(0 <= seed < 2**31, "seed", seed, "must lie in 0 ... 2147483647")


def _positive(**values: int) -> None:
    """Refuse a number below 1, by its option's name."""
    for name, value in values.items():
        require(value >= 1, name, value, "must be at least 1")


def _drawable(width: int, height: int) -> None:
    """Refuse the size of a film that no renderer draws."""
    for name, value in (("width", width), ("height", height)):
        require(1 <= value <= LARGEST, name, value, f"must lie in 1 ... {LARGEST} pixels")


def eval_(
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

    _positive(episodes=episodes)
    _seed(seed)
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


def render(
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
    number: int | None = None,
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
        number: For a run of several tasks: which one, counted from 0.
        sheet: Write this PNG instead of a film: all 50 tasks, each at its scripted policy's success (takes minutes).
    """
    import envs_mjx
    from crl_jax.play import render as films

    _positive(episodes=episodes)
    _drawable(width, height)
    _seed(seed)
    console, size = Console(), (width, height)
    if sheet:
        path = films.draw_sheet(sheet, Console(stderr=True))
    elif target in envs_mjx.names():
        films.refuse({"step": step, "number": number}, f"{target} is a task")
        with filming(console):
            engine = physics or ("c" if envs_mjx.needs_engine(target) else "auto")
            path = films.film_task(target, out, policy, episodes, seed, size, camera, engine)
    else:
        films.refuse({"policy": policy, "physics": physics}, f"{target or 'nothing'} is no task")
        films.require_run(target)
        with filming(console) as told:
            path = films.film_run(Path(target), step, out, episodes, seed, size, camera, told, number)
    console.print(str(path), highlight=False, soft_wrap=True)
    return 0


def record(
    task: tyro.conf.Positional[str],
    /,
    out: Path,
    policy: str = "scripted",
    episodes: int = 200,
    noise: float = 0.0,
    seed: int = 1,
    goal: Literal["object", "hand_object", "object_relative", "auto"] | None = None,
    action_repeat: int | None = None,
    control: Literal["hold", "waypoint"] | None = None,
    horizon: int | None = None,
    physics: Literal["auto", "c", "warp", "jax"] | None = None,
    obs: Literal["state", "pixels"] | None = None,
    picture_size: int | None = None,
    camera: str | None = None,
) -> int:
    """Play a policy and keep its trajectories in Minari's layout, for `crl train TASK --data OUT [--offline]`.

    Args:
        task: A task of `crl envs`.
        out: New folder.
        policy: scripted (Meta-World's own), random, or the folder of a run, whose settings are then taken.
        episodes: Fresh episodes, each to its horizon.
        noise: Standard deviation of Gaussian noise on the actions, which lie in [-1, 1].
        seed: Seed of starts, goals, noise and actions.
        goal: Goal contract, auto by default; a run that learns from the data must have the same.
        action_repeat: Env steps of each action, 1 by default; a run that learns from the data must have the same.
        control: What an action is: a held command (by default), or a place for the hand; a run must have the same.
        horizon: Env steps of an episode; the task's own by default.
        physics: Engine; auto, the default: warp on CUDA, else c.
        obs: state (by default), or pixels: pictures, of goals too.
        picture_size: Side of the pictures in pixels, 64 by default.
        camera: Camera of the pictures; the task's own by default.
    """
    import sys

    from crl_jax.play.record import record as play

    console = Console()
    _positive(episodes=episodes)
    _seed(seed)
    require(noise >= 0, "noise", noise, "must be 0 or more")
    asked = {"goal": goal, "action_repeat": action_repeat, "control": control, "horizon": horizon}
    seen = {"obs": obs, "picture_size": picture_size, "camera": camera}
    config, acts = _recorded(task, policy, episodes, {**asked, "physics": physics, **seen}, console)
    config.validate()
    command = " ".join(["crl", *sys.argv[1:]])
    with doing(f"{episodes} episodes of {task} ...", console) as told:
        folder, share = play(out, config, acts, episodes, noise, seed, command, lambda done: told(f"{done} played"))
    console.print(
        f"{folder}: {episodes} episodes, {share:.0%} in success at their end", highlight=False, soft_wrap=True
    )
    return 0


def _recorded(
    task: str, policy: str, episodes: int, asked: Mapping[str, Any], console: Console
) -> tuple[EnvConfig, str | Trained]:
    """The environments to record, and the policy: its name, or that of a run with the run's own environments.

    Args:
        asked: fields of the environments; None where the option was not given.

    Raises:
        ConfigError: no such policy, the run learned another task, or an option that would not be read.
        CheckpointError: no run or checkpoint there.
    """
    from crl_jax.config import ConfigError, EnvConfig
    from crl_jax.play import policy as policies
    from crl_jax.play import render as films
    from envs_mjx import film, require_one

    require_one(task)
    if policy in film.POLICIES:
        film.policy_of(task, policy)
        if asked["obs"] != "pixels":
            films.refuse({name: asked[name] for name in ("picture_size", "camera")}, "it is for --obs pixels alone")
        given: dict[str, Any] = {"goal": "auto", **{name: value for name, value in asked.items() if value is not None}}
        return EnvConfig(task, episodes, **given), policy
    if not Path(policy).is_dir():
        raise ConfigError(f"policy={policy!r}: scripted, random, or the folder of a run wanted")
    films.refuse(asked, "a run is recorded with its own settings")
    with doing("Loading the policy ...", console):
        trained = policies.load(Path(policy))
    config = trained.config.env
    require(config.task == task, "task", task, f"{policy} learned {config.task}")
    return config, trained


def demo(
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
    """Play a trained policy that ships with the package: its success on fresh episodes, and a window or a film.

    Args:
        task: One of --list.
        list: List the policies that ship, with the success of each and the run that made it.
        episodes: Fresh episodes to film, one after another.
        seed: Seed of starts and goals.
        out: Write this mp4. By default a window opens; where there is no display, demo-TASK.mp4 is written.
        width: Pixels.
        height: Pixels.
        camera: close, or a camera of the scene: corner, corner2, corner3, topview, behindGripper, gripperPOV.
    """
    from crl_jax.play import policy, shipped, window
    from crl_jax.play import render as films

    console = Console()
    if list or not task:
        _show_shipped(console)
        return 0
    _positive(episodes=episodes)
    _drawable(width, height)
    _seed(seed)
    about, path = shipped.about(task), films.checked(out or Path(f"demo-{task}.mp4"), ".mp4")
    console.print(f"{task}: trained for {about.env_steps:,} env steps without a reward", highlight=False)
    with doing("Loading the policy ...", console):
        trained = shipped.load(task)
        policy.check_view(trained, camera)
    with doing("128 fresh episodes ...", console):
        found = policy.score(trained, 128, seed)
    console.print(f"success at the last step of 128 fresh episodes: {found['success_final']:.0%}", highlight=False)
    if out is None and not window.why_not():
        _open_window(task, "demo", seed, None, console)
        return 0
    with filming(console) as told:
        policy.film(trained, path, episodes, seed, (width, height), camera, told=told)
    console.print(str(path), highlight=False, soft_wrap=True)
    return 0


def view(
    target: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="RUN|TASK")]],
    /,
    policy: Literal["demo", "scripted", "random"] | None = None,
    seed: int = 1,
    window: bool = False,
    host: str = "localhost",
    port: int = 8080,
    number: int | None = None,
) -> int:
    """Watch a policy live in the browser: pause, speed, next episode, and goals that you command by sliders.

    Args:
        target: Folder of a run, or a task of Meta-World.
        policy: For a task: demo (the policy that ships), scripted or random; by default the first that there is.
        seed: Seed of starts and goals.
        window: Open MuJoCo's own viewer instead of a page; keys command the goals. Needs a display.
        host: Address to serve at; 0.0.0.0 lets other machines in.
        port: Port; the next free one if it is taken.
        number: For a run of several tasks: which one, counted from 0.
    """
    from crl_jax.play.browser import serve
    from crl_jax.play.session import Session
    from crl_jax.runs import stop_on_signals

    require(1 <= port <= 65535, "port", port, "must lie in 1 ... 65535; nearest: 8080")
    _seed(seed)
    check_host(host)
    console = Console()
    if window:
        _open_window(target, policy, seed, number, console)
        return 0
    with doing("Loading and compiling ...", console):
        session = Session(target, policy, seed, number)
    with stop_on_signals() as stop:
        stop.under_way = None
        serve(session, host, port, lambda line: console.print(line, soft_wrap=True), lambda: bool(stop.signal))
    return 0


def _open_window(target: str, policy: str | None, seed: int, number: int | None, console: Console) -> None:
    """Show a session in MuJoCo's own viewer until it is closed."""
    from crl_jax.play import window
    from crl_jax.play.session import Session
    from crl_jax.runs import stop_on_signals

    window.require_display()
    with doing("Loading and compiling ...", console):
        session = Session(target, policy, seed, number)
    console.print("A window is open; close it, or press Ctrl-C, to end.", highlight=False)
    with stop_on_signals() as stop:
        stop.under_way = None
        window.show(session, lambda: bool(stop.signal))


def _show_shipped(console: Console) -> None:
    """Print a table of the policies that ship."""
    from crl_jax.play import shipped

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for title in ("task", "success", "official", "env steps"):
        table.add_column(title, justify="left" if title == "task" else "right", no_wrap=True)
    for task in shipped.names():
        one = shipped.about(task)
        steps = f"{one.env_steps:,}"
        table.add_row(task, f"{one.success:.2f}", f"{one.official:.2f}", steps)
    console.print(table)
    console.print("`crl demo TASK` plays one. Success: last step of 512 fresh episodes.", highlight=False)
    console.print("Official: the same in the official Meta-World package, 100 episodes.", highlight=False)
