"""Seconds from a fresh process to the first env step, without and with the caches of compiled programs.

Each start is a process of its own:

- "fresh": neither JAX's programs nor Warp's kernels are compiled.
- "no JAX cache": Warp's kernels are on disk, as from the second start on.
- "JAX cache": JAX's persistent compilation cache also holds the programs. This is the default of `crl`.

The table shows CPU seconds beside wall-clock seconds, because other work on the machine stretches only the latter.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import common
from crl_jax.cli.options import script
from crl_jax.cli.progress import doing

FRESH, KERNELS, CACHED = "fresh", "no JAX cache", "JAX cache"
STARTS = {"c": (KERNELS, CACHED), "warp": (FRESH, KERNELS, CACHED), "jax": (KERNELS, CACHED)}
"""Engine -> starts that differ on this engine. Only `warp` compiles kernels of its own."""


@dataclass(frozen=True)
class Settings:
    """What is measured."""

    cases: tuple[tuple[str, str], ...] = (("warp", "push"), ("jax", "reach"), ("c", "push"))
    """(engine, task) pairs."""
    num_envs: int = 16
    """Environments; compile time hardly depends on their number."""
    limit: float = 900
    """Seconds after which a process is killed and counts as not measured."""


def measure(engine: str, task: str, num_envs: int, **_: Any) -> dict[str, Any]:
    """In a fresh process: seconds of the build, the first reset and the first step, and hits in JAX's cache."""
    import jax

    from envs_mjx import make

    events: list[str] = []
    jax.monitoring.register_event_listener(lambda event, **_: events.append(event))
    cpu, marks = time.process_time(), [time.perf_counter()]
    env = make(task, num_envs, physics=engine, allow_unfaithful=True)
    marks.append(time.perf_counter())
    state = jax.block_until_ready(jax.jit(env.reset)(jax.random.PRNGKey(0)))
    marks.append(time.perf_counter())
    first_cpu = time.process_time()
    actions = jax.numpy.zeros((num_envs, env.spec.action_size))
    jax.block_until_ready(jax.jit(env.step)(state, actions))
    marks.append(time.perf_counter())
    spans = [later - earlier for earlier, later in itertools.pairwise(marks)]
    return {
        **dict(zip(("build_s", "reset_s", "step_s"), spans, strict=True)),
        "cpu_s": time.process_time() - cpu,
        "step_cpu_s": time.process_time() - first_cpu,
        "cache_hits": events.count("/jax/compilation_cache/cache_hits"),
    }


def measure_case(engine: str, task: str, settings: Settings) -> list[dict[str, Any]]:
    """One row per start of an engine. The first start fills the caches."""
    rows = []
    case = {"engine": engine, "task": task, "num_envs": settings.num_envs}
    with tempfile.TemporaryDirectory() as root:
        # Only engines with a fresh start get a cache of Warp's kernels of their own; the others use the user's cache.
        kernels = {"WARP_CACHE_PATH": str(Path(root) / "warp")} if FRESH in STARTS[engine] else {}
        cache = {
            "JAX_COMPILATION_CACHE_DIR": str(Path(root) / "xla"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_ENABLE_COMPILATION_CACHE": "true",
        }
        off = {"JAX_ENABLE_COMPILATION_CACHE": "false"}
        for index, start in enumerate(STARTS[engine]):
            # The first start finds JAX's cache empty and therefore compiles everything, as without a cache.
            environment = kernels | (off if start == KERNELS and index else cache)
            row = common.fresh_process("benchmarks.compile_time", case, settings.limit, **environment)
            rows.append({**row, "start": start})
    return rows


def main(settings: Settings) -> None:
    """Measure, print, write results/compile_time.json."""
    console, rows = Console(stderr=True), []
    for engine, task in settings.cases:
        with doing(f"{engine} {task}", console):
            rows += measure_case(engine, task, settings)
        common.write("compile_time", rows, asdict(settings))
    titles = [
        "engine",
        "task",
        "start",
        "build, s",
        "first reset, s",
        "first step, s",
        "step, CPU s",
        "CPU s",
        "hits",
    ]
    keys = ("build_s", "reset_s", "step_s", "step_cpu_s", "cpu_s")
    table = [
        [row["engine"], row["task"], row["start"]]
        + (
            [f"not measured: {row['not_measured']}", *[""] * 5]
            if "not_measured" in row
            else [*(f"{row[key]:.1f}" for key in keys), str(row["cache_hits"])]
        )
        for row in rows
    ]
    common.publish("compile_time", titles, table, rows, asdict(settings))


if __name__ == "__main__" and not common.serve(measure):
    script(main, Settings, __doc__)
