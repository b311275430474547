"""Tasks by name: `make("push", num_envs=512)`."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from envs_mjx import locomotion
from envs_mjx.base import EnvError, GoalEnv
from envs_mjx.mazes.point import MAZES, RADIUS, PointMaze
from envs_mjx.metaworld import splits
from envs_mjx.metaworld.faithful import doubt
from envs_mjx.metaworld.single_goal import SINGLE_GOAL
from envs_mjx.metaworld.tasks import TASKS
from envs_mjx.physics import ENGINES, resolve
from envs_mjx.pictures.pictured import Pictured
from envs_mjx.pictures.render import DEFAULT_CAMERA
from envs_mjx.repeated import Repeated
from envs_mjx.robotics import tasks as fetch
from envs_mjx.robotics.maze import MAZES as MUJOCO_MAZES
from envs_mjx.robotics.maze import MujocoMaze
from envs_mjx.together import Together

if TYPE_CHECKING:
    from envs_mjx.metaworld.audit import Audited

SPLITS: dict[str, tuple[str, ...]] = {
    "mt10": splits.MT10,
    "mt25": splits.MT25,
    "mt50": splits.MT50,
    "cw10": splits.CW10,
    "cw20": splits.CW20,
}
"""Benchmark -> its tasks in the official order. mt...: of Meta-World; cw...: of Continual World."""
JOINED = "+"
"""Between the names of tasks that one policy learns at once: "push+reach"."""
HORIZON = 150
_OWN_HORIZON = (
    {maze.name: maze.horizon for maze in MAZES.values()}
    | {row.name: row.horizon for row in locomotion.TASKS.values()}
    | dict.fromkeys(fetch.TASKS, fetch.HORIZON)
    | {maze.name: maze.horizon for maze in MUJOCO_MAZES.values()}
)
"""Task -> horizon, for the tasks outside Meta-World."""


GROUPS: dict[str, tuple[str, ...]] = {
    "metaworld": tuple(TASKS),
    "single-goal": tuple(SINGLE_GOAL),
    "mazes": tuple(maze.name for maze in MAZES.values()),
    "bodies": tuple(locomotion.TASKS),
    "robotics": (*fetch.TASKS, *MUJOCO_MAZES),
}
"""Kind of task -> its tasks."""


def names() -> tuple[str, ...]:
    """Every task that `make` knows."""
    return (*TASKS, *SINGLE_GOAL, *_OWN_HORIZON)


def tasks_of(task: str) -> tuple[str, ...]:
    """The tasks that a name stands for: mt10, mt25, mt50 or "push+reach" for several, learned at once by one policy."""
    return SPLITS[task] if task in SPLITS and task.startswith("mt") else tuple(task.split(JOINED))


def require_one(task: str) -> None:
    """Raise EnvError for a name of several tasks, where one is wanted; the message names them."""
    tasks = tasks_of(task)
    if len(tasks) > 1:
        shown = ", ".join((*tasks[:6], *["..."] * (len(tasks) > 6)))
        raise EnvError(f"task={task!r}: several tasks at once are for `crl train`; name one: {shown}")


def version(task: str) -> int:
    """Version of a task's Gymnasium id: the official one for Meta-World and Gymnasium-Robotics, 0 for the others."""
    if task in fetch.TASKS:
        return fetch.VERSION
    return 0 if task in _OWN_HORIZON and task not in MUJOCO_MAZES else 3


def needs_engine(task: str) -> bool:
    """Whether a task is a Meta-World scene and so needs one of `ENGINES`."""
    return task not in _OWN_HORIZON


def contract_of(task: str, goal: str = "auto") -> str:
    """Name of the goal contract that `goal` selects for a task; mazes and bodies return `goal` unchanged."""
    if task in fetch.TASKS:
        from envs_mjx.robotics.fetch import contract

        return contract(fetch.TASKS[task], goal)
    row = (TASKS | SINGLE_GOAL).get(task)
    return row.contract(goal) if row else goal


def engine_of(task: str, physics: str = "auto") -> str:
    """The engine that `physics` selects for a known task, checked against this machine.

    "auto": warp on CUDA, else c. For bodies with motors, "auto" is the engine of their published results. Point mazes
    need no engine: `physics` is only checked.

    Raises:
        EnvError: no such engine, or the task does not run on it.
    """
    task, *others = tasks_of(task)
    if others:
        found = {engine_of(one, physics) for one in (task, *others)}
        if len(found) > 1:
            raise EnvError(f"tasks on different engines ({', '.join(sorted(found))}); take tasks of one robot")
        return found.pop()
    row = locomotion.TASKS.get(task)
    if row is None and task not in GROUPS["robotics"]:
        return resolve(physics)
    if physics == "auto":
        return row.backend if row else resolve(physics)
    engines = row.engines if row else fetch.ENGINES
    if physics not in engines:
        near = difflib.get_close_matches(physics, engines, n=1, cutoff=0.5)
        hint = f"nearest: {near[0]!r}; " if near else ""
        raise EnvError(f"physics={physics!r}: {task} does not run there; {hint}one of {', '.join(engines)}")
    return resolve(physics) if physics in ENGINES else physics


def control_of(task: str, control: str, action_repeat: int) -> str:
    """What `control` selects for a task: "auto" is its row's, see `TaskSpec.control`; elsewhere "hold".

    Several tasks at once keep "auto": each has its own row's.
    """
    if control != "auto" or len(tasks_of(task)) > 1:
        return control
    row = (TASKS | SINGLE_GOAL).get(task)
    return row.control if row and action_repeat > 1 else "hold"


def camera_of(task: str) -> str:
    """The camera through which a task of Meta-World or Fetch is seen where none is named."""
    return fetch.CAMERA if task in fetch.TASKS else DEFAULT_CAMERA


def in_jax(task: str, engine: str) -> bool:
    """Whether a task on an engine is pure JAX and so works under `jax.vmap`: point mazes, Brax, MJX."""
    return all(one in MAZES for one in tasks_of(task)) or engine not in ("c", "warp")


def horizon_of(task: str) -> int:
    """Default env steps of an episode: the task's own, or 150 ("A Single Goal is All You Need"; officially 500)."""
    return _OWN_HORIZON.get(tasks_of(task)[0], HORIZON)


def check_task(task: str, obs: str = "state") -> None:
    """Raise for an unknown task, or pictures of a task that has none; builds nothing, and asks JAX for no device.

    Raises:
        EnvError: one line with the nearest names or the alternative.
    """
    task, *others = tasks_of(task)
    if others:
        for one in (task, *others):
            check_task(one)
        if len({task, *others}) <= len(others):
            raise EnvError(f"task={JOINED.join((task, *others))!r}: a task is named twice")
        if obs != "state":
            raise EnvError(f"obs={obs!r}: several tasks are learned at once from states; take obs='state'")
    if task not in names():
        lower = {name.lower(): name for name in names()}
        near = ", ".join(lower[name] for name in difflib.get_close_matches(task.lower(), lower, n=3, cutoff=0.0))
        raise EnvError(f"task={task!r}: no such task; nearest: {near} (`crl envs` lists all)")
    if obs not in ("state", "pixels"):
        raise EnvError(f"obs={obs!r}: no such observation; one of state, pixels")
    if task in _OWN_HORIZON and task not in fetch.TASKS and obs == "pixels":
        raise EnvError(f"obs='pixels': {task} is no scene of Meta-World or Fetch; take obs='state'")


def check(task: str, engine: str = "auto", allow_unfaithful: bool = False, obs: str = "state") -> None:
    """Raise as `check_task`, and for an engine that cannot run here or is not faithful; builds nothing.

    Raises:
        EnvError: one line with the nearest names, or with the reason and the alternative.
    """
    check_task(task, obs)
    engine = engine_of(task, engine)
    if len(tasks_of(task)) > 1:
        for one in tasks_of(task):
            check(one, engine, allow_unfaithful)
        return
    reason = "" if allow_unfaithful or task in _OWN_HORIZON else doubt(task, engine)
    if reason:
        others = " or ".join(repr(other) for other in ENGINES if not doubt(task, other))
        raise EnvError(
            f"physics={engine!r}: {task} is not faithful there: {reason}; take physics={others}, or allow it all the"
            " same: allow_unfaithful=True (--allow-unfaithful)"
        )


def make(
    task: str,
    num_envs: int = 1,
    *,
    physics: str = "auto",
    goal: str = "hand_object",
    horizon: int | None = None,
    action_repeat: int = 1,
    control: str = "hold",
    threads: int = 0,
    reward: bool = True,
    naconmax: int = 0,
    njmax: int = 0,
    cached_reset: bool = False,
    obs: str = "state",
    width: int = 84,
    height: int = 84,
    camera: str = "",
    allow_unfaithful: bool = False,
) -> GoalEnv:
    """Build `num_envs` environments of a task on an engine.

    Args:
        task: a name of `names()`, or several at once, see `tasks_of`: equally many environments each, `together.py`.
        num_envs: E.
        physics: "auto", "c", "warp" or "jax", see `engine_of`. Bodies with motors (ant, ...) also run on Brax's
            "spring", "generalized" and "mjx". Engines differ in physics: never put two engines in one table.
        goal: goal contract: "object", "hand_object", "object_relative" or "auto". Tasks outside Meta-World and
            Fetch have one contract and ignore this.
        horizon: env steps of an episode; None takes `horizon_of(task)`.
        action_repeat: env steps for which each action is held. Steps of the environment, `State.time` and
            `spec.horizon` then count decisions, see `envs_mjx.repeated`.
        control: what the action of a decision is: "hold", "waypoint" (Meta-World, Fetch) or "auto", see `control_of`.
        threads: threads of the C engine; 0 takes every core.
        reward: add Meta-World's dense reward of each step (0 to 10) to `State.metrics`, as `official_reward`.
        naconmax, njmax: buffer sizes of engine "warp": contacts of all environments, constraint rows of each one. 0
            takes 64 contacts per environment and 256 rows. Metrics `naconmax_used`, `njmax_used`: the largest use.
        cached_reset: every episode of an environment begins at its first start and goal, as in JaxGCRL; only for
            bodies with motors.
        obs: "state", or "pixels" (engines "c" and "warp"; Meta-World and Fetch): observations and goals are pictures,
            see `envs_mjx.pictures.pictured`.
        width, height, camera: size of the pictures in pixels, and a camera of the scene; "": `camera_of(task)`.
        allow_unfaithful: build the task even on an engine that is not faithful for it (`faithful.py`).

    Raises:
        EnvError: unknown task, engine or goal contract, engine not faithful, or bad numbers, in one line.
    """
    check(task, physics, allow_unfaithful, obs)
    horizon = horizon_of(task) if horizon is None else horizon
    _refuse(task, num_envs, horizon, action_repeat, cached_reset)
    if obs == "pixels" and engine_of(task, physics) == "jax":
        raise EnvError("obs='pixels': physics='jax' draws no pictures; take physics='c' or 'warp'")
    engine, seen = engine_of(task, physics), obs == "pixels"
    if len(tasks_of(task)) > 1:
        settings = {"physics": physics, "goal": goal, "horizon": horizon, "action_repeat": action_repeat}
        settings |= {"control": control, "threads": threads, "reward": reward, "naconmax": naconmax, "njmax": njmax}
        return _together(tasks_of(task), num_envs, settings | {"allow_unfaithful": allow_unfaithful})
    env: GoalEnv
    if task in locomotion.TASKS:
        from envs_mjx.locomotion.grasp import make_body

        env = make_body(locomotion.TASKS[task], num_envs, engine, horizon, threads, naconmax, njmax, cached_reset)
    elif task in MAZES:
        env = PointMaze(MAZES[task], num_envs, horizon)
    elif task in MUJOCO_MAZES:
        env = MujocoMaze(MUJOCO_MAZES[task], num_envs, engine, horizon, threads, naconmax, njmax)
    elif task in fetch.TASKS:
        from envs_mjx.robotics.fetch import Fetch

        env = Fetch(fetch.TASKS[task], num_envs, engine, goal, horizon, threads, naconmax, njmax, posed=seen)
    else:
        from envs_mjx.metaworld.env import MetaWorld

        row = (TASKS | SINGLE_GOAL)[task]
        env = MetaWorld(row, num_envs, engine, goal, horizon, threads, reward, naconmax, njmax, posed=seen)
    env = Repeated(env, action_repeat, control) if action_repeat > 1 or control not in ("hold", "auto") else env
    return Pictured(env, width, height, camera or camera_of(task)) if seen else env


def _together(tasks: tuple[str, ...], num_envs: int, settings: dict[str, Any]) -> Together:
    """Environments of several tasks, equally many of each; `settings` are those of `make`."""
    if num_envs % len(tasks):
        near = max(round(num_envs / len(tasks)), 1) * len(tasks)
        raise EnvError(f"num_envs={num_envs}: {len(tasks)} tasks take a multiple of that; nearest: {near}")
    return Together([make(task, num_envs // len(tasks), **settings) for task in tasks], tasks)


def _refuse(task: str, num_envs: int, horizon: int, action_repeat: int, cached_reset: bool) -> None:
    """Raise EnvError for bad numbers and for settings that the task does not support."""
    if num_envs < 1 or horizon < 1:
        raise EnvError(f"num_envs={num_envs}, horizon={horizon}: both must be at least 1")
    if not isinstance(action_repeat, int) or action_repeat < 1 or horizon % action_repeat:
        raise EnvError(f"action_repeat={action_repeat}: must be at least 1 and divide horizon={horizon}")
    if cached_reset and task not in locomotion.TASKS:
        raise EnvError(f"cached_reset=True: {task} was never so published; only bodies with motors have it (ant, ...)")


def score_official(
    env: GoalEnv, act: Callable[[Any, Any], Any], episodes: int, horizon: int, seed: int
) -> dict[str, float]:
    """Success of a policy in the official Meta-World package, see `metaworld.official.zero_shot`.

    Raises:
        EnvError: `env` is not a Meta-World task, or bad numbers.
    """
    from envs_mjx.metaworld.official import zero_shot

    if isinstance(env, Repeated):
        return zero_shot(env.env, act, episodes, horizon, seed, env.repeat, env.control)
    return zero_shot(env, act, episodes, horizon, seed)


def audit(task: str) -> Audited:
    """What a Meta-World task commands, against what its scripted policy achieves, see `metaworld.audit`.

    Raises:
        EnvError: no such task, or none of Meta-World's 50.
    """
    check(task, "c")
    if task not in TASKS:
        raise EnvError(f"task={task!r}: the official package has no scripted policy for it; one of crl envs' first 50")
    from envs_mjx.metaworld.audit import audit as run

    return run(task)


@dataclass(frozen=True)
class Description:
    """A task's row in `crl envs`: sizes, horizon, native success rule, engines, and engines that are not faithful."""

    name: str
    obs_size: int
    goal_size: int
    action_size: int
    horizon: int
    success: str
    engines: tuple[str, ...]
    unfaithful: tuple[str, ...] = ()


def describe(task: str, goal: str = "hand_object", horizon: int | None = None) -> Description:
    """Describes a task. Sizes come from `jax.eval_shape` or a body's model; nothing is compiled or stepped.

    Raises:
        EnvError: unknown task or goal contract.
    """
    import jax
    import jax.numpy as jnp

    from envs_mjx.metaworld.goals import contract, goal_of
    from envs_mjx.metaworld.layout import compact_state, layout
    from envs_mjx.physics.base import MocapControl, blank_readout

    require_one(task)
    check(task, "c")
    horizon = horizon_of(task) if horizon is None else horizon
    if task in locomotion.TASKS:
        from envs_mjx.locomotion.env import sizes as sizes_of

        body = locomotion.TASKS[task]
        return Description(task, *sizes_of(body), horizon, f"distance < {body.radius:g} m", body.engines)
    if task in fetch.TASKS:
        from envs_mjx.robotics.fetch import goal_size

        one = fetch.TASKS[task]
        sizes = (one.obs_size, goal_size(one, goal), 4)
        return Description(task, *sizes, horizon, f"distance < {fetch.RADIUS}", fetch.ENGINES)
    if task in MUJOCO_MAZES:
        return Description(task, 4, 2, 2, horizon, f"distance <= {MujocoMaze.radius}", fetch.ENGINES)
    if task in MAZES:
        spec = PointMaze(MAZES[task], 1, horizon).spec
        sizes = (spec.obs_size, spec.goal_size, spec.action_size)
        return Description(task, *sizes, horizon, f"distance < {RADIUS:g}", ("none needed",))
    row = (TASKS | SINGLE_GOAL)[task]
    goal, places = contract(row, goal), layout(row)
    obs = jax.eval_shape(lambda: compact_state(row, places, blank_readout(places.parts, 1)))
    aim = jax.eval_shape(lambda: goal_of(row, goal, jnp.zeros((1, 3))))
    sizes = (obs.shape[-1], aim.shape[-1], MocapControl.action_size)
    unfaithful = tuple(engine for engine in ENGINES if doubt(task, engine))
    return Description(task, *sizes, horizon, row.success_rule, ENGINES, unfaithful)
