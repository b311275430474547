"""Whether a run fits the machine's memory, found out from shapes before anything is compiled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np

from crl_jax.config import Config, ConfigError

FLOAT = 4
"""Bytes of a float32."""


def size_of(tree: Any) -> int:
    """Bytes of all leaves of a tree of arrays or shapes."""
    leaves = jax.tree.leaves(tree)
    return sum(int(np.prod(leaf.shape, dtype=object)) * np.dtype(leaf.dtype).itemsize for leaf in leaves)


def available() -> int | None:
    """Bytes that JAX may still take on one device: the GPU's, or the host's free memory; None: not known."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return int(stats["bytes_limit"]) - int(stats.get("bytes_in_use", 0))
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    return found[0] if found else None


def check_memory(config: Config, state: Any, ring: Any) -> None:
    """Refuse a run whose state, batches and logits do not fit.

    Args:
        state: shapes of the whole state; with several devices, of all of them. ring: those of its replay ring.

    Raises:
        ConfigError: bytes wanted and available, and the nearest replay_capacity or batch_size that fits.
    """
    room = available()
    train, devices = config.train, config.train.devices
    columns = config.agent.logits_chunk or train.batch_size
    logits = 3 * FLOAT * train.batch_size * columns  # logits, their softmax, their gradient
    if room is not None and logits > room:
        fits = int((room / 3 / FLOAT) ** 0.5)
        raise ConfigError(
            f"batch_size={train.batch_size}: its logits take {gib(logits)}, {gib(room)} are available; nearest:"
            f" {fits}, or --logits-chunk"
        )
    rows = size_of(ring)
    wanted = size_of(state) // devices + logits
    if room is None or wanted <= room:
        return
    unit = config.env.num_envs * train.unroll_length
    left = room - (wanted - rows // devices)
    fits = int(left * devices / (rows / train.replay_capacity)) // unit * unit
    nearest = f"nearest: {fits}" if fits >= unit else "fewer num_envs, or smaller networks, fit"
    raise ConfigError(
        f"replay_capacity={train.replay_capacity}: the run needs {gib(wanted)} on each device, {gib(room)} are"
        f" available; {nearest}"
    )


def gib(size: int) -> str:
    """Bytes as text."""
    return f"{size / 2**30:.2f} GiB" if size >= 2**27 else f"{size / 2**20:.1f} MiB"
