"""The same run on 1, 2, 4, 8 devices: success at the end, env steps/s, compile seconds (`crl bench device_scaling`).

Each number of devices is measured in a process of its own. On a machine without an accelerator, the CPU is split into
virtual devices. They share the CPU's cores, so their speed shows the cost of the split, not a gain.
"""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console

from benchmarks import common
from crl_jax.cli.options import script
from crl_jax.cli.progress import doing


@dataclass(frozen=True)
class Settings:
    """What is measured."""

    preset: str = "reach_cpu"
    """Preset of the run. The global batch is the same for every number of devices; the devices share it."""
    devices: tuple[int, ...] = (1, 2, 4, 8)
    """Numbers of devices."""
    seed: int = 0
    """Seed of the run."""
    total_env_steps: int = 0
    """Length of the run; 0: the length that the preset sets."""
    limit: float = 3600.0
    """Seconds that a run may take."""


def measure(preset: str, devices: int, seed: int, total_env_steps: int, **_: Any) -> dict[str, Any]:
    """Train in this process; the run's folder is deleted afterwards."""
    from configs import PRESETS
    from crl_jax.config import with_overrides
    from crl_jax.train import train

    config = with_overrides(PRESETS[preset], devices=devices, seed=seed, video=False)
    config = with_overrides(config, total_env_steps=total_env_steps or config.train.total_env_steps)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        result = train(with_overrides(config, runs=folder), console=False)
        wall = time.perf_counter() - started
    return {
        "env_steps": result.counters.env_steps,
        "success_final": result.evaluation["success_final"],
        "success_any": result.evaluation["success_any"],
        "env_steps_per_s": result.counters.env_steps / result.counters.seconds,
        "start_s": wall - result.counters.seconds,
    }


def main(settings: Settings) -> int:
    """Run every number of devices, print, write results/device_scaling.json; returns 1 if a run failed."""
    console, rows = Console(stderr=True), []
    sizes = {"preset": settings.preset, "seed": settings.seed, "total_env_steps": settings.total_env_steps}
    for devices in settings.devices:
        # Only the CPU backend has virtual devices. The callback of each needs a thread (crl_jax/scale/parallel.py).
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
        pool = str(max(16, 2 * devices))
        with doing(f"{devices} devices", console):
            rows.append(
                common.fresh_process(
                    "benchmarks.device_scaling",
                    sizes | {"devices": devices},
                    settings.limit,
                    XLA_FLAGS=flags,
                    PJRT_NPROC=pool,
                )
            )
        console.print(rows[-1])
    table = [[str(row["devices"]), *_texts(row)] for row in rows]
    titles = ["devices", "success at the end", "success ever", "env steps", "env steps/s", "start and compile, s"]
    common.publish("device_scaling", titles, table, rows, asdict(settings))
    return int(any("not_measured" in row for row in rows))


def _texts(row: dict[str, Any]) -> list[str]:
    if "not_measured" in row:
        return [row["not_measured"], "", "", "", ""]
    success = [f"{row[name]:.2f}" for name in ("success_final", "success_any")]
    return [*success, f"{row['env_steps']:,}", f"{row['env_steps_per_s']:,.0f}", f"{row['start_s']:.0f}"]


if __name__ == "__main__":
    if not common.serve(measure):
        script(main, Settings, __doc__)
