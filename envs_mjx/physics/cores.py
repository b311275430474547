"""How many of the machine's cores are ours, and what JAX has to know of it."""

from __future__ import annotations

import os


def cores() -> int:
    """Cores that this process may use: a scheduler or `taskset` may leave it fewer than the machine has."""
    allowed = getattr(os, "sched_getaffinity", None)  # Not on macOS.
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def spare_thread() -> None:
    """Have JAX's CPU client take two threads where there is one core; to be called before it has any device.

    On its only thread a callback would wait for ever for an argument that the same thread is to copy.
    """
    if cores() == 1:
        os.environ.setdefault("PJRT_NPROC", "2")
