"""Massively parallel Contrastive Reinforcement Learning in JAX. Importing this package initialises no device."""

from crl_jax.config import Config, ConfigError
from crl_jax.train import train

__all__ = ["Config", "ConfigError", "train"]
