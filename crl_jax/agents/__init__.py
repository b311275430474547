"""Algorithms, each one flat file that makes an `Agent`."""

from __future__ import annotations

from collections.abc import Callable

from crl_jax.agents import crl, sac, td3
from crl_jax.config import Config
from crl_jax.types import Agent
from envs_mjx.base import EnvSpec

METHODS: dict[str, Callable[[Config, EnvSpec, str | None], Agent]] = {
    "crl": lambda config, spec, axis: crl.make(config.agent, config.network, spec, axis),
    "sac": sac.make,
    "td3": td3.make,
}


def make(config: Config, spec: EnvSpec, axis: str | None = None) -> Agent:
    """The agent that `config` describes, for an environment of `spec`'s sizes; `axis`: see `parallel`."""
    return METHODS[config.agent.method](config, spec, axis)
