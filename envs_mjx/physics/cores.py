"""The number of cores that this process may use, and the setting that JAX needs on a single core."""

from __future__ import annotations

import os


def cores() -> int:
    """Cores that this process may use: a scheduler or `taskset` may leave it fewer than the machine has."""
    allowed = getattr(os, "sched_getaffinity", None)  # Not on macOS.
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def spare_thread() -> None:
    """On a single core, give JAX's CPU client two threads. Call this before JAX has any device.

    With one thread, a callback would wait for ever for an argument that the same thread has to copy.
    """
    if cores() == 1:
        os.environ.setdefault("PJRT_NPROC", "2")
