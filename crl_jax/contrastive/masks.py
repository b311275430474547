"""Masks that hide false negatives from the loss: a table.  Axis letters: B batch, C rows of it, G goal, K marks.

InfoNCE takes every other goal of the batch as a negative of (s, a). Some of these are false negatives: a later state of
the same trajectory may well be the future of (s, a); and where an object has not moved, goals of other episodes are the
same goal. A masked negative has logit `MASKED`: no loss counts it, and it gives no gradient. The positive is never
masked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from crl_jax.scale import parallel
from crl_jax.types import Batch
from envs_mjx.base import EnvSpec

MASKED = -1e9
"""Logit of a masked negative: far below any other logit, but finite, so that no gradient is 0 * inf."""


class Mask(NamedTuple):
    """How to decide whether two rows of the batch are alike: one is then no negative of the other.

    Attributes:
        marks: (batch of this device, env spec, radius, axis name) -> (B, K) numbers by which rows are compared.
        alike: marks (C, K), (B, K) -> (C, B) bool.
    """

    marks: Callable[[Batch, EnvSpec, float, str | None], jax.Array]
    alike: Callable[[jax.Array, jax.Array], jax.Array]


def _trajectory(batch: Batch, spec: EnvSpec, radius: float, axis: str | None) -> jax.Array:
    """(B, 3) device, environment and episode: together they identify a trajectory."""
    del spec, radius
    return jnp.stack([jnp.full_like(batch.env, parallel.index(axis)), batch.env, batch.episode], axis=-1)


def _same(rows: jax.Array, columns: jax.Array) -> jax.Array:
    return jnp.all(rows[:, None] == columns[None], axis=-1)


def _goal(batch: Batch, spec: EnvSpec, radius: float, axis: str | None) -> jax.Array:
    """(B, G) goals in units of `radius` times the goal scale."""
    del axis
    return batch.goal / (radius * spec.goal_scale)


def _within_one(rows: jax.Array, columns: jax.Array) -> jax.Array:
    """(C, B) distance at most 1, from differences: |x|^2 + |y|^2 - 2 x.y would cancel at small distances."""
    square = sum(jnp.square(rows[:, None, k] - columns[None, :, k]) for k in range(rows.shape[1]))
    return jnp.asarray(square <= 1)


MASKS: dict[str, Mask] = {
    "same_trajectory": Mask(_trajectory, _same),
    "same_goal": Mask(_goal, _within_one),
}


def hidden(mask: Mask, rows: jax.Array, columns: jax.Array, start: jax.Array | int = 0) -> jax.Array:
    """Negatives to mask.

    Args:
        rows: (C, K) marks of rows `start` ... `start` + C - 1 of the batch. columns: (B, K) marks of the whole batch.
    Returns:
        (C, B) bool, False for the positives.
    """
    positive = start + jnp.arange(rows.shape[0])[:, None] == jnp.arange(columns.shape[0])[None]
    return mask.alike(rows, columns) & ~positive


def masked(logits: jax.Array, hide: jax.Array | None) -> jax.Array:
    """logits (C, B) with `MASKED` where `hide` (C, B) is true; no gradient comes from there."""
    return logits if hide is None else jnp.where(hide, MASKED, logits)
