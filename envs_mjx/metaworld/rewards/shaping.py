"""Building blocks of the official rewards (metaworld/utils/reward_utils.py, after dm_control), for E environments.

`where` computes both of its branches, so divisors and arguments of logarithms are guarded against zero. Official code
returns before it reaches such a value. The official functions raise for a negative margin and for a t-norm of values
outside [0, 1]. Under jit nothing can be raised; here a negative margin counts as 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp


def norm(vector: jax.Array, scale: Sequence[float] | None = None) -> jax.Array:
    """(E, n) -> (E,) Euclidean length, axes weighted by `scale`."""
    if scale is not None:
        vector = vector * jnp.asarray(scale, vector.dtype)
    return jnp.linalg.norm(vector, axis=-1)


def tolerance(
    x: jax.Array, upper: float, margin: jax.Array | float, lower: float = 0.0, sigmoid: str = "long_tail"
) -> jax.Array:
    """(E,) 1 for x in [lower, upper]; outside, falling to 0.1 at distance `margin`, or 0 at once if the margin is 0.

    Args:
        sigmoid: "long_tail", 1 / (9 d^2 + 1), or "gaussian", 0.1 ** (d^2), with d = distance / margin.
    """
    margin = jnp.asarray(margin, x.dtype)
    distance = jnp.where(x < lower, lower - x, x - upper) / jnp.where(margin > 0, margin, 1.0)
    beyond = 1.0 / (9.0 * distance**2 + 1.0) if sigmoid == "long_tail" else jnp.power(0.1, distance**2)
    inside = (lower <= x) & (x <= upper)
    return jnp.where(inside, 1.0, jnp.where(margin > 0, beyond, 0.0))


def hamacher(a: jax.Array, b: jax.Array) -> jax.Array:
    """(E,) Hamacher t-norm a b / (a + b - a b), 0 where both are 0."""
    total = a + b - a * b
    return jnp.where(total > 0, a * b / jnp.where(total > 0, total, 1.0), 0.0)


def outside_prism(point: jax.Array, zero: jax.Array, one: jax.Array) -> jax.Array:
    """(E,) `rect_prism_tolerance`: 1 outside a box, inside the product of the box coordinates.

    Args:
        zero, one: (E, 3) opposite corners of the box. Each box coordinate runs from 0 at `zero` to 1 at `one`.
    """
    inside = (point >= jnp.minimum(zero, one)) & (point <= jnp.maximum(zero, one))
    width = one - zero
    share = (point - zero) / jnp.where(width == 0, 1.0, width)
    return jnp.where(inside.all(axis=-1), jnp.prod(share, axis=-1), 1.0)


def funnel(radius: jax.Array, threshold: float, slope: float, height: float) -> jax.Array:
    """(E,) metres: slope * log(radius - threshold) + height where the radius exceeds the threshold, else 0."""
    beyond = radius > threshold
    return jnp.where(beyond, slope * jnp.log(jnp.where(beyond, radius - threshold, 1.0)) + height, 0.0)


def above(height: jax.Array, floor: jax.Array, margin: jax.Array | float) -> jax.Array:
    """(E,) 1 down to 1 cm below the floor; lower values further below."""
    return jnp.where(height >= floor, 1.0, tolerance(floor - height, 0.01, margin))


def grasped(opening: jax.Array, distance: jax.Array, radius: float) -> jax.Array:
    """(E,) bool: object within `radius` of the gripper's centre, and the gripper not shut."""
    return (distance < radius) & (opening > 0)
