"""The contrastive critic's loss, from embeddings to one number.

Read `losses.py` (InfoNCE and its relatives) and `energies.py` (f(phi, psi)) first; both are tables of pure functions.
`contrast.py` combines the energy, mask and loss that a config names. `masks.py` hides false negatives, `chunked.py`
computes the loss without the whole matrix of logits, `bootstrap.py` holds the losses that bootstrap.
"""

from crl_jax.contrastive.bootstrap import TD_LOSSES
from crl_jax.contrastive.energies import ENERGIES
from crl_jax.contrastive.losses import LOSSES
from crl_jax.contrastive.masks import MASKS

__all__ = ["ENERGIES", "LOSSES", "MASKS", "TD_LOSSES"]
