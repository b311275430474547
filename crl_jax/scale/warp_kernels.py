"""Warp's kernels are compiled before a run: side by side, with a line that tells how far it is.

Warp keeps them on disk (`~/.cache/warp`), so that this is done once for each scene and kind of GPU.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import jax

from envs_mjx.base import with_physics
from envs_mjx.physics import has_cuda

_log = logging.getLogger(__name__)
_QUIET, _EVERY = 2.0, 15.0
"""Seconds before the first line, and between two lines."""


def compute_capability() -> int | None:
    """That of the first NVIDIA GPU that JAX sees, e.g. 90 for an H100; None without one."""
    if not has_cuda():
        return None
    return int(str(jax.local_devices()[0].compute_capability).replace(".", ""))


def compile_for_gpu(env: Any) -> None:
    """Compile what an environment's engine launches, if that is engine `warp` on a GPU."""
    arch = compute_capability()
    if arch is None:
        return
    from envs_mjx.physics import warp_kernels

    for one in getattr(env, "parts", (env,)):  # several tasks at once
        physics: Any = getattr(with_physics(one), "physics", None)
        if getattr(physics, "impl", "") == "warp":
            warp_kernels.compile_modules(warp_kernels.modules_of(physics), arch, _lines())


def _lines() -> Callable[[int, int], None]:
    """Tells how many modules are compiled: nothing if that takes no time, because Warp has them on disk."""
    began = last = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if done == total and last > began:
            _log.warning("Warp's kernels: all %d modules compiled in %.0f s", total, now - began)
        elif done < total and now - last > (_QUIET if last == began else _EVERY):
            last = now
            _log.warning("Warp's kernels are compiled, once for this kind of GPU: %d of %d modules", done, total)

    return tell
