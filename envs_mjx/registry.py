"""Tasks by name: `make("push", num_envs=512)`."""

from __future__ import annotations

import difflib

from envs_mjx.physics import resolve
from envs_mjx.base import EnvError, GoalEnv
from envs_mjx.tasks import TASKS


def names() -> tuple[str, ...]:
    """Every task that `make` knows."""
    return tuple(TASKS)


def check(task: str, engine: str = "auto") -> None:
    """Refuse an unknown task or an engine that this machine cannot run, without building anything.

    Raises:
        EnvError: one line with the nearest names, or the reason and the alternative.
    """
    if task not in TASKS:
        near = ", ".join(difflib.get_close_matches(task, TASKS, n=3, cutoff=0.3)) or ", ".join(TASKS)
        raise EnvError(f"task={task!r}: no such task; nearest: {near} (`crl envs` lists all)")
    resolve(engine)


def make(
    task: str,
    num_envs: int = 1,
    *,
    physics: str = "auto",
    goal: str = "hand_object",
    horizon: int = 150,
    threads: int = 0,
) -> GoalEnv:
    """Build `num_envs` environments of a task on an engine.

    Args:
        task: a name of `names()`.
        num_envs: E.
        physics: "auto" (warp on CUDA, else c), "c", "warp" or "jax".
        goal: goal contract: "object", "hand_object" or "object_relative".
        horizon: env steps of an episode.
        threads: threads of the C engine; 0 takes every core.

    Raises:
        EnvError: unknown task, engine or goal contract, or bad numbers, in one line.
    """
    check(task, physics)
    if num_envs < 1 or horizon < 1:
        raise EnvError(f"num_envs={num_envs}, horizon={horizon}: both must be at least 1")
    from envs_mjx.sawyer import MetaWorld

    return MetaWorld(TASKS[task], num_envs, resolve(physics), goal, horizon, threads)
