"""Compile time and memory of a whole SGD update against depth (`python -m benchmarks.depth`).

Every case is lowered and compiled from shapes in a process of its own: nothing is allocated, nothing is run. Seconds
are the median of several processes, in turn. Host memory is the process's peak while compiling; device memory is what
the compiled update asks for: arguments (parameters, moments, batch) and temporaries (activations, gradients).
Writes results/depth.json and docs/depth.png.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from benchmarks import common

FIGURE = Path(__file__).parent.parent / "docs" / "depth.png"


@dataclass(frozen=True)
class Case:
    """One network: the critic's depth; the actor has the same up to 512, as the scaling paper needed."""

    depth: int
    unrolled: bool = False
    remat: bool = False


CASES = (
    Case(4),
    Case(16),
    Case(64),
    Case(256),
    Case(1024),
    Case(1024, remat=True),
    Case(16, unrolled=True),
    Case(64, unrolled=True),
)


def compile_update(case: Case, width: int, batch_size: int) -> dict[str, float]:
    """Seconds to trace and to compile the update of `case`, and the memory that it takes, in bytes."""
    import jax
    import jax.numpy as jnp

    from crl_jax.agents import crl
    from crl_jax.config import AgentConfig, NetworkConfig
    from crl_jax.types import Batch
    from envs_mjx.base import EnvSpec

    obs, goal, action = 10, 6, 4
    spec = EnvSpec(obs, goal, action, 150, jnp.zeros(obs), jnp.ones(obs), jnp.zeros(goal), jnp.ones(goal))
    blocks = case.depth if case.unrolled else 1
    network = NetworkConfig(
        width=width, critic_depth=case.depth, actor_depth=min(case.depth, 512), remat=case.remat, unroll=blocks
    )
    agent = crl.make(AgentConfig(), network, spec)
    key = jax.eval_shape(lambda: jax.random.PRNGKey(0))
    state = jax.eval_shape(agent.init, key)

    def blank() -> Batch:
        floats = [jnp.zeros((batch_size, size)) for size in (obs, action, obs, goal, goal)]
        return Batch(*floats, *[jnp.zeros(batch_size, jnp.int32)] * 3)

    batch = jax.eval_shape(blank)
    warm = jax.jit(lambda x: x @ x).lower(jax.ShapeDtypeStruct((8, 8), jnp.float32))
    warm.compile()  # XLA's own start-up is not the case's.
    before = _peak()
    start = time.perf_counter()
    lowered = jax.jit(agent.update, donate_argnums=0).lower(state, batch, key)
    traced = time.perf_counter()
    memory: Any = lowered.compile().memory_analysis()
    done = time.perf_counter()
    parameters = sum(leaf.size for leaf in jax.tree.leaves((state.phi, state.psi, state.actor)))
    return {
        "trace_s": traced - start,
        "compile_s": done - traced,
        "host_peak": _peak(),
        "host_before": before,
        "parameters": float(parameters),
        "arguments": float(memory.argument_size_in_bytes),
        "temporaries": float(memory.temp_size_in_bytes),
    }


def _peak() -> float:
    """Peak resident memory of this process, bytes."""
    return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def in_a_process(case: Case, width: int, batch_size: int) -> dict[str, float]:
    """`compile_update` in a fresh interpreter."""
    command = [sys.executable, "-m", "benchmarks.depth", "--case", json.dumps(asdict(case))]
    sizes = ["--width", str(width), "--batch-size", str(batch_size)]
    done = subprocess.run([*command, *sizes], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{case}: {done.stderr.strip().splitlines()[-1]}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def main(
    repeats: int = 3,
    width: int = 256,
    batch_size: int = 256,
    case: Annotated[str, tyro.conf.arg(help_behavior_hint="(one case, in this process)")] = "",
) -> int:
    """Compile the update at every depth.

    Args:
        repeats: Processes per case, in turn; medians are reported.
        width: Units of every hidden layer.
        batch_size: Transitions of an update.
        case: One case as JSON, compiled in this process; its figures are printed.
    """
    if case:
        print(json.dumps(compile_update(Case(**json.loads(case)), width, batch_size)))
        return 0
    console = Console(stderr=True)
    measured: dict[Case, list[dict[str, float]]] = {one: [] for one in CASES}
    for repeat in range(repeats):
        for one in CASES:
            with console.status(f"{one}, {repeat + 1} of {repeats}"):
                measured[one].append(in_a_process(one, width, batch_size))
    rows = [
        asdict(one) | {name: common.median([run[name] for run in runs]) for name in runs[0]}
        for one, runs in measured.items()
    ]
    base = next(row for row in rows if row["depth"] == 16 and not row["unrolled"])
    titles = [
        "trace + compile, s",
        "x depth 16",
        "host peak, MB",
        "x depth 16",
        "M parameters",
        "parameters and moments, MB",
    ]
    table = [_texts(row, base) for row in rows]
    settings = {"repeats": repeats, "width": width, "batch_size": batch_size}
    common.publish("depth", ["depth", *titles, "temporaries, MB"], table, rows, settings)
    console.print(f"written: {plot(rows, FIGURE)}")
    return 0


def plot(rows: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Seconds to compile, host memory and device memory against depth, scanned and unrolled."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.6), layout="constrained")
    kinds = {"scanned": (False, False), "scanned, remat": (False, True), "unrolled": (True, False)}
    panels = {
        "trace and compile, s": lambda row: row["trace_s"] + row["compile_s"],
        "peak host memory, MB": lambda row: row["host_peak"] / 1e6,
        "device temporaries, MB": lambda row: row["temporaries"] / 1e6,
    }
    for axis, (title, value) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        for name, kind in kinds.items():
            points = [(row["depth"], value(row)) for row in rows if (row["unrolled"], row["remat"]) == kind]
            axis.loglog(*zip(*points, strict=True), "o-", label=name)
        axis.set(title=title, xlabel="depth", xscale="log", yscale="log")
        axis.set_xticks(depths := sorted({row["depth"] for row in rows}), [str(depth) for depth in depths])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
        axis.legend(fontsize="small")
    figure.savefig(path, dpi=110)
    return path


def _texts(row: dict[str, Any], base: dict[str, Any]) -> list[str]:
    kind = " unrolled" if row["unrolled"] else " remat" if row["remat"] else ""
    took, reference = (one["trace_s"] + one["compile_s"] for one in (row, base))
    return [
        f"{row['depth']}{kind}",
        f"{took:.1f}",
        f"{took / reference:.2f}",
        f"{row['host_peak'] / 1e6:,.0f}",
        f"{row['host_peak'] / base['host_peak']:.2f}",
        f"{row['parameters'] / 1e6:.1f}",
        f"{row['arguments'] / 1e6:,.0f}",
        f"{row['temporaries'] / 1e6:,.0f}",
    ]


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
