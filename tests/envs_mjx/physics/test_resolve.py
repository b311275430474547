"""Which engine `auto` takes, and what is said where JAX sees a GPU that Warp cannot use."""

from __future__ import annotations

import pytest
import warp

from envs_mjx import EnvError, physics


def test_a_gpu_that_warp_cannot_use_is_told_before_anything_compiles(monkeypatch) -> None:
    """No silent fallback: `auto` would otherwise train on the CPU, beside an idle GPU."""
    monkeypatch.setattr(physics, "has_cuda", lambda: True)
    monkeypatch.setattr(warp, "is_cuda_available", lambda: False)
    monkeypatch.setattr(warp, "get_cuda_driver_version", lambda: (12, 4))
    for engine in ("auto", "warp"):
        with pytest.raises(
            EnvError, match=r"warp-lang [\d.]+ is built for CUDA [\d.]+, the driver is for 12\.4; "
        ) as told:
            physics.resolve(engine)
        assert "\n" not in str(told.value) and "+cu12" in str(told.value)
    assert physics.resolve("c") == "c"
    monkeypatch.setattr(warp, "is_cuda_available", lambda: True)
    assert physics.resolve("auto") == "warp"


def test_without_a_gpu_auto_takes_c(monkeypatch) -> None:
    monkeypatch.setattr(physics, "has_cuda", lambda: False)
    assert physics.resolve("auto") == "c" and physics.resolve("warp") == "warp"
