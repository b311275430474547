"""Time of one env step of engine `jax` on a CPU, with and without barriers between the levels of the body tree.

`crl bench jax_levels` measures the speed-up that envs_mjx/physics/tracing.py reports. Both forms are compiled first and
then take turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any
from unittest.mock import patch

import jax
import jax.numpy as jnp
from rich.console import Console

import envs_mjx
from benchmarks import common
from crl_jax.cli.options import script
from crl_jax.cli.progress import doing
from envs_mjx.physics import mjx


@dataclass(frozen=True)
class Settings:
    """What is measured."""

    task: str = "reach"
    """Task."""
    num_envs: int = 8
    """Environments."""
    repeats: int = 5
    """Timed env steps of each form; the median is reported."""


def uncared(impl: str) -> Any:
    """Stands in for `tracing.careful`: sets the precision only, as on other backends, and adds no barriers."""
    del impl
    return jax.default_matmul_precision("highest")


def compiled(settings: Settings, with_levels: bool) -> tuple[Callable[[], Any], float]:
    """A function that makes one env step, always from the same fresh state, and its compile seconds."""
    env = envs_mjx.make(settings.task, settings.num_envs, physics="jax", allow_unfaithful=True)
    state = jax.jit(env.reset)(jax.random.PRNGKey(0))
    action = jnp.zeros((settings.num_envs, env.spec.action_size))
    started = time.perf_counter()
    with nullcontext() if with_levels else patch.object(mjx, "careful", uncared):
        step = jax.jit(env.advance).lower(state, action).compile()
    return lambda: step(state, action), time.perf_counter() - started


def main(settings: Settings) -> int:
    """Compile both forms, time them in turn, print, write results/jax_levels.json."""
    if jax.default_backend() != "cpu":
        raise SystemExit(
            f"jax_levels: error: backend={jax.default_backend()!r}: the CPU's alone; set JAX_PLATFORMS=cpu"
        )
    console = Console(stderr=True)
    calls: dict[str, Callable[[], Any]] = {}
    compile_seconds: dict[str, float] = {}
    for name, with_levels in (("levels kept apart", True), ("MJX alone", False)):
        with doing(f"compiling: {name}", console):
            calls[name], compile_seconds[name] = compiled(settings, with_levels)
    common.interleaved(calls, 1)
    measured = common.interleaved(calls, settings.repeats)
    steps = {name: common.median(seconds) for name, seconds in measured.items()}
    rows = [{"form": name, "step_s": steps[name], "compile_s": compile_seconds[name]} for name in calls]
    fastest = min(steps.values())
    table = [
        [name, f"{1e3 * steps[name]:,.1f}", f"{steps[name] / fastest:,.0f}", f"{compile_seconds[name]:.0f}"]
        for name in calls
    ]
    common.publish("jax_levels", ["form", "ms per step", "x the faster", "compile, s"], table, rows, asdict(settings))
    return 0


if __name__ == "__main__":
    script(main, Settings, __doc__)
