"""Settings that every test shares; they must be in place before JAX is imported."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_ENABLE_COMPILATION_CACHE", "false")  # Tests write nothing into the user's home.
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("SUBMITIT_LOG_LEVEL", "NOCONFIG")  # Its handlers would keep a stream that pytest closes.

import pytest
from hypothesis import HealthCheck, settings

_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("local", max_examples=25, **_COMMON)
settings.register_profile("ci", max_examples=25, derandomize=True, **_COMMON)
settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(autouse=True, scope="module")
def _forget_compiled_programs() -> Iterator[None]:
    """Programs of one file are not kept for the next: together they take gigabytes."""
    yield
    import jax

    jax.clear_caches()
    gc.collect()
