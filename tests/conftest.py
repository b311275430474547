"""Settings shared by all tests. They must be set before JAX is imported."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_ENABLE_COMPILATION_CACHE", "false")  # Tests write nothing into the user's home.
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("SUBMITIT_LOG_LEVEL", "NOCONFIG")  # Its handlers would keep a stream that pytest closes.

import pytest
from hypothesis import HealthCheck, settings

LARGE, GROWTH = 1.5, 0.3
"""Gigabytes: a process larger than LARGE that grew by GROWTH drops scenes and programs between two tests."""
KEPT = [0.0]
"""Gigabytes of the process when its caches were last cleared."""
OURS = ("crl_jax", "envs_mjx", "configs", "experiments", "benchmarks", "tests")
_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("local", max_examples=25, **_COMMON)
settings.register_profile("ci", max_examples=25, derandomize=True, **_COMMON)
settings.load_profile("ci" if os.environ.get("CI") else "local")


def pytest_configure(config: pytest.Config) -> None:
    """A quick test compiles many programs and runs each for a moment: LLVM's passes take longer than they save.

    Slow tests train for minutes and need the passes. Workers inherit what is set here.
    """
    if config.option.markexpr == "not slow":
        os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")


def _forget(*packages: str) -> None:
    """Clear JAX's caches and the caches of these packages' functions; return the memory to the system."""
    import jax

    for name, module in list(sys.modules.items()):
        if name.split(".")[0] in packages:
            for member in list(vars(module).values()):
                if isinstance(member, functools._lru_cache_wrapper):
                    member.cache_clear()
    jax.clear_caches()
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # glibc keeps freed memory until it is asked.
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _gigabytes() -> float:
    """Resident memory of this process in gigabytes; 0 where the system does not report it."""
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e9
    return 0.0


@pytest.fixture(autouse=True, scope="module")
def _forget_after_a_file() -> Iterator[None]:
    """Drop programs, scenes and environments after each test file; those of all files together take gigabytes."""
    yield
    _forget(*OURS)
    KEPT[0] = _gigabytes()


@pytest.fixture(autouse=True)
def _forget_when_large() -> Iterator[None]:
    """Drop compiled scenes and programs after a test if the process is larger than `LARGE` and grew by `GROWTH`."""
    yield
    if _gigabytes() > max(LARGE, KEPT[0] + GROWTH):
        _forget("envs_mjx")
        KEPT[0] = _gigabytes()
