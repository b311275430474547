"""Layers of several networks at once: the GPU's kernels (interpreted) and the plain form, against JAX's gradients."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crl_jax.config import NetworkConfig
from crl_jax.networks import fused, stack
from crl_jax.networks.residual import Actor, Encoder, layer_norm

LAYERS = 4


def _normal(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.PRNGKey(seed), shape)


def _reference(z: jax.Array, vectors: jax.Array, layer: int) -> jax.Array:
    """Each network alone, with the LayerNorm of `residual.py`."""
    rows = zip(z, vectors[layer], strict=True)
    return jnp.stack([jax.nn.swish(layer_norm(x + own[0], own[1], own[2])) for x, own in rows])


def _vectors(networks: int, width: int) -> jax.Array:
    return _normal(1, LAYERS, networks, fused.VECTORS, width)


@pytest.mark.parametrize(("networks", "batch", "width", "layer"), [(1, 8, 16, 0), (3, 24, 32, 3)])
def test_the_kernels_and_the_plain_form_compute_the_layers(networks: int, batch: int, width: int, layer: int) -> None:
    products, grad = _normal(0, LAYERS, networks, batch, width), _normal(2, networks, batch, width)
    z, vectors = products[layer], _vectors(networks, width)
    out, pull = jax.vjp(lambda z, vectors: _reference(z, vectors, layer), z, vectors)
    by_z, by_vectors = pull(grad)
    for value in (fused.forward_plain(z, vectors, layer), fused.forward_kernel(z, vectors, layer, interpret=True)):
        np.testing.assert_allclose(value, out, atol=1e-5)
    both = (
        fused.backward_plain(products, vectors, grad, (layer, layer)),
        fused.backward_kernel(products, vectors, grad, (layer, layer), interpret=True),
    )
    for grad_z, parts, again in both:
        assert parts.shape == (networks, batch // fused.ROWS, fused.VECTORS, width)
        np.testing.assert_allclose(grad_z, by_z, atol=1e-5)
        np.testing.assert_allclose(jnp.sum(parts, axis=1), by_vectors[layer], atol=1e-5 * batch)
        np.testing.assert_allclose(again, out, atol=1e-5)


@pytest.mark.parametrize("batch", [16, 5])
def test_gradients_of_a_layer_and_of_a_block_are_those_of_automatic_differentiation(batch: int) -> None:
    """Also for a batch that no kernel takes; the third network's gradient does not reach the others."""
    x, kernels, vectors = _normal(0, 3, batch, 16), 0.3 * _normal(3, LAYERS, 3, 16, 16), _vectors(3, 16)
    grad = _normal(4, 3, batch, 16)

    def reference(x: jax.Array, kernels: jax.Array, vectors: jax.Array) -> jax.Array:
        inside = x
        for layer in range(LAYERS):
            inside = _reference(inside @ kernels[layer], vectors, layer)
        return x + 0.5 * inside

    wanted, pull = jax.vjp(reference, x, kernels, vectors)
    for scanned in (True, False):
        out, ours = jax.vjp(lambda *inputs, s=scanned: fused.residual_block(*inputs, 0.5, s), x, kernels, vectors)
        np.testing.assert_allclose(out, wanted, atol=1e-5)
        for mine, theirs in zip(ours(grad), pull(grad), strict=True):
            np.testing.assert_allclose(mine, theirs, atol=1e-4)
    alone = jax.vjp(lambda z, v: fused.norm_swish(z, v, 2), x, vectors)[1](grad)
    for mine, theirs in zip(alone, jax.vjp(lambda z, v: _reference(z, v, 2), x, vectors)[1](grad), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-4)


@pytest.mark.parametrize(("scale", "remat", "unroll"), [(1.0, False, 1), (2**-0.5, True, 2)])
def test_a_stack_computes_what_its_networks_compute(scale: float, remat: bool, unroll: int) -> None:
    config = NetworkConfig(
        width=32, critic_depth=8, actor_depth=8, embedding=16, residual_scale="one" if scale == 1 else "depth"
    )
    obs, action, goal = _normal(0, 8, 10), _normal(1, 8, 4), _normal(2, 8, 6)
    encoder, actor = Encoder(config), Actor(config, 4)
    inputs = ((obs, action), (goal,), (obs, goal))
    keys = jax.random.split(jax.random.PRNGKey(3), 3)
    networks = [net.init(key, *given) for net, key, given in zip((encoder, encoder, actor), keys, inputs, strict=True)]
    networks = jax.tree.map(lambda leaf: leaf + 0.1 * _normal(leaf.size, *leaf.shape), networks)
    packed = stack.packed(networks)
    jax.tree.map(np.testing.assert_array_equal, stack.unpacked(packed, networks), networks)
    out = stack.forward(packed, stack.rows(packed, *inputs), scale, remat, unroll)
    for number, given in enumerate(inputs[:2]):
        np.testing.assert_allclose(out[number, :, :16], encoder.apply(networks[number], *given), atol=2e-5)
    mean, _ = actor.apply(networks[2], obs, goal)
    np.testing.assert_allclose(out[2, :, :4], mean, atol=2e-5)
    assert not np.asarray(out[2, :, 8:]).any(), "outputs that the actor has not stay zero"
    squares = [sum(float(jnp.sum(jnp.square(leaf))) for leaf in jax.tree.leaves(one)) for one in networks]
    np.testing.assert_allclose(packed.squares(), squares, rtol=1e-5)
