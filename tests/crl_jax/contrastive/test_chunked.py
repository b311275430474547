"""The chunked loss has the value, gradient and diagnostics of the unchunked loss, and needs less memory."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crl_jax.agents import crl
from crl_jax.config import AgentConfig, Config, ConfigError, NetworkConfig, with_overrides
from crl_jax.contrastive.chunked import CHUNKED, chunked
from crl_jax.contrastive.energies import ENERGIES
from crl_jax.contrastive.losses import LOSSES, diagnostics
from crl_jax.types import Batch
from envs_mjx.base import EnvSpec

B, F = 24, 5


def _embeddings(scale: float = 1.0) -> tuple[jax.Array, jax.Array]:
    phi, psi = jax.random.normal(jax.random.key(0), (2, B, F))
    return scale * phi, scale * psi.at[3].set(psi[4])


@pytest.mark.parametrize("loss", list(CHUNKED))
@pytest.mark.parametrize(("energy", "rows", "scale"), [("norm", 8, 1), ("norm", B, 30), ("l2", 1, 1), ("cosine", 6, 1)])
def test_equals_the_whole_matrix_in_value_gradient_and_diagnostics(
    loss: str, energy: str, rows: int, scale: float
) -> None:
    phi, psi = _embeddings(scale)
    pairwise = ENERGIES[energy].pairwise

    def whole(phi: jax.Array, psi: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        logits = pairwise(phi, psi)
        return LOSSES[loss](logits, 0.1), diagnostics(logits)

    def in_chunks(phi: jax.Array, psi: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        return chunked(pairwise, loss, rows)(phi, psi, 0.1)

    (wanted, told), wanted_grads = jax.value_and_grad(whole, (0, 1), has_aux=True)(phi, psi)
    (value, chunk_told), grads = jax.jit(jax.value_and_grad(in_chunks, (0, 1), has_aux=True))(phi, psi)
    np.testing.assert_allclose(value, wanted, rtol=1e-5)
    for grad, wanted_grad in zip(grads, wanted_grads, strict=True):
        np.testing.assert_allclose(grad, wanted_grad, rtol=1e-4, atol=1e-5 * float(jnp.abs(wanted_grad).max()))
    assert chunk_told.keys() == told.keys()
    for name in told:
        np.testing.assert_allclose(chunk_told[name], told[name], rtol=1e-5, err_msg=name)


def test_every_loss_is_chunked_or_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = _spec()
    monkeypatch.setitem(LOSSES, "another", LOSSES["fwd_infonce"])
    with pytest.raises(ConfigError, match="logits_chunk=8: loss='another' has no chunked form; take 0, or fwd_infonce"):
        crl.make(AgentConfig(loss="another", logits_chunk=8), NetworkConfig(), spec)
    for loss in CHUNKED:
        crl.make(AgentConfig(loss=loss, logits_chunk=8), NetworkConfig(), spec)


@pytest.mark.parametrize(("rows", "nearest"), [(100, "64 or 128"), (300, "256"), (-1, "0 or more")])
def test_a_chunk_that_does_not_divide_the_batch_is_refused(rows: int, nearest: str) -> None:
    with pytest.raises(ConfigError, match=f"logits_chunk={rows}: must .*{nearest}$"):
        with_overrides(Config(), logits_chunk=rows).validate()
    with pytest.raises(ConfigError, match="logits_chunk=7: must divide the batch of 24"):
        chunked(ENERGIES["norm"].pairwise, "fwd_infonce", 7)(*_embeddings(), 0.1)
    with_overrides(Config(), logits_chunk=64).validate()


def _spec() -> EnvSpec:
    return EnvSpec(10, 6, 4, 150, jnp.zeros(10), jnp.ones(10), jnp.zeros(6), jnp.ones(6))


def _temporaries(batch_size: int, **config: Any) -> int:
    """Bytes of temporaries of a compiled update of an agent with narrow networks."""
    network = NetworkConfig(width=16, critic_depth=1, actor_depth=1)
    agent = crl.make(AgentConfig(**config), network, _spec())

    def blank() -> Batch:
        return Batch(*(jnp.zeros((batch_size, size)) for size in (10, 4, 10, 6, 6)), *[jnp.zeros(batch_size, int)] * 3)

    key = jax.eval_shape(lambda: jax.random.PRNGKey(0))
    update = jax.jit(agent.update).lower(jax.eval_shape(agent.init, key), jax.eval_shape(blank), key)
    memory: Any = update.compile().memory_analysis()
    return int(memory.temp_size_in_bytes)


@pytest.mark.parametrize("loss", ["fwd_infonce", "sym_infonce"])
def test_a_batch_of_8192_fits(loss: str) -> None:
    """Unchunked, the logits take 268 MB. In chunks of 256 rows, all temporaries of an update stay below 67 MB."""
    logits = 4 * 8192**2
    assert _temporaries(8192, loss=loss, logits_chunk=256) < logits / 4
    if loss == "fwd_infonce":
        assert _temporaries(8192, loss=loss) > logits
