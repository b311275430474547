"""Soak test: millions of env steps of random actions on engine `c`, with a count of everything that must not happen.

The tasks take turns, so that nothing is compiled while memory is measured. Each turn also breaks some simulations on
purpose (an object's velocity is set to NaN). The benchmark prints one line and exits with code 1 if

- an observation, a goal, a reward or another metric is not finite,
- a divergence is missed, or its environment is not restarted at once,
- an episode has the goal of the one before it in its environment, or a goal changes within an episode,
- resident memory grows by more than `memory_bound` after the warm-up.

Axis letters: T time, E environments, G goal.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import gc
import math
import os
import resource
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.progress import track

from benchmarks import common
from crl_jax.cli.options import script
from envs_mjx import State, make
from envs_mjx.metaworld import splits
from envs_mjx.metaworld.env import MetaWorld

COUNTS = ("env_steps", "episodes", "diverged", "planted")
FAULTS = {
    "not_finite": "values or states that are not finite",
    "missed": "broken simulations that were not noticed",
    "not_restarted": "ended or diverged episodes that were not restarted",
    "stale_goals": "episodes with the goal of the one before",
    "lost_goals": "goals that changed within an episode",
}
"""Count that must be 0 -> its name in messages."""


@dataclass(frozen=True)
class Settings:
    """How long, and on what."""

    tasks: tuple[str, ...] = splits.MT10
    """Tasks, in turns."""
    env_steps: int = 5_000_000
    """Least number of env steps, over all tasks."""
    num_envs: int = 512
    """Environments of each task."""
    unroll: int = 50
    """Env steps of one turn."""
    horizon: int = 150
    """Env steps of an episode."""
    planted: int = 1
    """Simulations broken on purpose at each turn."""
    warm_up: int = 2
    """Turns of every task before memory is first measured."""
    memory_bound: float = 16.0
    """MiB by which resident memory may grow from the warm-up to the end."""
    seed: int = 0
    """Seed of starts, goals and actions."""


class Steps(NamedTuple):
    """T env steps of E environments: values after the step and the auto-reset, (T, E, ...)."""

    finite: jax.Array
    diverged: jax.Array
    done: jax.Array
    time: jax.Array
    episode: jax.Array
    goal: jax.Array


class Before(NamedTuple):
    """Values before the first of T steps, (E, ...)."""

    time: Any
    episode: Any
    goal: Any


def make_unroll(env: MetaWorld, length: int) -> Callable[[State, jax.Array], tuple[State, Steps]]:
    """A jitted unroll of `length` steps under uniform random actions."""

    @jax.jit
    def unroll(state: State, key: jax.Array) -> tuple[State, Steps]:
        def step(state: State, key: jax.Array) -> tuple[State, Steps]:
            state = env.step(state, jax.random.uniform(key, (env.num_envs, env.spec.action_size), minval=-1, maxval=1))
            values = [state.obs, state.goal, state.target, state.start, *(m[:, None] for m in state.metrics.values())]
            finite = jnp.isfinite(jnp.concatenate(values, axis=-1)).all(axis=-1)
            diverged = state.metrics["diverged"] > 0
            return state, Steps(finite, diverged, state.done, state.time, state.episode, state.goal)

        return jax.lax.scan(step, state, jax.random.split(key, length))

    return unroll


def broken(env: MetaWorld, state: State, rows: np.ndarray) -> State:
    """The state with a NaN for the velocity of the last degree of freedom in simulations `rows`."""
    engine, nq, nv = state.physics.engine, env.scene.model.nq, env.scene.model.nv
    states = np.array(engine.state).view(np.float64)
    states[rows, 1 + nq + nv - 1] = np.nan  # A row begins with time, qpos, qvel.
    engine = engine.replace(state=jnp.asarray(states.view(np.uint32)))
    return state.replace(physics=state.physics.replace(engine=engine))


def judge(before: Before, planted: np.ndarray, steps: Steps, horizon: int) -> dict[str, int]:
    """`COUNTS` and `FAULTS` of T steps after `before`, where the simulations `planted` were broken on purpose."""
    finite, diverged, done, time, episode, goal = (np.asarray(part) for part in steps)
    earlier = np.concatenate([np.asarray(before.episode)[None], episode[:-1]])
    aims = np.concatenate([np.asarray(before.goal)[None], goal[:-1]])
    times = np.concatenate([np.asarray(before.time)[None], time[:-1]])
    restarted = done & (time == 0) & (episode == earlier + 1)
    same = (goal == aims).all(axis=-1)
    return {
        "env_steps": done.size,
        "episodes": int(done.sum()),
        "diverged": int(diverged.sum()),
        "planted": len(planted),
        "not_finite": int((~finite).sum()),
        "missed": int((~diverged[0, planted]).sum()),
        "not_restarted": int((((times + 1 >= horizon) | diverged) & ~restarted).sum()),
        "stale_goals": int((done & same).sum()),
        "lost_goals": int((~done & ~same).sum()),
    }


def resident() -> float:
    """Resident memory of this process in MiB, after glibc has returned freed memory; without /proc, the peak.

    The callbacks of many threads leave free memory in malloc's pools. The pools grow by some MiB over a soak, which is
    not a leak, so malloc_trim returns them to the system first.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class Soak:
    """One task: its environments, their current state, and the counts so far."""

    def __init__(self, task: str, settings: Settings):
        self.task, self.settings = task, settings
        env = make(task, settings.num_envs, physics="c", horizon=settings.horizon)
        assert isinstance(env, MetaWorld)
        self.env, self.unroll = env, make_unroll(env, settings.unroll)
        self.key, key = jax.random.split(jax.random.PRNGKey(settings.seed))
        self.state = jax.jit(env.reset)(key)
        self.generator = np.random.default_rng(settings.seed)
        self.counts: collections.Counter[str] = collections.Counter()
        self.goals = [np.array(self.state.goal)]

    def turn(self) -> None:
        """Break some simulations, step all of them, and add to the counts."""
        settings = self.settings
        planted = self.generator.choice(settings.num_envs, settings.planted, replace=False)
        before = broken(self.env, self.state, planted)
        self.key, key = jax.random.split(self.key)
        self.state, steps = self.unroll(before, key)
        self.counts.update(judge(Before(before.time, before.episode, before.goal), planted, steps, settings.horizon))
        rows = np.asarray(self.state.physics.engine.state).view(np.float64)
        self.counts["not_finite"] += int((~np.isfinite(rows)).any(axis=1).sum())
        self.goals.append(np.asarray(steps.goal)[np.asarray(steps.done)])

    def row(self) -> dict[str, Any]:
        """The task's counts, and the number of goals and distinct goals over all started episodes."""
        goals = np.concatenate(self.goals)
        return {
            "task": self.task,
            **{name: self.counts[name] for name in (*COUNTS, *FAULTS)},
            "goals": len(goals),
            "distinct_goals": len(np.unique(goals, axis=0)),
        }


def soak(settings: Settings) -> tuple[list[dict[str, Any]], list[float]]:
    """One row per task, and resident memory (MiB) after the warm-up and after each later turn of all tasks."""
    turns = math.ceil(settings.env_steps / (len(settings.tasks) * settings.num_envs * settings.unroll))
    if turns <= settings.warm_up:
        raise SystemExit(
            f"soak: env_steps={settings.env_steps}: {turns} turns, more than warm_up={settings.warm_up} wanted"
        )
    console, memory = Console(stderr=True), []
    # MuJoCo logs divergences to MUJOCO_LOG.TXT in the working directory.
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        soaks = [Soak(task, settings) for task in track(settings.tasks, "building", console=console)]
        for turn in track(range(turns), "soaking", console=console):
            for one in soaks:
                one.turn()
            if turn + 1 >= settings.warm_up:
                memory.append(resident())
    return [one.row() for one in soaks], memory


def faults(rows: list[dict[str, Any]], memory: list[float], bound: float) -> list[str]:
    """Messages about faults; empty if there are none."""
    found = [f"{row['task']}: {row[name]} {words}" for row in rows for name, words in FAULTS.items() if row[name]]
    grown = memory[-1] - memory[0]
    return [*found, f"memory grew by {grown:.1f} MiB, {bound:g} allowed"] if grown > bound else found


def main(settings: Settings) -> int:
    """Soak, print, write results/soak.json.

    Returns:
        0; or 1 after one line that names the faults.
    """
    rows, memory = soak(settings)
    titles = ["task", "env steps", "episodes", "goals", "distinct", "diverged", "planted", "faults"]
    keys = ("env_steps", "episodes", "goals", "distinct_goals", "diverged", "planted")
    table = [[row["task"], *(f"{row[key]:,}" for key in keys), str(sum(row[name] for name in FAULTS))] for row in rows]
    content = [*rows, {"memory_mib": memory, "grown_mib": memory[-1] - memory[0]}]
    common.publish("soak", titles, table, content, asdict(settings))
    print(f"{sum(row['env_steps'] for row in rows):,} env steps; memory {memory[0]:.0f} -> {memory[-1]:.0f} MiB")
    wrong = faults(rows, memory, settings.memory_bound)
    if wrong:
        print(f"soak: {'; '.join(wrong)}", file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    script(main, Settings, __doc__)
