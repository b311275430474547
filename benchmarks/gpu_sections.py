"""The sections of `crl bench gpu`: each measures one thing and yields its figures one by one, as name -> value.

A section runs in a process of its own (`python -m benchmarks.gpu_sections NAME FOLDER SIZES`), which appends a line of
JSON to a file there for each figure; so a section that is cut still tells what it has measured.
"""

from __future__ import annotations

import functools
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

Figures = Iterator[dict[str, Any]]


@dataclass(frozen=True)
class Sizes:
    """How large the measurements are; the defaults are for a GPU."""

    engine: str = "warp"
    """Engine of the physics."""
    tasks: tuple[str, ...] = ("push", "pick-place", "hammer", "ant")
    """Tasks whose physics is timed; ant runs on Brax's spring."""
    num_envs: tuple[int, ...] = (512, 2048, 8192)
    """Numbers of environments."""
    seconds: float = 2.0
    """Seconds of one measurement of the physics."""
    parity_steps: int = 150
    """Env steps of random actions that are compared with engine c."""
    parity_episodes: int = 8
    """Environments that are compared."""
    depths: tuple[int, ...] = (4, 16, 64)
    """Depths of the networks whose update is timed."""
    width: int = 256
    """Units of every hidden layer."""
    batch_size: int = 512
    """Rows of a batch."""
    side: int = 8192
    """Side of the matrices whose product is timed."""
    training: tuple[str, ...] = ("--preset", "metaworld_gpu", "--until", "0.9", "--eval-every", "250000")
    """Options of the training of push."""


TOY = Sizes(
    engine="c",
    tasks=("push", "ant"),
    num_envs=(8,),
    seconds=0.1,
    parity_steps=2,
    parity_episodes=2,
    depths=(4,),
    width=64,
    batch_size=32,
    side=64,
    training=(
        *("--preset", "metaworld_cpu", "--num-envs", "16", "--total-env-steps", "6000", "--min-replay", "480"),
        *("--replay-capacity", "4800", "--updates-per-iteration", "2", "--eval-episodes", "8", "--eval-every", "2000"),
    ),
)
"""Sizes that a CPU measures in a minute, to see that every section runs."""


def device(sizes: Sizes) -> Figures:
    """Device, drivers, versions; what Warp finds."""
    asked = "name,driver_version,memory.total,memory.used,clocks.sm,clocks.max.sm,power.limit"
    command = ["nvidia-smi", f"--query-gpu={asked}", "--format=csv,noheader"]
    try:
        yield {"nvidia_smi": subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip()}
    except FileNotFoundError:
        yield {"nvidia_smi": "not found"}
    from crl_jax.cli import doctor
    from crl_jax.scale.machine import machine

    yield {"machine": machine()}
    yield {"doctor": doctor.findings()}
    import jax

    yield {"platform": jax.devices()[0].platform, "memory": jax.local_devices()[0].memory_stats()}


def launches(sizes: Sizes) -> Figures:
    """Microseconds of a small kernel that waits for the one before, 2,000 in one program; speed of large products."""
    import jax
    import jax.numpy as jnp

    from benchmarks import common

    def forty(x: Any, _: Any) -> tuple[Any, None]:
        for _ in range(40):
            x = jax.lax.optimization_barrier(jnp.tanh(x))
        return x, None

    chain = jax.jit(lambda x: jax.lax.scan(forty, x, None, length=50)[0])
    small = jnp.ones((sizes.batch_size, sizes.width))
    yield {"us_per_small_kernel": 1e6 * _median(lambda: chain(small)) / 2000}
    formats = {"bf16": ("bfloat16", None), "tf32": ("float32", None), "fp32": ("float32", "highest")}
    product = jax.jit(jnp.matmul, static_argnames="precision")
    for name, (dtype, precision) in formats.items():
        large = jax.random.normal(jax.random.PRNGKey(0), (sizes.side, sizes.side), jnp.dtype(dtype))
        call = functools.partial(product, large, large, precision=precision)
        yield {f"{name}_tflops": 2e-12 * sizes.side**3 / _median(call)}
    yield common.peak_memory()


def parity(sizes: Sizes) -> Figures:
    """Steps and rollouts of random actions from the same states on engine c and on the GPU's engine."""
    from benchmarks import fidelity

    if sizes.engine == "c":
        yield {"left_out": "engine c is the reference"}
        return
    steps = sizes.parity_steps
    asked = fidelity.Settings(episodes=sizes.parity_episodes, horizon=steps, rollout=steps)
    for task in ("push", "pick-place"):
        yield {task: fidelity.measure(task, sizes.engine, asked)}


def physics(sizes: Sizes) -> Figures:
    """Env steps/s under random actions."""
    from benchmarks import env_scaling

    for num_envs in sizes.num_envs:
        for task in sizes.tasks:
            engine = "auto" if task == "ant" else sizes.engine
            yield {f"{task} {num_envs}": env_scaling.measure(engine, task, num_envs, sizes.seconds, 3, 60.0)}


def updates(sizes: Sizes) -> Figures:
    """Milliseconds of an update, 100 in one program, plain and as one stack; beside the launches that were counted."""
    import jax

    from benchmarks import common
    from benchmarks import updates as one
    from configs import PRESETS
    from crl_jax.config import with_overrides

    alone = [row for row in common.read_rows("kernels") if row["devices"] == 1]
    counted = {(row["depth"], row["fused"]): row.get("launches") for row in alone}
    for depth, fused in itertools.product(sizes.depths, ("off", "on")):
        network = {"width": sizes.width, "critic_depth": depth, "actor_depth": depth, "fused": fused}
        config = with_overrides(PRESETS["metaworld_gpu"], **network)
        made = one.update(config, sizes.batch_size)
        state, batch, key = made.arguments()
        keys = jax.random.split(key, 100)
        hundred = jax.jit(made.scanned)
        began = time.perf_counter()
        run = hundred.lower(state, batch, keys).compile()
        compiled = time.perf_counter() - began
        told: dict[str, Any] = {"ms": 10 * _median(functools.partial(run, state, batch, keys)), "compile_s": compiled}
        memory: Any = run.memory_analysis()
        told |= {"temporaries_bytes": memory.temp_size_in_bytes, "launches_counted": counted.get((depth, fused))}
        yield {f"depth {depth}, fused {fused}": told}
    yield common.peak_memory()


def training(sizes: Sizes) -> Figures:
    """Push with preset metaworld_gpu, by `crl train`, to .9 success or until the section's time ends."""
    from crl_jax.runs.loggers import read_metrics

    with tempfile.TemporaryDirectory() as runs:
        command = [sys.executable, "-m", "configs.main", "train", "push", "--runs", runs, "--name", "push"]
        began, seen = time.perf_counter(), 0
        process = subprocess.Popen([*command, *sizes.training])
        while True:
            ended = process.poll() is not None
            records = read_metrics(Path(runs) / "push")
            for told in records[seen:]:
                found = {name: told[name] for name in ("eval/success_final", "eval/success_any") if name in told}
                if found:
                    yield {f"{told['env_steps']:,} env steps": {"seconds": time.perf_counter() - began, **found}}
            seen = len(records)
            if ended:
                break
            time.sleep(1)
    if process.returncode:
        raise SystemExit(f"crl train ended with {process.returncode}")


def film(sizes: Sizes) -> Figures:
    """Milliseconds of a picture, and what draws it."""
    import jax
    import numpy as np

    import envs_mjx
    from envs_mjx.pictures import render

    yield {"renderer": render.backend()}
    env: Any = envs_mjx.make("push", 1, physics="c", goal="auto")
    state = jax.jit(env.reset)(jax.random.PRNGKey(0))
    began = time.perf_counter()
    frames = env.frames([(state.physics, np.asarray(state.target), 0)] * 16, 320, 240, "corner")
    yield {"ms_per_frame": 1e3 * (time.perf_counter() - began) / 16, "not_empty": bool(np.std(frames) > 5)}


def _median(call: Callable[[], Any], repeats: int = 5) -> float:
    """Median seconds of a call, after one that is not counted."""
    from benchmarks import common

    common.seconds(call)
    return common.median([common.seconds(call) for _ in range(repeats)])


MEASURES: dict[str, Callable[[Sizes], Figures]] = {
    measure.__name__: measure for measure in (device, launches, parity, physics, updates, training, film)
}
"""Name -> section."""


def main(name: str, folder: Path, sizes: str) -> None:
    """Run one section; its figures are appended to a file in `folder` as they come, as a run's metrics are."""
    from crl_jax.runs.loggers import METRICS_FILE

    read: dict[str, Any] = json.loads(sizes)
    read = {key: tuple(value) if isinstance(value, list) else value for key, value in read.items()}
    for figures in MEASURES[name](Sizes(**read)):
        with (folder / METRICS_FILE).open("a") as out:
            out.write(json.dumps(figures, default=str) + "\n")


def arguments(name: str, folder: Path, sizes: Sizes) -> list[str]:
    """The command of a section's process."""
    return [sys.executable, "-m", "benchmarks.gpu_sections", name, str(folder), json.dumps(asdict(sizes))]


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
