"""Algorithms, each one flat file that makes an `Agent`."""

from __future__ import annotations

from crl_jax.agents import crl
from crl_jax.config import Config
from crl_jax.types import Agent
from envs_mjx.base import EnvSpec


def make(config: Config, spec: EnvSpec, axis: str | None = None) -> Agent:
    """The agent that `config` describes, for an environment of `spec`'s sizes; `axis`: see `parallel`."""
    return crl.make(config.agent, config.network, spec, axis)
