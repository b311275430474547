"""Energies f(phi, psi) of the contrastive critic: a table of pure functions.  Axis letters: B batch, D embedding.

The critic uses the `pairwise` form, (B, D), (B, D) -> logits (B, B) with logits[i, j] = f(phi_i, psi_j). The actor uses
the `diagonal` form, (..., D), (..., D) -> (...). An energy with `learned_temperature` is divided by the exponential of
a parameter that the critic learns; both forms here have temperature 1.

The pairwise form computes distances from one matmul, |x|^2 + |y|^2 - 2 x.y, instead of a (B, B, D) difference. The
absolute error of the SQUARED distance is at most about (D + 4) 2^-24 (|x| + |y|)^2. Near zero distance, `norm` is
therefore off by up to the square root of that bound (at worst 2e-2 for |x| = |y| = 5, D = 64); away from zero both
forms agree. The matmul runs at precision HIGHEST: in TF32, a GPU's default, the error would be 2^-10 (|x| + |y|)^2 and
drown the positives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

EPSILON = 1e-6
"""Added under the square root, so that its derivative by the squared distance is finite at zero (at most 500)."""


class Energy(NamedTuple):
    """One energy in its two forms, and whether the critic learns a temperature that divides it."""

    pairwise: Callable[[jax.Array, jax.Array], jax.Array]
    diagonal: Callable[[jax.Array, jax.Array], jax.Array]
    learned_temperature: bool = False


def _dot_pairwise(phi: jax.Array, psi: jax.Array) -> jax.Array:
    return jnp.matmul(phi, psi.T, precision=jax.lax.Precision.HIGHEST)


def _dot_diagonal(phi: jax.Array, psi: jax.Array) -> jax.Array:
    return jnp.sum(phi * psi, axis=-1)


def _squared_pairwise(phi: jax.Array, psi: jax.Array) -> jax.Array:
    """(B, B) squared distances through one matmul; rounding may make them negative, hence the clamp."""
    phi_sq, psi_sq = jnp.sum(jnp.square(phi), axis=-1), jnp.sum(jnp.square(psi), axis=-1)
    return jnp.maximum(phi_sq[:, None] + psi_sq[None, :] - 2 * _dot_pairwise(phi, psi), 0)


def _squared_diagonal(phi: jax.Array, psi: jax.Array) -> jax.Array:
    return jnp.sum(jnp.square(phi - psi), axis=-1)


def _unit(x: jax.Array) -> jax.Array:
    """Each row divided by its OWN length (not by that of the whole batch); finite gradient at zero."""
    return x * jax.lax.rsqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True) + EPSILON)


def _cosine_pairwise(phi: jax.Array, psi: jax.Array) -> jax.Array:
    return _dot_pairwise(_unit(phi), _unit(psi))


def _cosine_diagonal(phi: jax.Array, psi: jax.Array) -> jax.Array:
    return _dot_diagonal(_unit(phi), _unit(psi))


def _mrn_pairwise(phi: jax.Array, psi: jax.Array) -> jax.Array:
    """(B, B) logits. No matmul gives the (B, B, D / 2) differences of the first half; `logits_chunk` saves memory."""
    (phi_max, phi_norm), (psi_max, psi_norm) = _halves(phi), _halves(psi)
    ahead = jnp.max(phi_max[:, None] - psi_max[None], axis=-1)
    return -jax.nn.relu(ahead) - jnp.sqrt(_squared_pairwise(phi_norm, psi_norm) + EPSILON)


def _mrn_diagonal(phi: jax.Array, psi: jax.Array) -> jax.Array:
    (phi_max, phi_norm), (psi_max, psi_norm) = _halves(phi), _halves(psi)
    ahead = jnp.max(phi_max - psi_max, axis=-1)
    return -jax.nn.relu(ahead) - jnp.sqrt(_squared_diagonal(phi_norm, psi_norm) + EPSILON)


def _halves(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(..., D) -> the first D / 2 (rounded up) and the others."""
    half = (x.shape[-1] + 1) // 2
    return x[..., :half], x[..., half:]


ENERGIES: dict[str, Energy] = {
    # -||phi - psi||_2, the default of JaxGCRL and of the scaling paper
    "norm": Energy(
        lambda phi, psi: -jnp.sqrt(_squared_pairwise(phi, psi) + EPSILON),
        lambda phi, psi: -jnp.sqrt(_squared_diagonal(phi, psi) + EPSILON),
    ),
    # -||phi - psi||_2^2
    "l2": Energy(
        lambda phi, psi: -_squared_pairwise(phi, psi),
        lambda phi, psi: -_squared_diagonal(phi, psi),
    ),
    "dot": Energy(_dot_pairwise, _dot_diagonal),
    # cosine divided by a learned temperature: repr_norm and repr_norm_temp of google-research's contrastive_rl
    "cosine": Energy(_cosine_pairwise, _cosine_diagonal, learned_temperature=True),
    # the same at temperature 1: logits lie in [-1, 1], and InfoNCE cannot fall below log(1 + (B - 1) / e^2)
    "cosine_fixed": Energy(_cosine_pairwise, _cosine_diagonal),
    # minus the quasimetric of "Metric Residual Networks" (arXiv:2208.08133): the largest excess of phi over psi in one
    # half of the embedding, plus the distance in the other. f(x, x) is 0 (but for EPSILON), f(x, y) is not f(y, x).
    "mrn": Energy(_mrn_pairwise, _mrn_diagonal),
}
