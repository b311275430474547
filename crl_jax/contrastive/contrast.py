"""The critic's loss from its embeddings: combines the energy, mask and loss that a config names.

Axis letters: B batch, F embedding, K marks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from flax import struct

from crl_jax.config import AgentConfig, ConfigError, nearest
from crl_jax.contrastive.bootstrap import TD_LOSSES, td_loss
from crl_jax.contrastive.chunked import chunked
from crl_jax.contrastive.energies import Energy
from crl_jax.contrastive.losses import LOSSES, diagnostics
from crl_jax.contrastive.masks import MASKS, hidden, masked
from crl_jax.types import Metrics


class Extras(struct.PyTreeNode):
    """Inputs of the critic's loss beside the embeddings, for all B rows; None where the loss takes none.

    Attributes:
        marks: (B, K) by which a mask compares rows. weight: (B,) of the random goals, for a bootstrapped loss.
    """

    marks: Any = None
    weight: Any = None


Contrast = Callable[[jax.Array, jax.Array, Extras], tuple[jax.Array, Metrics]]
"""(phi (B, F), psi (B, F), extras) -> (() loss, diagnostics)."""


def pick(table: dict[str, Any], name: str, field: str) -> Any:
    """The entry `name` of a table, chosen by the config's `field`; ConfigError names the nearest known names."""
    if name not in table:
        raise ConfigError(f"{field}={name!r}: unknown {field}; nearest: {nearest(name, table)}")
    return table[name]


def contrast(config: AgentConfig, energy: Energy) -> Contrast:
    """The function from embeddings to loss and diagnostics, on the whole matrix of logits or on chunks of its rows.

    Raises:
        ConfigError: an unknown loss; a loss that cannot be chunked; a loss that needs twin critics and has none.
    """
    mask, loss = MASKS.get(config.mask), pick(LOSSES | TD_LOSSES, config.loss, "loss")
    if config.logits_chunk:
        critic = chunked(energy.pairwise, config.loss, config.logits_chunk, mask)
        return lambda phi, psi, extras: critic(phi, psi, config.logsumexp_penalty, extras.marks)
    if config.loss in TD_LOSSES and not config.twin:
        raise ConfigError(f"loss={config.loss!r}: bootstraps from the smaller of two critics; take twin=True")

    def whole(phi: jax.Array, psi: jax.Array, extras: Extras) -> tuple[jax.Array, Metrics]:
        hide = None if mask is None else hidden(mask, extras.marks, extras.marks)
        logits = masked(energy.pairwise(phi, psi), hide)
        told = diagnostics(logits, hide)
        if config.loss in TD_LOSSES:
            return td_loss(loss(config.discount), logits, extras.weight, hide), told
        return loss(logits, config.logsumexp_penalty), told

    return whole
