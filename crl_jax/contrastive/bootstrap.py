"""Losses of the contrastive critic that bootstrap (temporal differences): a table.  Axis letters: B batch, H critics.

C-Learning (arXiv:2011.08909) as the authors of "Contrastive Learning as Goal-Conditioned RL" (arXiv:2206.07568) train
it (google-research, contrastive_rl/contrastive/learning.py). A classifier C = sigmoid(f) separates the goal that the
NEXT state achieves from a random goal; the random goal is the goal of the next row of the batch. The random goal also
counts as a positive with the weight w = C / (1 - C) of (s', a', g), a' ~ pi(. | s', g), where C comes from the smaller
of two target critics. At the optimum exp f(s,a,g) = p(s_+ = g | s,a) / p(g) of the CURRENT policy: no constant is free.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

MAX_RATIO = 20.0
"""Largest weight w."""


class TDLoss(NamedTuple):
    """A bootstrapped loss: the weights of three sigmoid cross-entropies.

    Attributes:
        next_share: share of the rows with the next state's goal as positive; the other rows take a future goal.
        positive: weight of -log C(positive). bootstrapped: weight of -w log C(random).
        negative: weight of -log(1 - C(random)).
    """

    next_share: float
    positive: float
    bootstrapped: float
    negative: float


def c_learning(discount: float) -> TDLoss:
    """C-Learning: every positive is the next state's goal."""
    return TDLoss(1.0, 1 - discount, discount, 1.0)


def nce_c_learning(discount: float) -> TDLoss:
    """The sum of C-Learning and binary NCE against one random goal; each of the two has its share of the positives."""
    return TDLoss((1 - discount) / (2 - discount), 2 - discount, discount, 2.0)


TD_LOSSES = {"c_learning": c_learning, "nce_c_learning": nce_c_learning}
"""Rows: discount -> TDLoss."""


def ratio(values: jax.Array) -> jax.Array:
    """The weight w = C / (1 - C) = exp f of the smallest of H critic values, at most MAX_RATIO: (H, B) -> (B,)."""
    return jnp.exp(jnp.minimum(jnp.min(values, axis=0), math.log(MAX_RATIO)))


def positives(loss: TDLoss, next_goal: jax.Array, future_goal: jax.Array, row: jax.Array, size: int) -> jax.Array:
    """(B, G) positive goals: the next state's goal in the first rows of the batch, a future goal in the others.

    Args:
        row: (B,) numbers of these rows in the batch of all devices, which has `size` rows.
    """
    return jnp.where((row < int(size * loss.next_share))[:, None], next_goal, future_goal)


def td_loss(loss: TDLoss, logits: jax.Array, weight: jax.Array, hide: jax.Array | None) -> jax.Array:
    """The loss of one critic.

    Args:
        logits: (B, B), the positives on the diagonal. Row i's random goal is column i + 1; the last row's is column 0.
        weight: (B,) `ratio` of every row's random goal.
        hide: (B, B) bool, True for goals that do not count as a random goal; or None.
    Returns:
        () loss.
    """
    positive, negative = jnp.diagonal(logits), jnp.diagonal(jnp.roll(logits, -1, axis=1))
    random = loss.bootstrapped * weight * jax.nn.softplus(-negative) + loss.negative * jax.nn.softplus(negative)
    if hide is not None:
        random = jnp.where(jnp.diagonal(jnp.roll(hide, -1, axis=1)), 0.0, random)
    return jnp.mean(loss.positive * jax.nn.softplus(-positive) + random)
