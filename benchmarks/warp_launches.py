"""Launches of MuJoCo Warp in one call from JAX, counted without a GPU: nothing is computed, Warp's calls are noted."""

from __future__ import annotations

import collections
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


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

    def once(condition: Any, while_body: Callable[..., None], **arguments: Any) -> None:
        while_body(**arguments)

    def both(condition: Any, on_true: Any = None, on_false: Any = None, **arguments: Any) -> None:
        for branch in (on_true, on_false):
            if branch:
                branch(**arguments)

    def counted(kind: str, call: Callable[..., Any], size: Callable[..., int]) -> Callable[..., Any]:
        def counting(*arguments: Any, **named: Any) -> Any:
            result = call(*arguments, **named)
            kinds[kind] += size(result, *arguments) > 0
            return result

        return counting

    array = warp.array
    patches: list[tuple[Any, str, Any]] = [
        (warp, "launch", launch),
        (warp, "launch_tiled", launch),
        (warp, "capture_while", once),
        (warp, "capture_if", both),
        (array, "zero_", counted("warp memset", array.zero_, lambda _, own: own.size)),
        (array, "fill_", counted("warp memset", array.fill_, lambda _, own, *__: own.size)),
        (warp, "copy", counted("warp copy", warp.copy, lambda _, to, *__: to.size)),
    ]
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in patches]
    for owner, name, stand_in in patches:
        setattr(owner, name, stand_in)
    try:
        yield kinds
    finally:
        for owner, name, original in before:
            setattr(owner, name, original)


def counted(function: Callable[..., Any], *arguments: Any) -> dict[str, int]:
    """Kind -> launches of one call of a jitted function that calls Warp; its result is nonsense."""
    import jax

    with noted() as kinds:
        jax.block_until_ready(function(*arguments))
    return dict(kinds)
