"""Convolutions against JAX's own, and the random crop against its distribution."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crl_jax.config import NetworkConfig
from crl_jax.networks.pictures import LAYERS, Convolutions, convolve, random_crop
from crl_jax.networks.residual import Actor, Encoder


@pytest.mark.parametrize("size", [64, 48, 33])
@pytest.mark.parametrize(("side", "stride"), [layer[1:] for layer in LAYERS])
def test_convolve_is_jaxs_convolution_in_value_and_gradient(size: int, side: int, stride: int) -> None:
    keys = jax.random.split(jax.random.PRNGKey(size))
    x, kernel = jax.random.normal(keys[0], (2, size, size, 3)), jax.random.normal(keys[1], (side, side, 3, 32))

    def theirs(kernel: jax.Array) -> jax.Array:
        return jax.lax.conv_general_dilated(
            x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), precision="highest"
        )

    np.testing.assert_allclose(convolve(x, kernel, stride), theirs(kernel), atol=1e-4)
    ours = jax.grad(lambda kernel: jnp.sum(convolve(x, kernel, stride) ** 2))(kernel)
    wanted = jax.grad(lambda kernel: jnp.sum(theirs(kernel) ** 2))(kernel)
    np.testing.assert_allclose(ours, wanted, rtol=2e-3, atol=2e-2 * np.abs(wanted).max())


def test_convolve_refuses_a_stride_that_does_not_divide_the_side() -> None:
    with pytest.raises(ValueError, match="stride=2"):
        convolve(jnp.zeros((1, 8, 8, 3)), jnp.zeros((3, 3, 3, 1)), 2)


def test_shapes_of_the_encoders_and_the_actor() -> None:
    picture, network = (64, 64, 3), NetworkConfig(width=16, critic_depth=2, actor_depth=2, embedding=5)
    flat, action = jnp.zeros((2, 64 * 64 * 3)), jnp.zeros((2, 4))
    eyes = Convolutions()
    assert eyes.apply(eyes.init(jax.random.PRNGKey(0), jnp.zeros((2, *picture))), jnp.zeros((2, *picture))).shape == (
        2,
        8 * 8 * 64,
    )
    phi = Encoder(network, picture)
    params = phi.init(jax.random.PRNGKey(0), flat, action)
    assert phi.apply(params, flat, action).shape == (2, 5)
    assert params["params"]["eyes"]["kernel_0"].shape == (8, 8, 3, 32)
    narrow = Encoder(dataclasses.replace(network, channels=6), picture).init(jax.random.PRNGKey(0), flat, action)
    kernels = [narrow["params"]["eyes"][f"kernel_{layer}"].shape for layer in range(3)]
    assert kernels == [(8, 8, 3, 3), (4, 4, 3, 6), (3, 3, 6, 6)]
    actor = Actor(network, 4, picture)
    params = actor.init(jax.random.PRNGKey(0), flat, flat)
    mean, log_std = actor.apply(params, flat, flat)
    assert mean.shape == log_std.shape == (2, 4)
    assert params["params"]["eyes"]["kernel_0"].shape == (8, 8, 6, 32), "state and goal are six channels"


def test_random_crops_are_uniform_and_independent() -> None:
    """Each picture is moved by an offset in -pad ... pad along both axes; every offset equally often."""
    pad, size, count = 1, 5, 4500
    place = jnp.arange(size * size, dtype=jnp.uint8).reshape(1, size, size, 1)
    flat = jnp.tile(place, (count, 1, 1, 3)).reshape(count, -1)
    moved = np.asarray(random_crop(jax.random.PRNGKey(0), flat, (size, size, 3), pad)).reshape(count, size, size, 3)
    assert moved.dtype == np.uint8
    centre = moved[:, 2, 2, 0].astype(int)
    down, right = centre // size - 2, centre % size - 2
    counts = np.bincount(3 * (down + 1) + right + 1, minlength=9)
    assert len(counts) == 9 and np.abs(counts - count / 9).max() < 5 * np.sqrt(count / 9)
    rows, columns = np.clip(np.arange(size)[:, None] + down[0], 0, 4), np.clip(np.arange(size) + right[0], 0, 4)
    np.testing.assert_array_equal(moved[0, ..., 1], rows * size + columns, "the border is repeated")


def test_no_padding_changes_nothing() -> None:
    flat = jnp.arange(2 * 4 * 4 * 3, dtype=jnp.uint8).reshape(2, -1)
    np.testing.assert_array_equal(random_crop(jax.random.PRNGKey(0), flat, (4, 4, 3), 0), flat)
