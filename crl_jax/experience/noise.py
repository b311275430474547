"""Noise on actions while data is collected.  Axis letters: T steps of an episode, E environments, A action.

The noise of an episode is M z. The episode's own key draws the standard normals z (T, A). M (T, T) is a fixed matrix
for each kind of noise; its rows have length 1. Step t takes row t of M z. The noise is thus a function of the episode's
key and the step: no state is kept between steps, and the covariance over an episode is exactly M M^T.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from crl_jax.config import ExploreConfig
from envs_mjx.base import State

THETA = 0.15
"""Share of an Ornstein-Uhlenbeck process that is forgotten each step (DDPG, arXiv:1509.02971)."""
_STREAM = 5
"""Folded into an episode's key; `explore` lists the other numbers that are folded into it."""


def pink(steps: int) -> np.ndarray:
    """(T, T): power 1 / f at the frequencies k / T of an episode; the mean (k = 0) has the power density of k = 1.

    Each step has one row of the inverse real Fourier transform, so that the noise is stationary ("Pink Noise Is All You
    Need", Eberhard et al., ICLR 2023; powerlaw_psd_gaussian of github.com/felixpatzelt/colorednoise). The variance over
    episodes is 1. Within one episode it differs, because the episode's mean takes a part of it.
    """
    frequency = np.arange(1, (steps - 1) // 2 + 1)
    angle = 2 * np.pi * np.outer(np.arange(steps), frequency) / steps
    columns = [np.full((steps, 1), np.sqrt(0.5))]  # k = 0 and, below, k = T / 2 have one coefficient: half the power
    columns += [np.cos(angle) / np.sqrt(frequency), np.sin(angle) / np.sqrt(frequency)]
    if steps % 2 == 0:
        columns.append(np.where(np.arange(steps) % 2, -1.0, 1.0)[:, None] / np.sqrt(steps))
    matrix = np.concatenate(columns, axis=1)
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


def ornstein_uhlenbeck(steps: int) -> np.ndarray:
    """(T, T): x_t = rho x_(t-1) + sqrt(1 - rho^2) z_t with rho = 1 - THETA, stationary from x_0 = z_0 on."""
    rho = 1 - THETA
    age = np.subtract.outer(np.arange(steps), np.arange(steps))
    first = np.arange(steps) == 0
    return np.where(age >= 0, rho ** np.maximum(age, 0) * np.where(first, 1.0, np.sqrt(1 - rho**2)), 0.0)


COLOURS: dict[str, Callable[[int], np.ndarray]] = {"white": np.eye, "pink": pink, "ou": ornstein_uhlenbeck}
"""Kind of noise -> function from the length T of an episode to M (T, T)."""


def action_noise(kind: str, keys: jax.Array, time: jax.Array, horizon: int, action_size: int) -> jax.Array:
    """(E, A) noise of variance 1 for the step `time` (E,) of the episodes whose keys (E, 2) are given."""
    rows = jnp.asarray(COLOURS[kind](horizon), jnp.float32)[jnp.clip(time, 0, horizon - 1)]

    def draw(key: jax.Array, row: jax.Array) -> jax.Array:
        normals = jax.random.normal(jax.random.fold_in(key, _STREAM), (horizon, action_size))
        return jnp.matmul(row, normals, precision=jax.lax.Precision.HIGHEST)

    return jax.vmap(draw)(keys, rows)


def noisy(action: jax.Array, state: State, horizon: int, config: ExploreConfig) -> jax.Array:
    """(E, A) actions plus `action_noise`, clipped to [-1, 1]; unchanged when `config.action_noise` is "none"."""
    if config.action_noise == "none":
        return action
    noise = action_noise(config.action_noise, state.key, state.time, horizon, action.shape[-1])
    return jnp.clip(action + config.action_noise_scale * noise, -1.0, 1.0)
