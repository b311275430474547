"""The contrastive loss in chunks of C rows of logits, without the whole (B, B) matrix of logits.

A loss reads the logits only through reductions, which are computed on every chunk and then joined. A chunk holds
whole rows; a column's logsumexp is joined from K partial ones. The backward pass recomputes each chunk's logits. Memory
falls from a few (B, B) arrays to a few (C, B) and one (K, B).

Axis letters: B batch, C rows of a chunk, K = B / C chunks, F embedding, M marks of a row.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from crl_jax.config import ConfigError
from crl_jax.contrastive.losses import cross_entropy, diagnostic_means, diagnostic_sums, infonce
from crl_jax.contrastive.masks import Mask, hidden, masked

Critic = Callable[..., tuple[jax.Array, dict[str, jax.Array]]]
"""(phi (B, F), psi (B, F), penalty, marks (B, M) of a mask or None) -> (() loss, diagnostics)."""


class Reduction(NamedTuple):
    """`part` reduces a chunk's logits (C, B); `join` combines all chunks' parts, stacked along a new first axis."""

    part: Callable[[jax.Array], jax.Array]
    join: Callable[[jax.Array], jax.Array]


REDUCTIONS: dict[str, Reduction] = {
    "rows": Reduction(lambda logits: jax.nn.logsumexp(logits, axis=1), jnp.ravel),
    "columns": Reduction(
        lambda logits: jax.nn.logsumexp(logits, axis=0), lambda parts: jax.nn.logsumexp(parts, axis=0)
    ),
    "softplus": Reduction(lambda logits: jnp.sum(jax.nn.softplus(logits)), jnp.sum),
}
"""Reductions of the logits: logsumexp of each row (B,), logsumexp of each column (B,), sum of softplus ()."""


class ChunkedLoss(NamedTuple):
    """A loss of `losses.LOSSES` from the reductions in `needs`: value(positive (B,), penalty, *reductions) -> ()."""

    needs: tuple[str, ...]
    value: Callable[..., jax.Array]


CHUNKED: dict[str, ChunkedLoss] = {
    "fwd_infonce": ChunkedLoss(("rows",), infonce),
    "bwd_infonce": ChunkedLoss(("columns",), infonce),
    "sym_infonce": ChunkedLoss(
        ("rows", "columns"),
        lambda positive, penalty, rows, columns: infonce(positive, penalty, rows) + infonce(positive, penalty, columns),
    ),
    "binary_nce": ChunkedLoss(("softplus",), lambda positive, penalty, total: cross_entropy(positive, total)),
}
"""The losses that have a chunked form, by their names in `losses.LOSSES`."""


def chunked(
    pairwise: Callable[[jax.Array, jax.Array], jax.Array], loss: str, rows: int, mask: Mask | None = None
) -> Critic:
    """The critic's loss and diagnostics, computed from `rows` rows of logits at a time.

    Value and gradient equal those of `losses` to float32 rounding.

    Args:
        pairwise: an energy's pairwise form (C, F), (B, F) -> (C, B); each row depends on one phi and all psi.
        loss: a name of `CHUNKED`. rows: C, a divisor of B. mask: which negatives do not count.

    Raises:
        ConfigError: a loss without a chunked form; at trace time, a C that does not divide B.
    """
    if loss not in CHUNKED:
        raise ConfigError(f"logits_chunk={rows}: loss={loss!r} has no chunked form; take 0, or {', '.join(CHUNKED)}")
    needs, value = CHUNKED[loss]

    def critic(
        phi: jax.Array, psi: jax.Array, penalty: float, marks: jax.Array | None = None
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        size = phi.shape[0]
        if size % rows:
            raise ConfigError(f"logits_chunk={rows}: must divide the batch of {size}")

        # prevent_cse=False: inside the scan of lax.map, XLA cannot merge the recomputation with the forward pass
        @functools.partial(jax.checkpoint, prevent_cse=False)
        def of_chunk(inputs: tuple[Any, ...]) -> tuple[jax.Array, tuple[jax.Array, ...], dict[str, jax.Array]]:
            start, some_phi, some_marks = inputs
            hide = None if mask is None or marks is None else hidden(mask, some_marks, marks, start)
            logits = masked(pairwise(some_phi, psi), hide)
            positive = jnp.diagonal(jax.lax.dynamic_slice_in_dim(logits, start, rows, axis=1))
            parts = tuple(REDUCTIONS[name].part(logits) for name in needs)
            return positive, parts, diagnostic_sums(logits, positive, hide)

        starts = jnp.arange(0, size, rows)
        some_marks = None if marks is None else marks.reshape(-1, rows, marks.shape[1])
        chunks = (starts, phi.reshape(-1, rows, phi.shape[1]), some_marks)
        positive, parts, sums = jax.lax.map(of_chunk, chunks)
        joined = [REDUCTIONS[name].join(part) for name, part in zip(needs, parts, strict=True)]
        told = diagnostic_means(jax.tree.map(jnp.sum, sums), size)
        return value(positive.ravel(), penalty, *joined), told

    return critic
