"""Env steps/s, memory and compile seconds of each engine at several numbers of environments, random actions.

Each case runs in a process of its own, so that its peak memory can be measured. CPU seconds are measured, too: env
steps per CPU second stay comparable when the machine does other work, env steps/s do not.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import common
from crl_jax.cli.options import script
from crl_jax.cli.progress import doing

FIGURE = Path(__file__).parent.parent / "docs" / "env_scaling.png"


@dataclass(frozen=True)
class Settings:
    """What is measured. On a GPU: `--engines warp jax --num-envs 512 2048 8192`; GPU results have their own column."""

    task: str = "push"
    """The task."""
    engines: tuple[str, ...] = ("c", "jax", "warp")
    """Engines."""
    num_envs: tuple[int, ...] = (64, 512, 4096)
    """Numbers of environments."""
    seconds: float = 10.0
    """Approximate length of one measurement in seconds; it makes at least one env step."""
    repeats: int = 3
    """Measurements; the median is reported."""
    limit: float = 120.0
    """Seconds that all measurements of a case may take. A case is not measured if one env step takes longer."""
    build_limit: float = 600.0
    """Additional seconds for the build, the first env step and its compilation."""


def measure(
    engine: str, task: str, num_envs: int, seconds: float, repeats: int, limit: float, **_: Any
) -> dict[str, Any]:
    """In a fresh process: build, compile, then measure `repeats` unrolls of about `seconds` each."""
    import jax

    from envs_mjx import make

    started, backend = time.perf_counter(), jax.default_backend()
    env = make(task, num_envs, physics=engine, allow_unfaithful=True)
    reset, key = jax.jit(env.reset), jax.random.PRNGKey(1)

    @jax.jit
    def unroll(state, length):
        """`length` is traced: one compilation serves every length."""

        def step(index, state):
            shape = (num_envs, env.spec.action_size)
            return env.step(state, jax.random.uniform(jax.random.fold_in(key, index), shape, minval=-1, maxval=1))

        return jax.lax.fori_loop(0, length, step, state)

    state = jax.block_until_ready(unroll(reset(jax.random.PRNGKey(0)), 1))
    first = time.perf_counter() - started
    one = common.seconds(lambda: unroll(state, 1))
    result = {"backend": backend, "first_step_s": first, "one_step_s": one, "compile_s": first - one}
    if one > limit:
        return result | common.peak_memory() | {"not_measured": f"one env step of all takes {one:.0f} s"}
    repeats = max(1, min(repeats, int(limit / max(one, seconds))))
    length = max(1, int(seconds / one))
    cpu = time.process_time()
    measured = [common.seconds(lambda: unroll(state, length)) for _ in range(repeats)]
    cpu = time.process_time() - cpu
    steps = num_envs * length
    return (
        result
        | common.peak_memory()
        | {
            "length": length,
            "repeats": repeats,
            "env_steps_per_s": steps / common.median(measured),
            "env_steps_per_cpu_s": steps * repeats / cpu,
            "cores_used": cpu / sum(measured),
        }
    )


def figure(rows: Sequence[Mapping[str, Any]], device: str, path: Path = FIGURE) -> Path:
    """Plot env steps/s against environments, a line for each engine; cases that were not measured are left out."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    drawing, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for engine in dict.fromkeys(row["engine"] for row in rows):
        points = [row for row in rows if row["engine"] == engine and "not_measured" not in row]
        for key, style, what in (
            ("env_steps_per_s", "o-", "per second"),
            ("env_steps_per_cpu_s", "x:", "per CPU second"),
        ):
            values = [row[key] for row in points]
            label = f"{engine}, {what}"
            axes.plot([row["num_envs"] for row in points], values, style, color=common.COLOURS.get(engine), label=label)
    axes.set(xlabel="environments", ylabel="env steps", title=device)
    common.by_doublings(axes, sorted({row["num_envs"] for row in rows}))
    path.parent.mkdir(exist_ok=True)
    drawing.savefig(path, dpi=120)
    pyplot.close(drawing)
    return path


def main(settings: Settings) -> None:
    """Measure, print, write results/env_scaling.json and the plot."""
    console, rows = Console(stderr=True), []
    shared = {key: getattr(settings, key) for key in ("task", "seconds", "repeats", "limit")}
    for engine in settings.engines:
        for num_envs in settings.num_envs:
            case = {"engine": engine, "num_envs": num_envs, **shared}
            with doing(f"{engine}, {num_envs} environments", console):
                rows.append(common.fresh_process("benchmarks.env_scaling", case, settings.build_limit + settings.limit))
            common.write("env_scaling", rows, asdict(settings))
    titles = ["engine", "envs", "env steps/s", "on a GPU", "per CPU s", "cores", "compile, s"]
    titles += ["resident, MiB", "device, MiB"]
    common.publish("env_scaling", titles, [_cells(row) for row in rows], rows, asdict(settings))
    title = f"{settings.task}: {common.here()}"
    console.print(f"written: {figure(rows, title)}")


def _cells(row: Mapping[str, Any]) -> list[str]:
    known = {
        "env_steps_per_s": "{:,.0f}",
        "env_steps_per_cpu_s": "{:,.0f}",
        "cores_used": "{:.2f}",
        "compile_s": "{:.1f}",
    }
    speed, *cells = [form.format(row[key]) if key in row else "not measured" for key, form in known.items()]
    if "not_measured" in row:
        speed = f"not measured: {row['not_measured']}"
    speeds = ["not measured", speed] if row.get("backend") == "gpu" else [speed, "not measured"]
    memory = [row.get(key) for key in ("resident_bytes", "device_bytes")]
    sizes = ["not measured" if size is None else f"{size / 2**20:,.0f}" for size in memory]
    return [row["engine"], str(row["num_envs"]), *speeds, *cells, *sizes]


if __name__ == "__main__" and not common.serve(measure):
    script(main, Settings, __doc__)
