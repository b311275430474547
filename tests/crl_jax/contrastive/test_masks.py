"""Masked negatives: the mask hides the right ones, and hidden negatives affect no loss, unchunked or chunked."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crl_jax.contrastive.bootstrap import TD_LOSSES, td_loss
from crl_jax.contrastive.chunked import CHUNKED, chunked
from crl_jax.contrastive.energies import ENERGIES
from crl_jax.contrastive.losses import LOSSES, diagnostics
from crl_jax.contrastive.masks import MASKS, hidden, masked
from crl_jax.types import Batch
from envs_mjx.base import EnvSpec

B, G = 8, 2
SPEC = EnvSpec(3, G, 1, 50, jnp.zeros(3), jnp.ones(3), jnp.zeros(G), jnp.array([1.0, 10.0]))


def _batch(seed: int) -> Batch:
    keys = jax.random.split(jax.random.key(seed), 3)
    floats = jnp.zeros((B, 3))
    goal = jax.random.uniform(keys[0], (B, G)) * SPEC.goal_scale
    env, episode = jax.random.randint(keys[1], (2, B), 0, 3)
    return Batch(floats, floats[:, :1], floats, goal, goal, env, episode, jnp.ones(B, jnp.int32), goal)


def _hide(name: str, seed: int, radius: float = 0.4) -> jax.Array:
    marks = MASKS[name].marks(_batch(seed), SPEC, radius, None)
    return hidden(MASKS[name], marks, marks)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_negatives_masked_are_those_of_a_loop(seed: int) -> None:
    batch = jax.tree.map(np.asarray, _batch(seed))
    trajectory, goal = _hide("same_trajectory", seed), _hide("same_goal", seed)
    for i in range(B):
        for j in range(B):
            same = batch.env[i] == batch.env[j] and batch.episode[i] == batch.episode[j]
            near = np.linalg.norm((batch.goal[i] - batch.goal[j]) / SPEC.goal_scale) <= 0.4
            assert bool(trajectory[i, j]) == bool(same and i != j)
            assert bool(goal[i, j]) == bool(near and i != j)


@pytest.mark.parametrize("name", [*LOSSES, *TD_LOSSES])
def test_no_gradient_comes_from_a_masked_negative_and_the_others_stay(name: str) -> None:
    hide = _hide("same_trajectory", 3) | jnp.eye(B, k=1, dtype=bool)  # with the random goals of a bootstrapped loss
    logits = 3 * jax.random.normal(jax.random.key(0), (B, B))

    def loss(logits: jax.Array) -> jax.Array:
        if name in LOSSES:
            return LOSSES[name](masked(logits, hide), 0.1)
        return td_loss(TD_LOSSES[name](0.9), masked(logits, hide), jnp.ones(B), hide)

    grad = jax.grad(loss)(logits)
    assert jnp.isfinite(loss(logits)) and jnp.isfinite(grad).all()
    assert (grad[hide] == 0).all() and (jnp.diagonal(grad) != 0).all()
    if name in LOSSES:
        assert (grad[~hide] != 0).all()
        np.testing.assert_array_equal(loss(logits), loss(jnp.where(hide, 1e3, logits)))


@pytest.mark.parametrize("mask", list(MASKS))
def test_diagnostics_count_unmasked_negatives_only(mask: str) -> None:
    hide = np.asarray(_hide(mask, 5))
    logits = np.asarray(3 * jax.random.normal(jax.random.key(1), (B, B)), np.float64)
    told = diagnostics(masked(jnp.asarray(logits, jnp.float32), jnp.asarray(hide)), jnp.asarray(hide))
    seen = np.where(hide, -np.inf, logits)
    negatives = ~hide & ~np.eye(B, dtype=bool)
    assert hide.any() and float(told["masked_negatives"]) == pytest.approx(hide.sum() / (B * (B - 1)))
    assert float(told["logits_neg"]) == pytest.approx(logits[negatives].mean(), abs=1e-5)
    assert float(told["logits_pos"]) == pytest.approx(np.diag(logits).mean(), abs=1e-5)
    assert float(told["logsumexp"]) == pytest.approx(np.log(np.exp(seen).sum(1)).mean(), abs=1e-4)
    assert float(told["categorical_accuracy"]) == pytest.approx(np.mean(seen.argmax(1) == np.arange(B)))
    assert "masked_negatives" not in diagnostics(jnp.asarray(logits))


@pytest.mark.parametrize("loss", list(CHUNKED))
def test_a_chunked_loss_is_masked_likewise(loss: str) -> None:
    phi, psi = jax.random.normal(jax.random.key(2), (2, B, 4))
    mask, pairwise = MASKS["same_goal"], ENERGIES["norm"].pairwise
    marks = mask.marks(_batch(5), SPEC, 0.4, None)
    hide = hidden(mask, marks, marks)

    def whole(phi: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        logits = masked(pairwise(phi, psi), hide)
        return LOSSES[loss](logits, 0.1), diagnostics(logits, hide)

    def in_chunks(phi: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        return chunked(pairwise, loss, 2, mask)(phi, psi, 0.1, marks)

    (wanted, told), wanted_grad = jax.value_and_grad(whole, has_aux=True)(phi)
    (value, chunk_told), grad = jax.value_and_grad(in_chunks, has_aux=True)(phi)
    np.testing.assert_allclose(value, wanted, rtol=1e-5)
    np.testing.assert_allclose(grad, wanted_grad, rtol=1e-4, atol=1e-6)
    for name in told:
        np.testing.assert_allclose(chunk_told[name], told[name], rtol=1e-5, err_msg=name)
