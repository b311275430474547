"""Compile time and memory of a whole SGD update against depth (`python -m benchmarks.depth`).

Every case is compiled from shapes in a process of its own: no array is allocated and no update is run. Seconds are the
median over several processes; the cases take turns. Host memory is the peak of the process while it compiles. Device
memory is what the compiled update needs: arguments (parameters, moments, batch) and temporaries (activations,
gradients).

Writes results/depth.json and docs/depth.png.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import common, updates
from crl_jax.cli.options import script
from crl_jax.cli.progress import doing
from crl_jax.config import Config, with_overrides

LIMIT = 3600.0
"""Seconds that a process may take."""
FIGURE = Path(__file__).parent.parent / "docs" / "depth.png"


@dataclass(frozen=True)
class Case:
    """One network. `depth` is the critic's; the actor's depth is the same, but at most 512 as in the scaling paper."""

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


def measure(width: int, batch_size: int, **fields: Any) -> dict[str, Any]:
    """Trace and compile the update for `Case(**fields)`, in a fresh process; returns seconds and bytes of memory."""
    import jax
    import jax.numpy as jnp

    case = Case(**fields)
    blocks = case.depth if case.unrolled else 1
    changed = {"width": width, "critic_depth": case.depth, "actor_depth": min(case.depth, 512), "unroll": blocks}
    agent, (state, batch, key) = updates.update(with_overrides(Config(), **changed, remat=case.remat), batch_size)
    warm = jax.jit(lambda x: x @ x).lower(jax.ShapeDtypeStruct((8, 8), jnp.float32))
    warm.compile()  # So that XLA's own start-up is not measured.
    before = common.peak_memory()["resident_bytes"]
    start = time.perf_counter()
    lowered = jax.jit(agent.update, donate_argnums=0).lower(state, batch, key)
    traced = time.perf_counter()
    memory: Any = lowered.compile().memory_analysis()
    done = time.perf_counter()
    parameters = sum(leaf.size for leaf in jax.tree.leaves((state.phi, state.psi, state.actor)))
    return {
        "trace_s": traced - start,
        "compile_s": done - traced,
        "host_peak": common.peak_memory()["resident_bytes"],
        "host_before": before,
        "parameters": float(parameters),
        "arguments": float(memory.argument_size_in_bytes),
        "temporaries": float(memory.temp_size_in_bytes),
    }


def main(repeats: int = 3, width: int = 256, batch_size: int = 256) -> int:
    """Compile the update at every depth.

    Args:
        repeats: Processes per case, in turn; medians are reported.
        width: Units of every hidden layer.
        batch_size: Transitions of an update.
    """
    console = Console(stderr=True)
    settings = {"repeats": repeats, "width": width, "batch_size": batch_size}
    sizes = {"width": width, "batch_size": batch_size}
    measured: dict[Case, list[dict[str, Any]]] = {one: [] for one in CASES}
    for repeat in range(repeats):
        for one in CASES:
            with doing(f"{one}, {repeat + 1} of {repeats}", console):
                run = common.fresh_process("benchmarks.depth", sizes | asdict(one), LIMIT)
            if "not_measured" in run:
                raise SystemExit(f"depth: {one}: {run['not_measured']}")
            measured[one].append({name: value for name, value in run.items() if name not in sizes | asdict(one)})
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
            axis.plot(*zip(*points, strict=True), "o-", label=name)
        axis.set(title=title, xlabel="depth")
        common.by_doublings(axis, sorted({row["depth"] for row in rows}))
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


if __name__ == "__main__" and not common.serve(measure):
    script(main)
