"""Bootstrapped losses: equal to the classifier form of their source, bounded, with the right positives per row."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crl_jax.contrastive.bootstrap import MAX_RATIO, TD_LOSSES, positives, ratio, td_loss

B = 7
names = pytest.mark.parametrize("name", list(TD_LOSSES))


def _inputs(seed: int, scale: float = 2.0) -> tuple[jax.Array, jax.Array]:
    first, second = jax.random.split(jax.random.key(seed))
    return scale * jax.random.normal(first, (B, B)), ratio(scale * jax.random.normal(second, (2, B)))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), discount=st.sampled_from([0.5, 0.9, 0.99]))
def test_the_losses_are_cross_entropies_of_the_classifier(seed: int, discount: float) -> None:
    logits, weight = _inputs(seed)
    classifier, w = 1 / (1 + np.exp(-np.asarray(logits, np.float64))), np.asarray(weight, np.float64)
    positive, random = np.diag(classifier), classifier[np.arange(B), (np.arange(B) + 1) % B]
    td = -(1 - discount) * np.log(positive) - discount * w * np.log(random) - np.log(1 - random)
    nce = -np.log(positive) - np.log(1 - random)
    wanted = {"c_learning": td.mean(), "nce_c_learning": (td + nce).mean()}
    for name, row in TD_LOSSES.items():
        assert float(td_loss(row(discount), logits, weight, None)) == pytest.approx(wanted[name], rel=1e-4)


def test_the_weight_is_the_smaller_critic_s_ratio_and_clipped() -> None:
    values = np.array([[0.5, 3.0, 1e4, -1e4], [1.5, 2.0, 2e4, 1e4]])
    classifier = (1 / (1 + np.exp(-values[:, :2]))).min(0)
    np.testing.assert_allclose(ratio(jnp.asarray(values))[:2], classifier / (1 - classifier), rtol=1e-4)
    np.testing.assert_allclose(ratio(jnp.asarray(values))[2:], [MAX_RATIO, 0.0], rtol=1e-5)


@names
def test_turning_the_batch_changes_nothing(name: str) -> None:
    """Rolling the batch keeps the loss, because the random goal of row i is that of row i + 1, in a cycle."""
    logits, weight = _inputs(0)
    turned = jnp.roll(logits, (2, 2), (0, 1))
    loss = TD_LOSSES[name](0.9)
    np.testing.assert_allclose(
        td_loss(loss, turned, jnp.roll(weight, 2), None), td_loss(loss, logits, weight, None), rtol=1e-5
    )


@names
def test_finite_at_extreme_logits_and_only_two_logits_of_a_row_count(name: str) -> None:
    logits, weight = _inputs(1, 1e4)
    loss = TD_LOSSES[name](0.9)
    grad = jax.grad(lambda x: td_loss(loss, x, weight, None))(logits)
    assert jnp.isfinite(td_loss(loss, logits, weight, None)) and jnp.isfinite(grad).all()
    counted = np.eye(B, dtype=bool) | np.roll(np.eye(B, dtype=bool), 1, axis=1)
    assert (grad[~counted] == 0).all()


def test_positives_are_next_goals_in_their_share_of_all_rows() -> None:
    near, far, row = jnp.zeros((4, 2)), jnp.ones((4, 2)), jnp.arange(4) + 100
    assert (positives(TD_LOSSES["c_learning"](0.99), near, far, row, 256) == near).all()
    both = TD_LOSSES["nce_c_learning"](0.5)  # a third: 85 of 256
    assert (positives(both, near, far, row, 256) == far).all()
    mixed = positives(both, near, far, jnp.arange(4) + 83, 256)
    np.testing.assert_array_equal(mixed[:, 0], [0, 0, 1, 1])
