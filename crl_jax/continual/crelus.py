"""CReLUs: fine-tuning of an actor whose activation is [relu(x), relu(-x)].

"Loss of Plasticity in Continual Deep Reinforcement Learning" (arXiv:2303.07507): one of the two outputs of every unit
passes its gradient, so that no unit dies. A layer has half as many units. Its width after the activation is therefore
the same, and it has about half the weights.

Departures: the activation acts after LayerNorm where the network has one, and inside residual blocks; the paper's
networks have neither. Tasks are scored with the newest actor, as in FT-1.
"""

from __future__ import annotations

import dataclasses

from crl_jax.config import NetworkConfig
from crl_jax.config.continual import ContinualConfig
from crl_jax.continual import finetune
from crl_jax.continual.method import Method, Sizes


def make(config: ContinualConfig, network: NetworkConfig, sizes: Sizes) -> Method:
    """FT-1 with `activation="crelu"`.

    Raises:
        ConfigError: an odd width.
    """
    network = dataclasses.replace(network, activation="crelu")
    network.validate()
    return finetune.ft1(config, network, sizes)
