"""Settings that every test shares; they must be in place before JAX is imported."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_ENABLE_COMPILATION_CACHE", "false")  # Tests write nothing into the user's home.
# A test compiles many programs and runs each for a moment: LLVM's passes take longer than they save.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("SUBMITIT_LOG_LEVEL", "NOCONFIG")  # Its handlers would keep a stream that pytest closes.

import pytest
from hypothesis import HealthCheck, settings

LARGE = 1.5
"""Gigabytes: a process larger than this drops its compiled scenes and programs between two tests."""
OURS = ("crl_jax", "envs_mjx", "configs", "experiments", "benchmarks", "tests")
_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("local", max_examples=25, **_COMMON)
settings.register_profile("ci", max_examples=25, derandomize=True, **_COMMON)
settings.load_profile("ci" if os.environ.get("CI") else "local")


def _forget(*packages: str) -> None:
    """Clear the caches of these packages' functions, and return the memory to the system."""
    for cached in gc.get_objects():
        if isinstance(cached, functools._lru_cache_wrapper) and cached.__module__.split(".")[0] in packages:
            cached.cache_clear()
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # glibc keeps freed memory until asked.
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _gigabytes() -> float:
    """Resident memory of this process in gigabytes; 0 where the system does not report it."""
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e9
    return 0.0


@pytest.fixture(autouse=True, scope="module")
def _forget_after_a_file() -> Iterator[None]:
    """Drop programs, scenes and environments after each test file: over all files they would take gigabytes."""
    yield
    import jax

    jax.clear_caches()
    _forget(*OURS)


@pytest.fixture(autouse=True)
def _forget_when_large() -> Iterator[None]:
    """Drop scenes and programs after a test if the process is larger than `LARGE`."""
    yield
    if _gigabytes() > LARGE:
        import jax

        jax.clear_caches()
        _forget("envs_mjx")
