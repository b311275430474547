"""Tanh-Gaussian policy distribution, as pure functions.  Axis letters: B batch, A action."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

EDGE = 1e-6
"""Given actions are clipped to [-1 + EDGE, 1 - EDGE] before their density is computed."""


def sample_and_log_prob(noise: jax.Array, mean: jax.Array, log_std: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Reparameterised sample of tanh(N(mean, exp(log_std)^2)) and its log-density.

    The log-determinant log(1 - tanh(x)^2) is written 2 (log 2 - x - softplus(-2x)), which is exact where
    1 - tanh(x)^2 underflows (SAC, arXiv:1801.01290, appendix C; the stable form is Brax's).

    Args:
        noise: (..., A) standard normal.
        mean, log_std: (..., A).
    Returns:
        action (..., A) in [-1, 1]; log_prob (...), nats, summed over the action axis.
    """
    x = mean + jnp.exp(log_std) * noise
    log_normal = -0.5 * jnp.square(noise) - log_std - 0.5 * math.log(2 * math.pi)
    log_det = 2 * (math.log(2) - x - jax.nn.softplus(-2 * x))
    return jnp.tanh(x), jnp.sum(log_normal - log_det, axis=-1)


def log_prob(action: jax.Array, mean: jax.Array, log_std: jax.Array) -> jax.Array:
    """Log-density of given actions under tanh(N(mean, exp(log_std)^2)).

    An action of exactly -1 or 1 (a saturated tanh) would have density 0, so actions are clipped EDGE short of +-1.

    Args:
        action: (..., A) in [-1, 1]. mean, log_std: (..., A).
    Returns:
        (...) nats, summed over the action axis.
    """
    x = jnp.arctanh(jnp.clip(action, -1 + EDGE, 1 - EDGE))
    return sample_and_log_prob((x - mean) * jnp.exp(-log_std), mean, log_std)[1]


def mode(mean: jax.Array) -> jax.Array:
    """The deterministic action tanh(mean): (..., A) -> (..., A) in [-1, 1]."""
    return jnp.tanh(mean)
