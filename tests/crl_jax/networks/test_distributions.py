"""Tanh-Gaussian: density, stability, mode."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from crl_jax.networks.distributions import log_prob, mode, sample_and_log_prob

KEY = jax.random.key(0)


def _noise(mean: jax.Array) -> jax.Array:
    return jax.random.normal(KEY, mean.shape)


def test_log_prob_is_that_of_the_sample() -> None:
    mean, log_std = jnp.array([[0.3, -0.5]]).repeat(1000, 0), jnp.array([[-0.7, 0.2]]).repeat(1000, 0)
    action, log_prob = sample_and_log_prob(_noise(mean), mean, log_std)
    a = np.asarray(action, np.float64)
    x, std = np.arctanh(a), np.exp(np.asarray(log_std, np.float64))
    normal = -0.5 * ((x - mean) / std) ** 2 - np.log(std) - 0.5 * np.log(2 * np.pi)
    keep = np.abs(a).max(-1) < 0.999  # arctanh of a float32 near 1 loses digits, the code under test does not
    assert keep.mean() > 0.9
    np.testing.assert_allclose(log_prob[keep], (normal - np.log(1 - a**2)).sum(-1)[keep], atol=2e-3)


def test_density_integrates_to_one() -> None:
    mean, log_std = jnp.full((200_000, 1), 0.4), jnp.full((200_000, 1), -0.5)
    action, log_prob = sample_and_log_prob(_noise(mean), mean, log_std)
    # E[1/p] over the support equals its length, 2, but has heavy tails; over the middle it is exact and tame
    inside = jnp.abs(action[:, 0]) < 0.9
    assert abs(float(jnp.mean(jnp.where(inside, jnp.exp(-log_prob), 0))) - 1.8) < 0.02


def test_finite_far_in_the_tail_with_finite_gradient() -> None:
    for value in (-60.0, 60.0):
        mean, log_std = jnp.full((4, 2), value), jnp.full((4, 2), 2.0)
        _, log_prob = sample_and_log_prob(_noise(mean), mean, log_std)
        grad = jax.grad(lambda m: sample_and_log_prob(_noise(m), m, log_std)[1].sum())(mean)  # noqa: B023
        assert jnp.isfinite(log_prob).all() and jnp.isfinite(grad).all()


def test_mode_is_the_sample_of_no_noise() -> None:
    mean = jax.random.normal(KEY, (5, 3))
    action, _ = sample_and_log_prob(_noise(mean), mean, jnp.full((5, 3), -30.0))
    np.testing.assert_allclose(mode(mean), action, atol=1e-6)
    assert jnp.abs(action).max() <= 1


def test_log_prob_of_a_given_action_is_the_sample_s_and_finite_at_the_edge() -> None:
    mean, log_std = jnp.array([[0.3, -0.5]]).repeat(200, 0), jnp.array([[-0.7, -1.2]]).repeat(200, 0)
    action, wanted = sample_and_log_prob(_noise(mean), mean, log_std)
    np.testing.assert_allclose(log_prob(action, mean, log_std), wanted, atol=2e-2)  # arctanh near 1 loses digits
    edge = jnp.array([[1.0, -1.0]])
    value, grads = jax.value_and_grad(lambda m, s: log_prob(edge, m, s).sum(), (0, 1))(mean[:1], log_std[:1])
    assert jnp.isfinite(value) and all(jnp.isfinite(grad).all() for grad in grads)
    assert (jnp.sign(grads[0]) == jnp.sign(edge)).all()  # the likelier mean lies towards the action
