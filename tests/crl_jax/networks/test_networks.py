"""Networks: depth counting, the LayerNorm flag, bounds, initialisation."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict

from crl_jax.config import ConfigError, NetworkConfig
from crl_jax.networks.residual import Actor, Encoder, ResidualMLP, layer_norm

KEY = jax.random.key(0)


def _count(params: dict, leaf: str) -> int:
    """Number of layers that own a parameter called `leaf`; scanned layers count once per block."""
    flat = flatten_dict(params["params"])
    base = {"kernel": 2, "scale": 1}[leaf]
    return sum(value.shape[0] if value.ndim > base else 1 for path, value in flat.items() if path[-1] == leaf)


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 8, 16])
@pytest.mark.parametrize("norm", [True, False])
def test_depth_counts_hidden_layers(depth: int, norm: bool) -> None:
    params = ResidualMLP(output=3, width=8, depth=depth, layer_norm=norm).init(KEY, jnp.zeros((2, 5)))
    free = 1 if depth < 4 else 2  # head; stem and head
    per_block = _count(params, "kernel") - free
    flat = flatten_dict(params["params"])
    blocks = depth // 4 if depth >= 4 else 1
    stacked = [v for p, v in flat.items() if p[0] == "blocks"]
    assert all(v.shape[0] == blocks for v in stacked)
    assert per_block == depth
    assert _count(params, "scale") == ((depth + (depth >= 4)) if norm else 0)


@pytest.mark.parametrize("depth", [0, 5, 6, 7, 10])
def test_bad_depth_is_refused_not_floored(depth: int) -> None:
    with pytest.raises(ConfigError, match="nearest"):
        ResidualMLP(output=3, width=8, depth=depth).init(KEY, jnp.zeros((2, 5)))


def test_unknown_activation_is_refused() -> None:
    with pytest.raises(ConfigError, match="swish"):
        ResidualMLP(output=3, width=8, depth=1, activation="swich").init(KEY, jnp.zeros((2, 5)))


def test_residual_is_added_after_the_last_activation() -> None:
    net = ResidualMLP(output=8, width=8, depth=4, activation="relu")
    x = jax.random.normal(KEY, (4, 5))
    params = net.init(KEY, x)
    params["params"]["blocks"] = jax.tree.map(jnp.zeros_like, params["params"]["blocks"])  # a block of zeros: identity
    stem, head = params["params"]["stem"], params["params"]["head"]
    hidden = x @ stem["dense_0"]["kernel"] + stem["dense_0"]["bias"]
    hidden = nn.relu(layer_norm(hidden, stem["norm_0"]["scale"], stem["norm_0"]["bias"]))
    np.testing.assert_allclose(net.apply(params, x), hidden @ head["kernel"] + head["bias"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("norm", [True, False])
def test_layer_norm_flag_reaches_phi_psi_and_actor(norm: bool) -> None:
    config = NetworkConfig(width=8, critic_depth=2, actor_depth=4, layer_norm=norm, embedding=5)
    actor = Actor(config, 3).init(KEY, jnp.zeros((1, 4)), jnp.zeros((1, 2)))
    encoder = Encoder(config).init(KEY, jnp.zeros((1, 4)), jnp.zeros((1, 3)))
    assert (_count(actor, "scale") > 0) is norm
    assert (_count(encoder, "scale") > 0) is norm
    assert Encoder(config).apply(encoder, jnp.zeros((7, 4)), jnp.zeros((7, 3))).shape == (7, 5)


@pytest.mark.parametrize("name", ["swish", "relu", "gelu", "tanh"])
def test_activation_changes_the_output(name: str) -> None:
    x = jax.random.normal(KEY, (3, 4))
    params = ResidualMLP(2, 8, 2).init(KEY, x)
    hidden = params["params"]["hidden"]
    out = x
    for i in range(2):
        out = out @ hidden[f"dense_{i}"]["kernel"] + hidden[f"dense_{i}"]["bias"]
        out = getattr(nn, name)(nn.LayerNorm().apply({"params": hidden[f"norm_{i}"]}, out))
    out = out @ params["params"]["head"]["kernel"]
    np.testing.assert_allclose(ResidualMLP(2, 8, 2, activation=name).apply(params, x), out, rtol=1e-4, atol=1e-5)


def test_log_std_is_bounded() -> None:
    actor = Actor(NetworkConfig(width=8, critic_depth=1, actor_depth=1), 3)
    obs, goal = 1e3 * jax.random.normal(KEY, (64, 4)), jnp.zeros((64, 2))
    params = jax.tree.map(lambda x: 100 * x, actor.init(KEY, obs, goal))
    _, log_std = actor.apply(params, obs, goal)
    assert log_std.min() >= -5 and log_std.max() <= 2
    assert log_std.min() < -4.9 and log_std.max() > 1.9


def test_initialiser_is_lecun_uniform_over_three() -> None:
    kernel = ResidualMLP(64, 256, 1).init(KEY, jnp.zeros((1, 100)))["params"]["hidden"]["dense_0"]["kernel"]
    assert float(jnp.abs(kernel).max()) == pytest.approx(0.1, rel=0.01)  # 1 / sqrt(fan_in)


def test_layer_norm_and_its_gradient_equal_flax() -> None:
    keys = jax.random.split(KEY, 4)
    x = 3 + jax.random.normal(keys[0], (6, 16))
    scale, bias = 1 + 0.1 * jax.random.normal(keys[1], (16,)), jax.random.normal(keys[2], (16,))
    weight = jax.random.normal(keys[3], (6, 16))

    def flax_norm(x: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
        return nn.LayerNorm().apply({"params": {"scale": scale, "bias": bias}}, x)

    np.testing.assert_allclose(layer_norm(x, scale, bias), flax_norm(x, scale, bias), rtol=1e-4, atol=1e-5)
    grads = [jax.vjp(norm, x, scale, bias)[1](weight) for norm in (layer_norm, flax_norm)]
    for mine, theirs in zip(*grads, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("depth", [1, 3, 4, 12])
def test_skip_last_norm_leaves_out_the_last_layernorm_alone(depth: int) -> None:
    x = jax.random.normal(KEY, (4, 5))
    whole, net = (ResidualMLP(3, 8, depth, activation="relu", skip_last_norm=skip) for skip in (False, True))
    params = net.init(KEY, x)
    assert _count(params, "scale") == _count(whole.init(KEY, x), "scale") - 1
    assert _count(params, "kernel") == _count(whole.init(KEY, x), "kernel")
    last = params["params"]["hidden" if depth < 4 else "last"]
    last = last if depth < 4 else last["layers"]
    index = depth - 1 if depth < 4 else 3
    assert f"norm_{index}" not in last and f"dense_{index}" in last
    scaled = jax.tree.map(lambda leaf: leaf, params)
    layers = scaled["params"]["hidden"] if depth < 4 else scaled["params"]["last"]["layers"]
    layers[f"dense_{index}"] = jax.tree.map(lambda leaf: 10 * leaf, layers[f"dense_{index}"])
    assert jnp.abs(net.apply(scaled, x) - net.apply(params, x)).max() > 0.1  # a LayerNorm would have undone the factor


def test_a_cold_start_brings_all_embeddings_together_and_not_the_actor_s() -> None:
    config = NetworkConfig(width=8, critic_depth=2, actor_depth=2, cold_init=True, embedding=5)
    params = Encoder(config).init(KEY, jnp.zeros((1, 4)))
    kernel = params["params"]["mlp"]["head"]["kernel"]
    assert 0.8e-12 < float(jnp.abs(kernel).max()) <= 1e-12 and float(kernel.min()) < 0 < float(kernel.max())
    assert jnp.abs(Encoder(config).apply(params, jax.random.normal(KEY, (7, 4)))).max() < 1e-10
    actor = Actor(config, 3).init(KEY, jnp.zeros((1, 4)), jnp.zeros((1, 2)))
    assert jnp.abs(actor["params"]["mlp"]["head"]["kernel"]).max() > 0.1
