"""Losses of the contrastive critic that bootstrap (temporal differences): a table.  Axis letters: B batch, H critics.

C-Learning (arXiv:2011.08909) as the authors of "Contrastive Learning as Goal-Conditioned RL" (arXiv:2206.07568) train
it (google-research, contrastive_rl/contrastive/learning.py): a classifier C = sigmoid(f) tells the goal that the NEXT
state achieves from a random goal, the goal of the next row of the batch; a random goal also counts as reached with the
weight w = C / (1 - C) of (s', a', g), a' ~ pi(. | s', g), by the smaller of two target critics. The optimum has
exp f(s,a,g) = p(s_+ = g | s,a) / p(g), of the CURRENT policy: no constant is left free.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

MAX_RATIO = 20.0
"""Largest weight w."""


class TDLoss(NamedTuple):
    """A bootstrapped loss: three sigmoid cross-entropies and what they weigh.

    Attributes:
        next_share: share of the batch whose positive is the next state's goal; of the rest it is a future one.
        positive, bootstrapped, negative: weights of -log C(positive), of w times -log C(random), of
            -log(1 - C(random)).
    """

    next_share: float
    positive: float
    bootstrapped: float
    negative: float


def c_learning(discount: float) -> TDLoss:
    """C-Learning: positives are next states'."""
    return TDLoss(1.0, 1 - discount, discount, 1.0)


def nce_c_learning(discount: float) -> TDLoss:
    """The sum of C-Learning and binary NCE against one random goal; each keeps its share of the positives."""
    return TDLoss((1 - discount) / (2 - discount), 2 - discount, discount, 2.0)


TD_LOSSES = {"c_learning": c_learning, "nce_c_learning": nce_c_learning}
"""Rows: discount -> TDLoss."""


def ratio(values: jax.Array) -> jax.Array:
    """w = C / (1 - C) = exp f of the smaller of H values (H, B), at most MAX_RATIO -> (B,)."""
    return jnp.exp(jnp.minimum(jnp.min(values, axis=0), math.log(MAX_RATIO)))


def positives(loss: TDLoss, next_goal: jax.Array, future_goal: jax.Array, row: jax.Array, size: int) -> jax.Array:
    """(B, G) positive goals: of the first rows the next state's, of the others a future one.

    Args:
        row: (B,) numbers of these rows in the batch of all devices, `size` in all.
    """
    return jnp.where((row < int(size * loss.next_share))[:, None], next_goal, future_goal)


def td_loss(loss: TDLoss, logits: jax.Array, weight: jax.Array, hide: jax.Array | None) -> jax.Array:
    """The loss of one critic.

    Args:
        logits: (B, B), the positives on its diagonal; row i's random goal is column i + 1 (of the last: 0).
        weight: (B,) `ratio` of every row's random goal. hide: (B, B) bool negatives that do not count, or None.
    Returns:
        () loss.
    """
    positive, negative = jnp.diagonal(logits), jnp.diagonal(jnp.roll(logits, -1, axis=1))
    random = loss.bootstrapped * weight * jax.nn.softplus(-negative) + loss.negative * jax.nn.softplus(negative)
    if hide is not None:
        random = jnp.where(jnp.diagonal(jnp.roll(hide, -1, axis=1)), 0.0, random)
    return jnp.mean(loss.positive * jax.nn.softplus(-positive) + random)
