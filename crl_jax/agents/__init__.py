"""The algorithms. `stacked.py` (on `crl.py`), `sac.py` and `td3.py` make an `Agent`; `common.py` is what they share."""

from __future__ import annotations

from collections.abc import Callable

from crl_jax.agents import sac, stacked, td3
from crl_jax.config import Config
from crl_jax.config.checks import require
from crl_jax.continual.method import Method
from crl_jax.types import Agent
from envs_mjx.base import EnvSpec

__all__ = ["CONTINUAL", "METHODS", "make"]

METHODS: dict[str, Callable[[Config, EnvSpec, str | None], Agent]] = {
    "crl": lambda config, spec, axis: stacked.make(config.agent, config.network, spec, axis),
    "sac": sac.make,
    "td3": td3.make,
}
CONTINUAL: dict[str, Callable[[Config, EnvSpec, str | None, Method], Agent]] = {
    "crl": lambda config, spec, axis, method: stacked.make(config.agent, config.network, spec, axis, method),
    "sac": sac.make,
}
"""The agents that can train the actor of a continual method."""


def make(config: Config, spec: EnvSpec, axis: str | None = None, method: Method | None = None) -> Agent:
    """The agent that `config` describes, for an environment with the sizes of `spec`.

    Args:
        axis: name of the device axis, see `parallel`.
        method: a continual method; the agent then trains the method's actor.

    Raises:
        ConfigError: `method` is given, but the agent cannot train its actor, or `actor_average` would mix tasks.
    """
    name, average = config.agent.method, config.agent.actor_average
    if method is None:
        return METHODS[name](config, spec, axis)
    require(name in CONTINUAL, "method", name, f"learns no sequence of tasks; one of {', '.join(CONTINUAL)}")
    require(average == 0, "actor_average", average, "a sequence of tasks is scored with the last parameters; take 0")
    return CONTINUAL[name](config, spec, axis, method)
