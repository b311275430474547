"""Launches of MuJoCo Warp in one call from JAX, counted without a GPU: nothing is computed, Warp's calls are noted."""

from __future__ import annotations

import collections
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from envs_mjx.physics.warp_kernels import instead_of_launches


@contextmanager
def noted() -> Iterator[collections.Counter[str]]:
    """While it is open, Warp's launches in this process are counted instead of made, and loops run once.

    Kinds: `warp kernel` (its threads are not zero), `warp memset` and `warp copy`. The solver's loop ends when it has
    converged, so its kernels are counted for one iteration. Arrays are made, zeroed and copied as always (`warp.zeros`
    and `warp.full` call the methods that are counted).
    """
    import warp

    kinds: collections.Counter[str] = collections.Counter()

    def launch(kernel: Any, dim: Any = None, *_: Any, **__: Any) -> None:
        sizes = dim if isinstance(dim, (tuple, list)) else (dim,)
        kinds["warp kernel"] += math.prod(int(size) for size in sizes) > 0

    def counted(kind: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counting(target: Any, *arguments: Any, **named: Any) -> Any:
            kinds[kind] += target.size > 0
            return call(target, *arguments, **named)

        return counting

    kind_of = {(warp.array, "zero_"): "warp memset", (warp.array, "fill_"): "warp memset", (warp, "copy"): "warp copy"}
    usual = {place: getattr(*place) for place in kind_of}
    for place, kind in kind_of.items():
        setattr(*place, counted(kind, usual[place]))
    try:
        with instead_of_launches(launch):
            yield kinds
    finally:
        for place, function in usual.items():
            setattr(*place, function)


def counted(function: Callable[..., Any], *arguments: Any) -> dict[str, int]:
    """Kind -> launches of one call of a jitted function that calls Warp; its result is nonsense."""
    import jax

    with noted() as kinds:
        jax.block_until_ready(function(*arguments))
    return dict(kinds)
