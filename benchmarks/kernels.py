"""What a GPU would launch for an update and a run, counted on a machine without one (`python -m benchmarks.kernels`).

XLA compiles the programs for a named GPU ahead of time; the extra cuda13 must be installed, no driver is needed. Each
case is compiled in a process of its own. At these sizes an update takes as long as its launches: about 2 us each.

Writes results/kernels.json (updates) and results/kernels_run.json (env step, restart, evaluation and round on warp).
"""

from __future__ import annotations

import importlib.util
import itertools
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from benchmarks import common, hlo, kernels_run, updates
from configs import PRESETS
from crl_jax.cli.options import script
from crl_jax.cli.progress import doing
from crl_jax.config import ConfigError, with_overrides
from crl_jax.scale.machine import tell_plugins_in_one_line

TARGETS = Path(__file__).parent / "targets"
"""Descriptions of GPUs as XLA has them (xla/backends/gpu/target_config), one for each name."""
LAUNCH = 2e-6
"""Seconds of a launch: the published hours of an A100 (arXiv:2503.14858) fit 1.8 to 2.1 us."""
LIMIT = 3600.0
"""Seconds that a process may take."""
ENVIRONMENT = {"JAX_PLATFORMS": "cpu", "JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1"}
"""For a process that compiles: no GPU is looked for, and no driver."""


@dataclass(frozen=True)
class Settings:
    """What is compiled."""

    depths: tuple[int, ...] = (4, 16, 64, 256, 1024)
    """Depths of critic and actor; the actor's is at most 512, as in the scaling paper."""
    width: int = 256
    """Units of every hidden layer."""
    batch_size: int = 512
    """Rows of a batch."""
    unroll: int = 1
    """Blocks in one step of the scan over blocks."""
    fused: tuple[Literal["off", "on"], ...] = ("off", "on")
    """phi, psi and the actor apart, and as one stack (`--fused` of a training)."""
    devices: tuple[int, ...] = (1, 2, 8)
    """GPUs of one machine that share each batch, at the first depth; 1: every depth."""
    tasks: tuple[str, ...] = ("push",)
    """Tasks whose env step, restart, evaluation and round are counted, on engine warp by preset metaworld_gpu."""
    gpu: Literal["h200"] = "h200"
    """GPU to compile for."""


def require_cuda() -> None:
    """Raises ConfigError where XLA's compiler for CUDA is not installed."""
    if importlib.util.find_spec("jax_plugins") is None or importlib.util.find_spec("jax_plugins.xla_cuda13") is None:
        raise ConfigError("kernels: XLA's compiler for CUDA is not installed; pip install -e '.[cuda13]'")


def topology(gpu: str, devices: int = 1) -> list[Any]:
    """`devices` GPUs of one machine, which need not be there."""
    from jax.experimental import topologies

    described = (TARGETS / f"{gpu}.txtpb").read_text()
    asked = {"platform": "cuda", "target_config": described, "topology": f"1x1x{devices}"}
    return list(topologies.get_topology_desc(topology_name=gpu, **asked).devices)


def measure(
    depth: int, fused: str, width: int, batch_size: int, unroll: int, gpu: str, devices: int = 1
) -> dict[str, Any]:
    """Launches, memory and collectives of one update; `batch_size` rows are split over the devices."""
    tell_plugins_in_one_line()
    import jax
    import numpy as np
    from jax.sharding import Mesh
    from jax.sharding import PartitionSpec as P

    from crl_jax.scale import parallel

    changed: dict[str, Any] = {"width": width, "critic_depth": depth, "actor_depth": min(depth, 512)}
    changed |= {"unroll": unroll, "fused": fused}
    mesh = Mesh(np.array(topology(gpu, devices)), (parallel.AXIS,))
    axis = None if devices == 1 else parallel.AXIS
    update = updates.update(with_overrides(PRESETS["metaworld_gpu"], **changed), batch_size, axis)
    began = time.perf_counter()
    (state, batch, key), packed = update.shapes, update.agent.packed
    state = jax.eval_shape(packed.pack, state) if packed else state
    specs = (P(), P(parallel.AXIS), P())
    shapes = parallel.shaped((state, batch, key), specs, mesh)
    if axis:
        made = parallel.jitted(update.one, mesh, specs, (P(), P()), donate=(0,))
    else:
        made = jax.jit(update.one, donate_argnums=0)
    compiled = made.lower(*shapes).compile()
    text, memory = compiled.as_text(), compiled.memory_analysis()
    found = hlo.launches(text)
    return {
        "launches": found.total,
        "kinds": dict(found.kinds),
        "endless_loops": found.endless,
        "collectives": hlo.collectives(text),
        "temporaries_bytes": int(memory.temp_size_in_bytes),
        "arguments_bytes": int(memory.argument_size_in_bytes),
        "compile_seconds": time.perf_counter() - began,
    }


def main(settings: Settings) -> None:
    """Count, print, write results/kernels.json."""
    require_cuda()
    console, rows = Console(stderr=True), []
    asked = ("depths", "fused", "devices", "tasks")
    shared = {name: value for name, value in asdict(settings).items() if name not in asked}
    for devices, depth, fused in itertools.product(settings.devices, settings.depths, settings.fused):
        if devices > 1 and depth != settings.depths[0]:
            continue
        with doing(f"depth {depth}, fused {fused}, {devices} x {settings.gpu}: compiling ...", console):
            case = {"depth": depth, "fused": fused, "devices": devices, **shared}
            rows.append(common.fresh_process("benchmarks.kernels", case, LIMIT, **ENVIRONMENT))
    titles = [
        "depth",
        "fused",
        "GPUs",
        "launches",
        "gemms",
        "fusions",
        f"ms at {1e6 * LAUNCH:.0f} us",
        "MB temporary",
        "collectives",
    ]
    table = [[str(row["depth"]), row["fused"], str(row["devices"]), *_told(row)] for row in rows]
    common.publish("kernels", titles, table, rows, asdict(settings))
    _count_runs(settings, console)


def _count_runs(settings: Settings, console: Console) -> None:
    """Count the programs of a run, print, write results/kernels_run.json."""
    rows = []
    for task, part in itertools.product(settings.tasks, kernels_run.PARTS):
        with doing(f"{task}: {part}: compiling ...", console):
            case = {"part": part, "task": task, "preset": "metaworld_gpu", "gpu": settings.gpu}
            rows.append(common.fresh_process("benchmarks.kernels_run", case, LIMIT, **ENVIRONMENT))
    titles = ["task", "part", "launches", "of XLA", "of Warp", "env steps", "updates", "MB temporary"]
    table = [[row["task"], row["part"], *_told_run(row)] for row in rows]
    common.publish("kernels_run", titles, table, rows, asdict(settings))


def _told_run(row: dict[str, Any]) -> list[str]:
    if "not_measured" in row:
        return [str(row["not_measured"])] + [""] * 5
    counts = [f"{row[name]:,}" for name in ("launches", "xla", "warp", "env_steps", "updates")]
    return [*counts, f"{row['temporaries_bytes'] / 1e6:,.1f}"]


def _told(row: dict[str, Any]) -> list[str]:
    if "not_measured" in row:
        return [str(row["not_measured"])] + [""] * 5
    kinds = row["kinds"]
    return [
        f"{row['launches']:,}",
        f"{kinds.get('gemm', 0):,}",
        f"{kinds.get('fusion', 0):,}",
        f"{1e3 * LAUNCH * row['launches']:.2f}",
        f"{row['temporaries_bytes'] / 1e6:,.1f}",
        ", ".join(f"{name} {size / 1e6:.2f} MB" for name, size in row["collectives"]),
    ]


if __name__ == "__main__" and not common.serve(measure):
    script(main, Settings, __doc__)
