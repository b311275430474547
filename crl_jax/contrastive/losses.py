"""Losses of the contrastive critic: a table of pure functions.  Axis letters: B batch, D embedding.

logits[i, j] = f(s_i, a_i, g_j): the diagonal holds the positives, the rest of a row its negatives (eq. 4 of
"Contrastive Learning as Goal-Conditioned RL", arXiv:2206.07568; InfoNCE forms and penalty as in JaxGCRL). A masked
negative has logit `masks.MASKED`. The exp and softplus of this logit are 0, so that no loss counts the negative. Losses
that bootstrap need more than the logits: see `bootstrap.TD_LOSSES`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Loss = Callable[[jax.Array, float], jax.Array]


def fwd_infonce(logits: jax.Array, penalty: float) -> jax.Array:
    """-mean_i(logits_ii - logsumexp_j logits_ij) + penalty * mean_i((logsumexp_j logits_ij)^2).

    Optimum: log p(g|s,a) / p(g) + c(s,a). The penalty pins c to -log B; with a free c, argmax_a means nothing.

    Args:
        logits: (B, B). penalty: coefficient of the squared logsumexp, >= 0.
    Returns:
        () loss.
    """
    return infonce(positives(logits), penalty, jax.nn.logsumexp(logits, axis=1))


def positives(logits: jax.Array) -> jax.Array:
    """The diagonal (B,) of (B, B) logits, as a sum that XLA fuses with others; its gather and scatter are not."""
    return jnp.sum(jnp.where(jnp.eye(logits.shape[0], dtype=bool), logits, 0), axis=1)


def infonce(positive: jax.Array, penalty: float, normaliser: jax.Array) -> jax.Array:
    """InfoNCE from the positives (B,) and the logsumexps (B,) over the normalised axis -> () loss."""
    return jnp.mean(normaliser - positive) + penalty * jnp.mean(jnp.square(normaliser))


def bwd_infonce(logits: jax.Array, penalty: float) -> jax.Array:
    """fwd_infonce of the transpose: the critic picks the (s,a) of each goal; loss and penalty normalise over (s,a)."""
    return fwd_infonce(logits.T, penalty)


def sym_infonce(logits: jax.Array, penalty: float) -> jax.Array:
    """fwd_infonce + bwd_infonce, summed as in JaxGCRL; each axis has its own penalty."""
    return fwd_infonce(logits, penalty) + bwd_infonce(logits, penalty)


def binary_nce(logits: jax.Array, penalty: float) -> jax.Array:
    """Mean over all B^2 entries of the sigmoid cross-entropy against the identity: every negative is counted.

    Optimum: log p(g|s,a) / p(g) - log(B - 1). The loss normalises over no axis and leaves no constant free, so it
    ignores `penalty`.
    """
    del penalty
    return cross_entropy(positives(logits), jnp.sum(jax.nn.softplus(logits)))


def cross_entropy(positive: jax.Array, softplus: jax.Array) -> jax.Array:
    """binary_nce from the positives (B,) and the sum () of softplus over all B^2 logits, as if all were negatives."""
    size = positive.shape[0]
    return (softplus / size - jnp.mean(positive)) / size  # softplus(-x) = softplus(x) - x on the diagonal


LOSSES: dict[str, Loss] = {
    "fwd_infonce": fwd_infonce,
    "bwd_infonce": bwd_infonce,
    "sym_infonce": sym_infonce,
    "binary_nce": binary_nce,
}


def diagnostics(logits: jax.Array, hide: jax.Array | None = None) -> dict[str, jax.Array]:
    """Scalars that tell whether the critic discriminates: (B, B) logits, B >= 2 -> name -> ().

    categorical_accuracy is the share of rows whose positive is STRICTLY the largest: a critic that has collapsed to a
    constant scores 0, where an argmax would credit ties. logits_pos, logits_neg and logsumexp are means. Negatives with
    `hide` (B, B) True are masked and do not count; masked_negatives is their share of all negatives.
    """
    return diagnostic_means(diagnostic_sums(logits, positives(logits), hide), logits.shape[0])


def diagnostic_sums(logits: jax.Array, positive: jax.Array, hide: jax.Array | None) -> dict[str, jax.Array]:
    """Sums () over C rows, for `diagnostic_means`: logits (C, B), positive (C,), hide (C, B) or None; no gradient."""
    logits, positive = jax.lax.stop_gradient((logits, positive))
    rivals = jnp.sum(logits >= positive[:, None], axis=1)  # counts the positive too; cheaper than argmax on CPU
    sums = {
        "named": jnp.sum(rivals == 1),
        "positive": jnp.sum(positive),
        "total": jnp.sum(logits if hide is None else jnp.where(hide, 0, logits)),
        "logsumexp": jnp.sum(jax.nn.logsumexp(logits, axis=1)),
    }
    return sums if hide is None else sums | {"hidden": jnp.sum(hide)}


def diagnostic_means(sums: dict[str, jax.Array], size: int) -> dict[str, jax.Array]:
    """`diagnostics` from the sums () over all rows of a batch of `size`."""
    pairs = size * (size - 1)
    negatives: Any = pairs
    masked = {}
    if "hidden" in sums:
        negatives = jnp.maximum(pairs - sums["hidden"], 1)
        masked = {"masked_negatives": sums["hidden"] / pairs}
    return {
        "categorical_accuracy": sums["named"].astype(jnp.float32) / size,
        "logits_pos": sums["positive"] / size,
        "logits_neg": (sums["total"] - sums["positive"]) / negatives,
        "logsumexp": sums["logsumexp"] / size,
        **masked,
    }


def participation_ratio(embedding: jax.Array) -> jax.Array:
    """(sum s^2)^2 / sum s^4 over singular values s of the centred batch: (B, D) -> () in [1, D], 0 for a constant one.

    The effective rank of order 2 of the squared singular values: how many dimensions the embedding really uses. It is
    computed from traces of the Gram matrix; an eigendecomposition would cost a tenth of an SGD update.
    """
    embedding = embedding - jnp.mean(embedding, axis=0)
    gram = jnp.matmul(embedding.T, embedding, precision=jax.lax.Precision.HIGHEST)
    return jnp.square(jnp.trace(gram)) / (jnp.sum(jnp.square(gram)) + jnp.finfo(gram.dtype).tiny)
