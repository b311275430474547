"""Deep networks: scan, unrolling and remat give equal values, bfloat16 is within its rounding, 1024 layers train."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crl_jax.agents import crl
from crl_jax.config import AgentConfig, ConfigError, NetworkConfig
from crl_jax.networks.residual import Block, Layers, ResidualMLP
from crl_jax.types import Batch
from envs_mjx.base import EnvSpec

KEY = jax.random.key(0)
X = jax.random.normal(jax.random.key(1), (8, 12))
DEEP = ResidualMLP(output=5, width=32, depth=64)
BFLOAT16 = 2.0**-8
"""Rounding of one bfloat16 number, relative."""


def _loss(net: ResidualMLP, params: Any) -> jax.Array:
    return jnp.mean(jnp.square(net.apply(params, X)))  # type: ignore[arg-type]


def _output_and_gradient(net: ResidualMLP, params: Any) -> tuple[jax.Array, Any]:
    return net.apply(params, X), jax.jit(jax.grad(lambda p: _loss(net, p)))(params)  # type: ignore[return-value]


def _relative(a: Any, b: Any) -> float:
    """|a - b| / |b| over all leaves."""
    difference = jax.tree.map(lambda x, y: jnp.sum(jnp.square(x - y)), a, b)
    size = jax.tree.map(lambda y: jnp.sum(jnp.square(y)), b)
    return float(jnp.sqrt(sum(jax.tree.leaves(difference)) / sum(jax.tree.leaves(size))))


def _by_hand(params: Any) -> jax.Array:
    """The network as a Python loop over its blocks."""
    p = params["params"]
    x = Layers(32, 1, True, "swish").apply({"params": p["stem"]}, X)
    for index in range(16):
        block = jax.tree.map(lambda leaf: leaf[index], p["blocks"])  # noqa: B023
        x, _ = Block(32, True, "swish").apply({"params": block}, x, None)
    return x @ p["head"]["kernel"] + p["head"]["bias"]


@pytest.mark.slow
def test_scanned_equals_a_loop_over_blocks() -> None:
    params = DEEP.init(KEY, X)
    grad = jax.jit(jax.grad(lambda p: jnp.mean(jnp.square(_by_hand(p)))))(params)
    np.testing.assert_allclose(DEEP.apply(params, X), _by_hand(params), rtol=1e-4, atol=1e-5)
    assert _relative(_output_and_gradient(DEEP, params)[1], grad) < 1e-5


@pytest.mark.parametrize(
    "change", [{"remat": True}, {"unroll": 4}, pytest.param({"unroll": 99}, marks=pytest.mark.slow)], ids=str
)
def test_remat_and_unrolling_change_no_value(change: dict[str, Any]) -> None:
    params = DEEP.init(KEY, X)
    other = dataclasses.replace(DEEP, **change)
    assert jax.tree.structure(other.init(KEY, X)) == jax.tree.structure(params)
    (output, grad), (expected, expected_grad) = (_output_and_gradient(net, params) for net in (other, DEEP))
    assert _relative(output, expected) < 1e-5
    assert _relative(grad, expected_grad) < 1e-5


def test_bfloat16_is_within_its_rounding() -> None:
    """Rounding errors of 64 layers add up to about sqrt(64) times one error; the test allows four times that."""
    params = DEEP.init(KEY, X)
    (output, grad), (expected, expected_grad) = (
        _output_and_gradient(net, params) for net in (dataclasses.replace(DEEP, dtype="bfloat16"), DEEP)
    )
    assert output.dtype == jnp.float32 and {leaf.dtype.name for leaf in jax.tree.leaves(params)} == {"float32"}
    assert 0 < _relative(output, expected) < 4 * 8 * BFLOAT16
    assert 0 < _relative(grad, expected_grad) < 4 * 8 * BFLOAT16


def test_residual_scale_keeps_the_size_of_a_deep_network() -> None:
    def size(scale: str, depth: int) -> float:
        net = ResidualMLP(output=32, width=32, depth=depth, residual_scale=scale)
        return float(jnp.std(net.apply(net.init(KEY, X), X)))  # type: ignore[arg-type]

    assert size("depth", 256) < 2 * size("depth", 16)
    assert size("one", 256) > 4 * size("depth", 256)


@pytest.mark.parametrize("field", [{"dtype": "float16"}, {"residual_scale": "half"}, {"unroll": 0}], ids=str)
def test_bad_values_are_refused(field: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(field))):
        NetworkConfig(**field).validate()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_depth_1024_has_finite_gradients_over_50_updates(dtype: str) -> None:
    spec = EnvSpec(6, 3, 2, 50, jnp.zeros(6), jnp.ones(6), jnp.zeros(3), jnp.ones(3))
    network = NetworkConfig(width=32, critic_depth=1024, actor_depth=512, dtype=dtype, remat=True)  # type: ignore[arg-type]
    agent = crl.CRL(AgentConfig(), network, spec)
    keys = jax.random.split(KEY, 50)

    def batch(key: jax.Array) -> Batch:
        parts = jax.random.split(key, 3)
        obs, action = jax.random.normal(parts[0], (16, 6)), jnp.tanh(jax.random.normal(parts[1], (16, 2)))
        goal = obs[:, :3] + 0.1 * jax.random.normal(parts[2], (16, 3))
        count = jnp.zeros(16, jnp.int32)
        return Batch(obs, action, obs, goal, goal, count, count, count + 1)

    @jax.jit
    def run(state: crl.CRLState) -> tuple[crl.CRLState, Any]:
        return jax.lax.scan(lambda s, key: agent.update(s, batch(key), key), state, keys)

    state, metrics = run(jax.jit(agent.init)(KEY))
    for name in ("critic_grad_norm", "actor_grad_norm", "critic_loss"):
        assert np.isfinite(metrics[name]).all(), name
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((state.phi, state.psi, state.actor)))
    assert metrics["critic_loss"][-5:].mean() < metrics["critic_loss"][:5].mean()
