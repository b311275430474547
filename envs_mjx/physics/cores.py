"""The number of cores that this process may use, and the setting that JAX needs on a single core."""

from __future__ import annotations

import os

from envs_mjx.base import EnvError


def cores() -> int:
    """Cores that this process may use: a scheduler or `taskset` may leave it fewer than the machine has."""
    allowed = getattr(os, "sched_getaffinity", None)  # Not on macOS.
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def stay_on(core: int) -> None:
    """Keep this process on one core, counted from 0 among those that it may use. Call this before JAX has any device.

    Raises:
        EnvError: there is no such core, or the system cannot do it (macOS).
    """
    if not hasattr(os, "sched_setaffinity"):
        raise EnvError(f"core={core}: this system keeps no process on a core; leave it out")
    allowed = sorted(os.sched_getaffinity(0))
    if not 0 <= core < len(allowed):
        raise EnvError(f"core={core}: this process may use {len(allowed)} cores; one of 0 ... {len(allowed) - 1}")
    os.sched_setaffinity(0, {allowed[core]})


def spare_thread() -> None:
    """On a single core, give JAX's CPU client two threads. Call this before JAX has any device.

    With one thread, a callback would wait for ever for an argument that the same thread has to copy.
    """
    if cores() == 1:
        os.environ.setdefault("PJRT_NPROC", "2")
