"""How MJX is traced: matrix products in full precision, and the levels of the body tree kept apart on the CPU."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import jax


@contextlib.contextmanager
def careful(impl: str) -> Iterator[None]:
    """The context in which this package traces every call of an MJX function of `impl`.

    Matrix products have full precision: TF32 and bfloat16 are not good enough for physics. Warp's own kernels are not
    affected.

    Engine `jax` on the CPU: MJX walks the body tree level by level (mujoco/mjx/_src/scan.py, `body_tree`), and XLA
    fuses each level into the next. The root's pose is then recomputed for every use of it, exponentially often in the
    depth of the tree. A barrier between levels makes one env step of 8 reach environments hundreds of times
    faster (`crl bench jax_levels`) and changes positions by 1e-7 m at most.
    """
    with jax.default_matmul_precision("highest"):
        if impl != "jax" or jax.default_backend() != "cpu":
            yield
            return
        from mujoco.mjx._src import scan

        whole = scan.body_tree

        def by_level(model: Any, function: Any, *args: Any, **options: Any) -> Any:
            def level(carry: Any, *inputs: Any) -> Any:
                return function(None if carry is None else jax.lax.optimization_barrier(carry), *inputs)

            return whole(model, level, *args, **options)

        scan.body_tree = by_level
        try:
            yield
        finally:
            scan.body_tree = whole
