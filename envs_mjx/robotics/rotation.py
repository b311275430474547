"""Rotations as Gymnasium-Robotics writes them (gymnasium_robotics/utils/rotations.py)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

_SINGULAR = 4 * 2.220446049250313e-16
"""Cosine of the middle angle below which only the sum of the other two is defined."""


def euler(matrix: jax.Array) -> jax.Array:
    """(..., 3, 3) rotation matrices -> (..., 3) angles in rad about x, y, z (`mat2euler`)."""
    cosine = jnp.sqrt(matrix[..., 2, 2] ** 2 + matrix[..., 1, 2] ** 2)
    regular = cosine > _SINGULAR
    z = jnp.where(
        regular,
        -jnp.arctan2(matrix[..., 0, 1], matrix[..., 0, 0]),
        -jnp.arctan2(-matrix[..., 1, 0], matrix[..., 1, 1]),
    )
    y = -jnp.arctan2(-matrix[..., 0, 2], cosine)
    x = jnp.where(regular, -jnp.arctan2(matrix[..., 1, 2], matrix[..., 2, 2]), 0.0)
    return jnp.stack([x, y, z], axis=-1)
