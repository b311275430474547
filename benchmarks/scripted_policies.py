"""Success of the official scripted policies in the official package and in our engine `c`, from the same starts.

This is a positive control: with wrong physics, observations or resets, the policies would fail. Our environments draw
the reset vectors, and both sides use them. An episode succeeds if the task's native predicate holds at any step. Each
task's row is written as soon as it is measured; `--missing` continues with the tasks that have no row yet.

Axis letters: E environments (one episode each), R reset vector.
"""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import time
import warnings
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks import common
from crl_jax.cli.options import script
from crl_jax.cli.progress import doing


@dataclass(frozen=True)
class Settings:
    """What is measured."""

    tasks: tuple[str, ...] = ()
    """Tasks; empty: all."""
    missing: bool = False
    """Measure only tasks without a row in results/scripted_policies.json."""
    episodes: int = 100
    """Episodes per task and side."""
    horizon: int = 500
    """Env steps of an episode."""
    seed: int = 0
    """Seed of the reset vectors."""
    workers: int = 0
    """Processes of the official side; 0: one per core."""


def official_successes(task: str, vectors: np.ndarray, horizon: int, model: Any = None) -> np.ndarray:
    """(E,) success at any step in the official package, in its own scene or in `model`; an episode ends at success."""
    import mujoco

    from envs_mjx.metaworld import official

    warnings.filterwarnings("ignore", message="Constant.s. may be too high")
    env, policy = official.make_official(task), official.scripted_policy(task)
    if model is not None:
        env.model, env.data = model, mujoco.MjData(model)
        env.reset_mocap_welds()
    successes = np.zeros(len(vectors), bool)
    for index, vector in enumerate(vectors):
        official.set_vector(env, vector)
        obs, _ = env.reset()
        for _ in range(horizon):
            action = np.clip(policy.get_action(obs.copy()), -1, 1).astype(np.float32)
            obs, _, _, _, info = env.step(action)
            if info["success"]:
                successes[index] = True
                break
    return successes


def draw_vectors(task: str, count: int, seed: int) -> np.ndarray:
    """(E, R) reset vectors as our environments draw them."""
    import jax

    from envs_mjx import make

    return np.asarray(make(task, count, physics="c").reset(jax.random.PRNGKey(seed)).vector)


def our_successes(task: str, vectors: np.ndarray, horizon: int) -> np.ndarray:
    """(E,) success at any step in E environments of our engine `c`, stepped together."""
    import jax

    from envs_mjx.metaworld import official
    from envs_mjx.metaworld.env import MetaWorld
    from envs_mjx.metaworld.tasks import TASKS

    env = MetaWorld(TASKS[task], len(vectors), "c", "object", horizon + 1)

    @jax.jit
    def begin(vectors):
        state = env.reset_to(vectors, jax.random.split(jax.random.PRNGKey(0), env.num_envs))
        return state, *official.observation(env.task, state.physics, None, state.target)

    @jax.jit
    def step(state, previous, action):
        state = env.step(state, action)
        return state, *official.observation(env.task, state.physics, previous, state.target)

    policy = official.scripted_policy(task)
    state, obs, previous = begin(vectors)
    successes = np.zeros(len(vectors), bool)
    for _ in range(horizon):
        state, obs, previous = step(state, previous, official.scripted_actions(policy, obs))
        successes |= np.asarray(state.success)
        if successes.all():
            break
    return successes


def measure_task(task: str, settings: Settings, pool: concurrent.futures.Executor, workers: int) -> dict[str, Any]:
    """One row: success in percent on both sides, from the same starts."""
    vectors = draw_vectors(task, settings.episodes, settings.seed)
    start = time.perf_counter()
    ours = our_successes(task, vectors, settings.horizon)
    middle = time.perf_counter()
    parts = np.array_split(vectors, workers)
    waiting = [pool.submit(official_successes, task, part, settings.horizon) for part in parts]
    theirs = np.concatenate([part.result() for part in waiting])
    return {
        "task": task,
        "official": float(100 * theirs.mean()),
        "ours": float(100 * ours.mean()),
        "difference": float(100 * (ours.mean() - theirs.mean())),
        "episodes": len(vectors),
        "episodes_that_differ": int((ours != theirs).sum()),
        "ours_s": middle - start,
        "official_s": time.perf_counter() - middle,
    }


def main(settings: Settings) -> None:
    """Measure, print, write results/scripted_policies.json; rows of other tasks stay."""
    from envs_mjx.metaworld.tasks import TASKS

    console, known = Console(stderr=True), tuple(TASKS)
    rows = {row["task"]: row for row in common.read_rows("scripted_policies")}
    tasks = [task for task in settings.tasks or known if not (settings.missing and task in rows)]
    workers = settings.workers or os.cpu_count() or 1
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, mp_context=context) as pool:
        for number, task in enumerate(tasks, 1):
            with doing(f"{number}/{len(tasks)} {task}", console):
                row = rows[task] = measure_task(task, settings, pool, workers)
            common.write("scripted_policies", _in_order(rows, known), asdict(settings))
            console.print(f"{task}: official {row['official']:.0f} %, ours {row['ours']:.0f} %")
    titles = ["task", "official %", "ours %", "points", "episodes", "differ"]
    keys = ("official", "ours", "difference", "episodes", "episodes_that_differ")
    table = [[row["task"], *(f"{row[key]:.0f}" for key in keys)] for row in _in_order(rows, known)]
    common.publish("scripted_policies", titles, table, _in_order(rows, known), asdict(settings))


def _in_order(rows: dict[str, dict[str, Any]], known: tuple[str, ...]) -> list[dict[str, Any]]:
    return [rows[name] for name in known if name in rows]


if __name__ == "__main__":
    script(main, Settings, __doc__)
