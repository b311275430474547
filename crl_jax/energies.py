"""Energies f(phi, psi) of the contrastive critic: a table of pure functions.  Axis letters: B batch, D embedding.

Each row has a `pairwise` form, (B, D), (B, D) -> logits (B, B) with logits[i, j] = f(phi_i, psi_j), for the critic, and
a `diagonal` form, (B, D), (B, D) -> (B,), for the actor.

Distances of the pairwise form come from one matmul, |x|^2 + |y|^2 - 2 x.y, instead of a (B, B, D) difference. Its
absolute error in the SQUARED distance is at most about (D + 4) 2^-24 (|x| + |y|)^2, so that `norm` near zero distance
is off by up to the square root of that (2e-2 for |x| = |y| = 5, D = 64, at the very worst); away from zero both forms
agree. The matmul runs at precision HIGHEST: in TF32, a GPU's default, the error would be 2^-10 (|x| + |y|)^2 and drown
the positives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

EPSILON = 1e-6
"""Added under the square root: the gradient at zero distance is finite (at most 500 per unit)."""


class Energy(NamedTuple):
    """One energy in its two forms."""

    pairwise: Callable[[jax.Array, jax.Array], jax.Array]
    diagonal: Callable[[jax.Array, jax.Array], jax.Array]


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
    # cosine of the angle, temperature fixed at 1: logits lie in [-1, 1]
    "cosine": Energy(
        lambda phi, psi: _dot_pairwise(_unit(phi), _unit(psi)),
        lambda phi, psi: _dot_diagonal(_unit(phi), _unit(psi)),
    ),
}
