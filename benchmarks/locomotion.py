"""Env steps/s of the locomotion tasks on engine `c` and on the Brax backend of their published results.

`crl bench locomotion`: random actions, with auto-reset. Both engines are compiled first and then take turns. Their
physics differ, so this compares the cost of an env step only, not learning.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console

from benchmarks import common
from crl_jax.cli.options import script
from crl_jax.cli.progress import doing


@dataclass(frozen=True)
class Settings:
    """What is measured."""

    tasks: tuple[str, ...] = ("ant", "ant_u_maze")
    """Tasks of `crl envs` that run on engine c."""
    num_envs: int = 256
    """Environments on each engine."""
    unroll: int = 50
    """Env steps of one measurement."""
    repeats: int = 5
    """Measurements of each engine, in turn; the median is reported."""


def case(task: str, physics: str, settings: Settings) -> tuple[Callable[[], Any], float]:
    """A function that runs one unroll, and the seconds of its first call."""
    import jax

    from envs_mjx import make

    env = make(task, settings.num_envs, physics=physics)
    shape = (settings.num_envs, env.spec.action_size)

    @jax.jit
    def unroll(state: Any, key: jax.Array) -> Any:
        def step(state: Any, key: jax.Array) -> Any:
            state = env.step(state, jax.random.uniform(key, shape, minval=-1, maxval=1))
            return state, state.metrics["distance"].mean()

        return jax.lax.scan(step, state, jax.random.split(key, settings.unroll))

    carried = {"state": jax.jit(env.reset)(jax.random.PRNGKey(0)), "key": jax.random.PRNGKey(1)}

    def measure() -> Any:
        carried["key"], key = jax.random.split(carried["key"])
        carried["state"], distances = unroll(carried["state"], key)
        return distances

    return measure, common.seconds(measure)


def measure_task(task: str, settings: Settings) -> dict[str, Any]:
    """One row: the median of each engine, and their ratio. The engines take turns."""
    from envs_mjx import engine_of

    published = engine_of(task)
    sides = {name: case(task, name, settings) for name in ("c", published)}
    measured = common.interleaved({name: run for name, (run, _) in sides.items()}, settings.repeats)
    env_steps = settings.num_envs * settings.unroll
    rates = {name: env_steps / common.median(took) for name, took in measured.items()}
    return {
        "task": task,
        "published": published,
        "c": rates["c"],
        "brax": rates[published],
        "ratio": rates["c"] / rates[published],
        "first_call_s": {name: first for name, (_, first) in sides.items()},
        "seconds": measured,
    }


def main(settings: Settings) -> None:
    """Measure, print, write results/locomotion.json."""
    console, rows = Console(stderr=True), []
    for task in settings.tasks:
        with doing(f"{task}: both engines in turn", console):
            rows.append(measure_task(task, settings))
    titles = ["task", "Brax's backend", "there, env steps/s", "c, env steps/s", "ratio"]
    table = [
        [row["task"], row["published"], f"{row['brax']:,.0f}", f"{row['c']:,.0f}", f"{row['ratio']:.1f}"]
        for row in rows
    ]
    common.publish("locomotion", titles, table, rows, asdict(settings))


if __name__ == "__main__":
    script(main, Settings, __doc__)
