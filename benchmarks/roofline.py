"""The matmul floor of a function: the time of its matrix products only, each shape measured separately.

The products are read from the function's jaxpr, with the trip counts of the scans around them. Products with a vector
(LayerNorm's means) are not counted.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks import common

COPIES = 16
"""Products in one timed call, so that the overhead of the call hardly counts."""


class Product(NamedTuple):
    """A matrix product (batch, m, k) @ (batch, k, n)."""

    batch: int
    m: int
    k: int
    n: int
    dtype: str

    @property
    def flops(self) -> float:
        return 2.0 * self.batch * self.m * self.k * self.n


def products(function: Callable[..., Any], *shapes: Any) -> collections.Counter[Product]:
    """Count the matrix products of `function` for arguments like `shapes`, without running it.

    Raises:
        ValueError: a product within a while loop, because its trip count is unknown.
    """
    found: collections.Counter[Product] = collections.Counter()
    _collect(jax.make_jaxpr(function)(*shapes).jaxpr, 1, found)
    return found


def _collect(jaxpr: Any, times: int, found: collections.Counter[Product]) -> None:
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            product = _product(equation)
            if min(product.m, product.n, product.k) > 1:
                found[product] += times
            continue
        inside = times * (equation.params["length"] if equation.primitive.name == "scan" else 1)
        for value in equation.params.values():
            for part in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(part, "jaxpr", part)
                if not hasattr(inner, "eqns"):
                    continue
                before = found.total()
                _collect(inner, inside, found)
                if equation.primitive.name == "while" and found.total() > before:
                    raise ValueError("a product within a while loop: its trip count is not known")


def _product(equation: Any) -> Product:
    (left_sum, _), (left_batch, _) = equation.params["dimension_numbers"]
    left, right = (variable.aval for variable in equation.invars)
    batch = math.prod(left.shape[axis] for axis in left_batch)
    k = math.prod(left.shape[axis] for axis in left_sum)
    m = math.prod(left.shape) // (batch * k)
    n = math.prod(right.shape) // (batch * k)
    return Product(batch, m, k, n, left.dtype.name)


def seconds_each(product: Product, repeats: int) -> float:
    """Median seconds of one product, timed as `COPIES` products in a loop on different operands."""
    shape = (COPIES, product.batch)
    left = jnp.ones((*shape, product.m, product.k), product.dtype)
    right = jnp.ones((*shape, product.k, product.n), product.dtype)
    run = jax.jit(lambda a, b: jax.lax.map(lambda pair: jnp.matmul(*pair), (a, b)))
    jax.block_until_ready(run(left, right))
    return common.median([common.seconds(lambda: run(left, right)) for _ in range(repeats)]) / COPIES


def floor(found: collections.Counter[Product], repeats: int = 5) -> float:
    """Seconds of all products, one after another."""
    return sum(times * seconds_each(product, repeats) for product, times in found.items())
