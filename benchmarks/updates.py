"""An SGD update with the sizes of Meta-World's `push`, without an environment: for depth, kernels and gpu."""

from __future__ import annotations

from typing import Any, NamedTuple

from crl_jax.config import Config

OBS, GOAL, ACTION, DECISIONS = 10, 6, 4, 30
"""Sizes of `push`, and the decisions of an episode at action repeat 5."""


class Update(NamedTuple):
    """An agent and the shapes that its update takes.

    Attributes:
        agent: the agent; `agent.update(state, batch, key)` is the update.
        shapes: (state, batch, key) as shapes; nothing is allocated.
    """

    agent: Any
    shapes: tuple[Any, Any, Any]

    def one(self, state: Any, batch: Any, key: Any) -> tuple[Any, Any]:
        """An update as the training loop scans it: on the packed state if the agent has one, metrics as one vector."""
        from jax.flatten_util import ravel_pytree

        state, metrics = (self.agent.packed or self.agent).update(state, batch, key)
        return state, ravel_pytree(metrics)[0]

    def scanned(self, state: Any, batch: Any, keys: Any) -> tuple[Any, Any]:
        """An update for each key, from one batch."""
        import jax

        packed = self.agent.packed
        start = packed.pack(state) if packed else state
        end, metrics = jax.lax.scan(lambda state, key: self.one(state, batch, key), start, keys)
        return packed.unpack(end, state) if packed else end, metrics

    def arguments(self) -> tuple[Any, Any, Any]:
        """A fresh state, a batch of normal numbers from episodes of their own, and a key."""
        import jax
        import jax.numpy as jnp

        key = jax.random.PRNGKey(0)

        def filled(leaf: Any) -> Any:
            if jnp.issubdtype(leaf.dtype, jnp.integer):
                return jnp.arange(leaf.shape[0], dtype=leaf.dtype)
            return jax.random.normal(key, leaf.shape, leaf.dtype)

        return jax.jit(self.agent.init)(key), jax.tree.map(filled, self.shapes[1]), key


def update(config: Config, batch_size: int, axis: str | None = None) -> Update:
    """The update that a config describes, on the device axis `axis`; the shapes are those of all devices together."""
    import jax
    import jax.numpy as jnp

    from crl_jax import agents
    from crl_jax.types import Batch
    from envs_mjx.base import EnvSpec

    scale = jnp.zeros(OBS), jnp.ones(OBS), jnp.zeros(GOAL), jnp.ones(GOAL)
    agent = agents.make(config, EnvSpec(OBS, GOAL, ACTION, DECISIONS, *scale), axis)
    key = jax.eval_shape(lambda: jax.random.PRNGKey(0))

    def blank() -> Batch:
        rows = {"obs": OBS, "next_obs": OBS, "action": ACTION, "goal": GOAL, "commanded": GOAL}
        numbers = {name: jnp.zeros((batch_size, size)) for name, size in rows.items()}
        return Batch(**numbers, **{name: jnp.zeros(batch_size, jnp.int32) for name in ("env", "episode", "offset")})

    return Update(agent, (jax.eval_shape(agent.init, key), jax.eval_shape(blank), key))
