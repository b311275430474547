"""Env steps/s under random actions: official Meta-World in gymnasium's AsyncVectorEnv against our engine `c`.

The two sides take turns. Both run episodes of the same horizon and reset them within the measured time. The official
side runs with several numbers of worker processes, and its best result counts. Compilation and start-up are measured
separately.

Afterwards `benchmarks/env_scaling.py` prints a second table, engines by numbers of environments; it also runs alone.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks import common, env_scaling
from crl_jax.cli.options import script
from crl_jax.cli.progress import doing


@dataclass(frozen=True)
class Settings:
    """What is measured."""

    tasks: tuple[str, ...] = ("push-back", "window-close", "hammer")
    """Tasks, one after the other."""
    num_envs: int = 512
    """Number of environments on our side."""
    unroll: int = 250
    """Env steps of each of our environments in one measurement."""
    official_steps: int = 1000
    """Env steps of each official environment in one measurement (two episodes)."""
    horizon: int = 500
    """Env steps of an episode, on both sides."""
    repeats: int = 5
    """Measurements of each side, in turn; medians are reported."""
    workers: tuple[int, ...] = ()
    """Numbers of worker processes to try on the official side; empty: the number of cores, and twice that."""
    scaling: bool = True
    """Also run `env_scaling` with its defaults."""


def official_case(task: str, workers: int, steps: int, horizon: int) -> tuple[Callable[[], None], Callable[[], None]]:
    """(measure, close) for `workers` official environments, each in a process of its own."""
    import gymnasium

    from envs_mjx.metaworld.official import make_official

    makers = [functools.partial(make_official, task, None, seed, horizon) for seed in range(workers)]
    envs = gymnasium.vector.AsyncVectorEnv(makers, context="spawn")
    envs.reset()
    generator = np.random.default_rng(0)
    actions = generator.uniform(-1, 1, (steps, workers, 4)).astype(np.float32)

    def measure() -> None:
        for action in actions:
            envs.step(action)

    return measure, envs.close


def our_case(task: str, settings: Settings) -> tuple[Callable[[], Any], float]:
    """A function that runs one unroll of our engine inside jit and scan, and the seconds of its first call."""
    import jax

    from envs_mjx import make

    env = make(task, settings.num_envs, physics="c", horizon=settings.horizon)

    @jax.jit
    def unroll(state, key):
        def step(carry, key):
            state = env.step(carry, jax.random.uniform(key, (settings.num_envs, 4), minval=-1, maxval=1))
            return state, state.metrics["success"].mean()

        return jax.lax.scan(step, state, jax.random.split(key, settings.unroll))

    carried = {"state": jax.jit(env.reset)(jax.random.PRNGKey(0)), "key": jax.random.PRNGKey(1)}

    def measure() -> Any:
        carried["key"], key = jax.random.split(carried["key"])
        carried["state"], successes = unroll(carried["state"], key)
        return successes

    return measure, common.seconds(measure)


def measure_task(task: str, settings: Settings) -> dict[str, Any]:
    """One row: the median of each side, and their ratio. The sides take turns."""
    cores = os.cpu_count() or 1
    counts = settings.workers or (cores, 2 * cores)
    ours, first = our_case(task, settings)
    cases: dict[str, Callable[[], Any]] = {"ours": ours}
    closers = []
    try:
        for count in counts:
            cases[str(count)], close = official_case(task, count, settings.official_steps, settings.horizon)
            closers.append(close)
            cases[str(count)]()  # Warm-up.
        measured = common.interleaved(cases, settings.repeats)
    finally:
        for close in closers:
            close()
    rate = settings.num_envs * settings.unroll / common.median(measured.pop("ours"))
    official = {n: int(n) * settings.official_steps / common.median(took) for n, took in measured.items()}
    best = max(official, key=lambda count: official[count])
    return {
        "task": task,
        "official": official[best],
        "workers": int(best),
        "ours": rate,
        "ratio": rate / official[best],
        "first_call_s": first,
        "official_by_workers": official,
    }


def main(settings: Settings) -> None:
    """Measure, print, write results/env_throughput.json."""
    console, rows = Console(stderr=True), []
    for task in settings.tasks:
        with doing(f"{task}: official and ours in turn", console):
            rows.append(measure_task(task, settings))
    titles = ["task", "official, env steps/s", "processes", "ours, env steps/s", "ratio", "our first call, s"]
    table = [
        [
            row["task"],
            f"{row['official']:,.0f}",
            str(row["workers"]),
            f"{row['ours']:,.0f}",
            f"{row['ratio']:.1f}",
            f"{row['first_call_s']:.1f}",
        ]
        for row in rows
    ]
    common.publish("env_throughput", titles, table, rows, asdict(settings))
    if settings.scaling:
        env_scaling.main(env_scaling.Settings())


if __name__ == "__main__":
    script(main, Settings, __doc__)
