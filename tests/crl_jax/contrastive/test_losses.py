"""Energies and losses: properties, and the bugs of earlier implementations (2, 10 of the design note)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crl_jax.contrastive.energies import ENERGIES
from crl_jax.contrastive.losses import LOSSES, bwd_infonce, diagnostics, fwd_infonce, participation_ratio

names = pytest.mark.parametrize("name", list(ENERGIES))
losses = pytest.mark.parametrize("name", list(LOSSES))


def _embeddings(seed: int, size: int = 8, dim: int = 5, scale: float = 1.0) -> tuple[jax.Array, jax.Array]:
    a, b = jax.random.split(jax.random.key(seed))
    return scale * jax.random.normal(a, (size, dim)), scale * jax.random.normal(b, (size, dim))


def _oracle(name: str, phi: np.ndarray, psi: np.ndarray) -> np.ndarray:
    phi, psi = np.asarray(phi, np.float64), np.asarray(psi, np.float64)
    square = ((phi[:, None] - psi[None]) ** 2).sum(-1)
    if name == "norm":
        return -np.sqrt(square + 1e-6)
    if name == "l2":
        return -square
    if name == "mrn":
        half = (phi.shape[-1] + 1) // 2
        ahead = np.maximum(phi[:, None, :half] - psi[None, :, :half], 0).max(-1)
        return -ahead - np.sqrt(((phi[:, None, half:] - psi[None, :, half:]) ** 2).sum(-1) + 1e-6)
    if name.startswith("cosine"):
        phi = phi / np.sqrt((phi**2).sum(-1, keepdims=True) + 1e-6)
        psi = psi / np.sqrt((psi**2).sum(-1, keepdims=True) + 1e-6)
    return phi @ psi.T


@names
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.sampled_from([0.01, 1.0, 30.0]))
def test_pairwise_and_diagonal_match_float64(name: str, seed: int, scale: float) -> None:
    phi, psi = _embeddings(seed, scale=scale)
    wanted = _oracle(name, phi, psi)
    # the bound stated in energies.py, on squared distances; dividing by the distance turns it into one on `norm`
    bound = 9 * 2.0**-24 * (np.linalg.norm(phi, axis=-1)[:, None] + np.linalg.norm(psi, axis=-1)[None]) ** 2 + 1e-6
    if name in ("norm", "mrn"):
        bound = np.sqrt(bound) if name == "mrn" else bound / np.abs(wanted) + 1e-6 * np.abs(wanted)
    assert (np.abs(ENERGIES[name].pairwise(phi, psi) - wanted) <= bound + 1e-6).all()
    assert (np.abs(ENERGIES[name].diagonal(phi, psi) - np.diag(wanted)) <= np.diag(bound) + 1e-6).all()


@names
def test_gradient_is_finite_at_zero_distance_and_at_zero(name: str) -> None:
    phi, _ = _embeddings(0)
    for x in (phi, jnp.zeros_like(phi), 1e3 * phi):
        for form in ENERGIES[name][:2]:
            grads = jax.grad(lambda a, b, form=form: form(a, b).sum(), (0, 1))(x, x)
            assert all(jnp.isfinite(g).all() for g in grads)


def test_distance_at_zero_stays_within_the_stated_error() -> None:
    phi, _ = _embeddings(0, 64, 64)
    length = jnp.linalg.norm(phi, axis=-1)
    error = -jnp.diagonal(ENERGIES["l2"].pairwise(phi, phi))
    assert (error <= 68 * 2.0**-24 * (2 * length) ** 2).all()


@pytest.mark.parametrize("dim", [2, 64, 256])
@pytest.mark.parametrize("length", [0.1, 5.0, 1e3])
def test_matmul_distance_keeps_its_bound_with_duplicates(dim: int, length: float) -> None:
    """Compare with float64: half of the goals equal a row, the others lie near a row, far away, or at the origin."""
    phi, noise = _embeddings(1, 256, dim, length / dim**0.5)
    near = phi[128:192] * (1 + 1e-3) + 1e-4 * noise[128:192]
    psi = jnp.concatenate([phi[127::-1], near, noise[192:255], jnp.zeros((1, dim))])
    lengths = np.linalg.norm(phi, axis=-1)[:, None] + np.linalg.norm(psi, axis=-1)[None]
    bound = (dim + 4) * 2.0**-24 * lengths**2
    square = -_oracle("l2", phi, psi)
    assert (square == 0).sum() >= 128
    assert (np.abs(-ENERGIES["l2"].pairwise(phi, psi) - square) <= bound).all()
    # of a square root: |sqrt(x + e) - sqrt(x)| <= sqrt(|e|), and |e| / (2 sqrt(x)) to first order away from zero
    norm = -np.asarray(ENERGIES["norm"].pairwise(phi, psi), np.float64)
    error = np.abs(norm - np.sqrt(square + 1e-6)) - 2.0**-22 * norm  # the last operations round, too
    assert (error <= np.minimum(np.sqrt(bound), bound / np.sqrt(square + 1e-6))).all()


@names
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_permuting_rows_and_goals_permutes_logits(name: str, seed: int) -> None:
    phi, psi = _embeddings(seed)
    order = jax.random.permutation(jax.random.key(seed), len(phi))
    logits = ENERGIES[name].pairwise(phi, psi)
    permuted = ENERGIES[name].pairwise(phi[order], psi[order])
    np.testing.assert_allclose(permuted, logits[order][:, order], atol=1e-5)
    for loss in LOSSES.values():
        np.testing.assert_allclose(loss(permuted, 0.1), loss(logits, 0.1), rtol=1e-4)


@pytest.mark.parametrize("name", ["cosine", "cosine_fixed"])
def test_cosine_is_normalised_per_row(name: str) -> None:
    phi, psi = _embeddings(0)
    scaled = phi.at[0].multiply(100)
    np.testing.assert_allclose(ENERGIES[name].pairwise(scaled, psi), ENERGIES[name].pairwise(phi, psi), atol=1e-5)


def test_only_cosine_learns_a_temperature() -> None:
    assert [name for name, energy in ENERGIES.items() if energy.learned_temperature] == ["cosine"]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_mrn_is_a_quasimetric(seed: int) -> None:
    """MRN is non-negative, 0 from a point to itself, obeys the triangle inequality, and is not symmetric."""
    x, y = _embeddings(seed, 3)
    distance = -np.asarray(ENERGIES["mrn"].pairwise(jnp.concatenate([x, y]), jnp.concatenate([x, y])), np.float64)
    slack = 4e-3  # EPSILON under the root, and what the matmul form loses near zero
    assert (distance >= 0).all() and (np.diagonal(distance) <= slack).all()
    assert (distance[:, None, :] <= distance[:, :, None] + distance[None] + slack).all()
    assert np.abs(distance - distance.T).max() > 0.01


def _logits(seed: int) -> jax.Array:
    return 3 * jax.random.normal(jax.random.key(seed), (7, 7))


def test_forward_infonce_by_hand() -> None:
    logits = np.asarray(_logits(0), np.float64)
    normaliser = np.log(np.exp(logits).sum(1))
    wanted = np.mean(normaliser - np.diag(logits)) + 0.1 * np.mean(normaliser**2)
    assert float(fwd_infonce(_logits(0), 0.1)) == pytest.approx(wanted, rel=1e-5)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), penalty=st.sampled_from([0.0, 0.1]))
def test_backward_is_forward_of_the_transpose_and_symmetric_is_their_sum(seed: int, penalty: float) -> None:
    logits = _logits(seed)
    np.testing.assert_allclose(bwd_infonce(logits, penalty), fwd_infonce(logits.T, penalty), rtol=1e-6)
    sym = LOSSES["sym_infonce"]
    np.testing.assert_allclose(sym(logits, penalty), sym(logits.T, penalty), rtol=1e-5)
    both = fwd_infonce(logits, penalty) + bwd_infonce(logits, penalty)
    np.testing.assert_allclose(sym(logits, penalty), both, rtol=1e-6)


def test_binary_nce_is_the_cross_entropy_with_every_negative() -> None:
    logits = _logits(0)
    wanted = jnp.mean(optax.sigmoid_binary_cross_entropy(logits, jnp.eye(7)))
    np.testing.assert_allclose(LOSSES["binary_nce"](logits, 0.1), wanted, rtol=1e-5)
    grad = jax.grad(LOSSES["binary_nce"])(logits, 0.0)
    off = ~np.eye(7, dtype=bool)
    assert (grad[off] > 0).all() and (jnp.diagonal(grad) < 0).all()


@losses
def test_every_loss_falls_when_positives_rise(name: str) -> None:
    grad = jax.grad(LOSSES[name])(_logits(0), 0.0)
    assert (jnp.diagonal(grad) < 0).all()
    assert (grad[~np.eye(7, dtype=bool)] > 0).all()


@losses
def test_losses_are_finite_at_extreme_logits(name: str) -> None:
    logits = 1e4 * _logits(0)
    assert jnp.isfinite(LOSSES[name](logits, 0.1)) and jnp.isfinite(jax.grad(LOSSES[name])(logits, 0.1)).all()


def test_penalty_pins_the_row_constant_that_infonce_leaves_free() -> None:
    logits = _logits(0)
    shifted = logits + jnp.arange(7.0)[:, None]
    np.testing.assert_allclose(fwd_infonce(shifted, 0.0), fwd_infonce(logits, 0.0), rtol=1e-5)
    assert abs(float(fwd_infonce(shifted, 0.1) - fwd_infonce(logits, 0.1))) > 0.1


def test_diagnostics_by_hand_and_on_a_collapsed_critic() -> None:
    logits = np.asarray(_logits(3), np.float64)
    out = diagnostics(_logits(3))
    off = ~np.eye(7, dtype=bool)
    assert float(out["categorical_accuracy"]) == pytest.approx(np.mean(logits.argmax(1) == np.arange(7)))
    assert float(out["logits_pos"]) == pytest.approx(np.diag(logits).mean(), rel=1e-5)
    assert float(out["logits_neg"]) == pytest.approx(logits[off].mean(), abs=1e-5)
    assert float(out["logsumexp"]) == pytest.approx(np.log(np.exp(logits).sum(1)).mean(), rel=1e-5)
    assert float(diagnostics(jnp.zeros((7, 7)))["categorical_accuracy"]) == 0
    assert float(diagnostics(jnp.full((7, 7), jnp.nan))["categorical_accuracy"]) == 0


def test_ranks_of_known_spectra() -> None:
    basis, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(64, 64)))
    for rank in (1, 4, 16):
        half = basis[:, :rank] @ np.eye(16)[:rank]
        flat = jnp.asarray(np.concatenate([half, -half]) + 3.0, jnp.float32)  # the mean does not count
        assert float(participation_ratio(flat)) == pytest.approx(rank, rel=1e-3)
    values = np.array([4.0, 2.0, 1.0, 0.5])
    x = jnp.asarray(np.concatenate([basis[:, :4] * values, -basis[:, :4] * values]), jnp.float32)
    assert float(participation_ratio(x)) == pytest.approx((values**2).sum() ** 2 / (values**4).sum(), rel=1e-3)
