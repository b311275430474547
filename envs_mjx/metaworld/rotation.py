"""Rotation matrices to quaternions."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def quaternion(rotation: jax.Array, order: str) -> jax.Array:
    """(..., 9) row-major rotation matrix -> (..., 4) unit quaternion.

    Args:
        order: "xyzw" with the sign of scipy's `Rotation.from_matrix`, or "wxyz" (MuJoCo's order) with w >= 0.
    """
    m00, m01, m02, m10, m11, m12, m20, m21, m22 = jnp.moveaxis(jnp.asarray(rotation), -1, 0)
    trace = m00 + m11 + m22
    # Row c: 4 q_c times (x, y, z, w); the row of the largest component loses no precision.
    rows = jnp.stack(
        [
            jnp.stack([1 - trace + 2 * m00, m10 + m01, m20 + m02, m21 - m12], -1),
            jnp.stack([m10 + m01, 1 - trace + 2 * m11, m21 + m12, m02 - m20], -1),
            jnp.stack([m20 + m02, m21 + m12, 1 - trace + 2 * m22, m10 - m01], -1),
            jnp.stack([m21 - m12, m02 - m20, m10 - m01, 1 + trace], -1),
        ],
        -2,
    )
    choice = jnp.argmax(jnp.stack([m00, m11, m22, trace], -1), -1)
    xyzw = jnp.take_along_axis(rows, choice[..., None, None], -2)[..., 0, :]
    xyzw = xyzw / jnp.linalg.norm(xyzw, axis=-1, keepdims=True)
    if order == "xyzw":
        return xyzw
    return jnp.where(xyzw[..., 3:] < 0, -1.0, 1.0) * jnp.roll(xyzw, 1, -1)
