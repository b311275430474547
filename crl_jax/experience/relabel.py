"""Relabelling with future goals.  Axis letters: B batch, G goal."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

GOAL_RESOLUTION = 1e-3
"""Goals closer than this in every coordinate (same cell) count as one; metres for positions."""


def truncated_geometric(key: jax.Array, discount: float, horizon: jax.Array) -> jax.Array:
    """Offsets k in [1, horizon] with P(k) proportional to discount^(k-1), in O(1) by the inverse CDF.

    The CDF is (1 - discount^k) / (1 - discount^horizon); expm1 and log1p keep it accurate for a discount near 1.
    Uniforms are multiples of 2^-23, so that a tail of less mass than that (k > 16 / -log(discount)) is never drawn.

    Args:
        key: PRNG key, used once.
        discount: gamma in (0, 1), a Python float.
        horizon: (...) int32, >= 1; a horizon of 0 gives the offset 0.
    Returns:
        (...) int32.
    """
    log_discount = math.log(discount)
    uniform = jax.random.uniform(key, horizon.shape)
    mass = jnp.expm1(horizon.astype(jnp.float32) * log_discount)  # -(1 - discount^horizon)
    offset = 1 + jnp.floor(jnp.log1p(uniform * mass) / log_discount).astype(jnp.int32)
    return jnp.clip(offset, jnp.minimum(horizon, 1), horizon)  # rounding at the end of the CDF may give horizon + 1


def distinct_goal_share(goal: jax.Array) -> jax.Array:
    """Share of distinct goals in a batch, in (0, 1]; near 1 / B, the critic has no goals to tell apart.

    Goals are rounded to GOAL_RESOLUTION and hashed to 32 bits; the hashes are sorted and the changes counted.
    Collisions of hashes bias the share by about B / 2^33.

    Args:
        goal: (B, G).
    Returns:
        () float32.
    """
    cell = jnp.round(goal / GOAL_RESOLUTION).astype(jnp.int32).astype(jnp.uint32)
    code = jnp.zeros(goal.shape[0], jnp.uint32)
    for column in range(goal.shape[1]):  # G is a handful: unrolled FNV-like mixing, finished as in MurmurHash3
        code = (code ^ cell[:, column]) * jnp.uint32(0x85EBCA6B)
        code = (code ^ (code >> 13)) * jnp.uint32(0xC2B2AE35)
        code = code ^ (code >> 16)
    code = jnp.sort(code)
    return (1 + jnp.sum(code[1:] != code[:-1])) / goal.shape[0]
