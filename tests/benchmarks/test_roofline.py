"""The matmul floor counts every product of a program, scans included, and nothing else."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from benchmarks.roofline import Product, floor, products


def test_products_of_a_scan_count_as_often_as_it_runs() -> None:
    weight = jnp.ones((3, 8, 8))

    def network(x: jax.Array) -> jax.Array:
        x = x @ jnp.ones((5, 8))
        x = jax.lax.scan(lambda y, w: (jnp.tanh(y @ w), None), x, weight)[0]
        return jnp.sum(x @ jnp.ones(8))

    found = products(jax.grad(network), jnp.ones((4, 5)))
    forward, backward = Product(1, 4, 8, 8, "float32"), Product(1, 4, 8, 5, "float32")
    assert found[forward] == 6  # Forward, and the gradient with respect to the input.
    assert found[backward] == 1
    assert found.total() == 8


def test_batched_products_and_their_work() -> None:
    found = products(jax.vmap(jnp.matmul), jnp.ones((7, 2, 3)), jnp.ones((7, 3, 5)))
    (only,) = found
    assert sorted((only.m, only.n)) == [2, 5] and (only.batch, only.k) == (7, 3)
    assert only.flops == 2 * 7 * 2 * 3 * 5
    assert floor(found, repeats=1) > 0


def test_a_product_in_a_while_loop_is_refused() -> None:
    def loop(x: jax.Array) -> jax.Array:
        return jax.lax.while_loop(lambda y: jnp.sum(y) < 10, lambda y: y @ jnp.ones((2, 2)), x)

    with pytest.raises(ValueError, match="while"):
        products(loop, jnp.ones((2, 2)))
