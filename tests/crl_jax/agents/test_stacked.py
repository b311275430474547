"""Updates of the stack of phi, psi and the actor are those of the networks; what cannot be stacked is refused."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import PRESETS
from crl_jax.agents import make
from crl_jax.config import Config, ConfigError, with_overrides
from crl_jax.types import Batch
from envs_mjx.base import EnvSpec

D, G, A, B, UPDATES = 5, 3, 2, 32, 10
SPEC = EnvSpec(D, G, A, 50, jnp.arange(1.0, D + 1), 2 * jnp.ones(D), jnp.arange(1.0, G + 1), jnp.full(G, 3.0))
SMALL = {"width": 16, "critic_depth": 4, "actor_depth": 4, "embedding": 8}
KEY = jax.random.PRNGKey(0)


def _batches() -> Batch:
    keys = jax.random.split(KEY, 5)
    sizes = {"obs": D, "next_obs": D, "action": A, "goal": G, "commanded": G}
    numbers = {
        name: jax.random.normal(key, (UPDATES, B, size)) for key, (name, size) in zip(keys, sizes.items(), strict=True)
    }
    numbers["action"] = jnp.tanh(numbers["action"])
    rows = jnp.broadcast_to(jnp.arange(B, dtype=jnp.int32) // 2, (UPDATES, B))
    return Batch(**numbers, env=rows, episode=rows, offset=rows + 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"actor_goals": "half_commanded", "critic_goal_noise": 0.1, "actor_average": 0.99, "actor_lr": 1e-3},
        {"critic_depth": 8, "actor_depth": 4, "residual_scale": "depth", "remat": True, "entropy": "none"},
        pytest.param(
            {"loss": "sym_infonce", "mask": "same_trajectory", "bc_weight": 0.3, "entropy": "fixed"},
            marks=pytest.mark.slow,
        ),
        pytest.param({"energy": "dot", "loss": "binary_nce", "actor_goals": "mixed"}, marks=pytest.mark.slow),
    ],
)
def test_the_stack_learns_what_the_networks_learn(changes: dict[str, Any]) -> None:
    agent = make(with_overrides(Config(), **SMALL | changes, fused="on"), SPEC)
    assert agent.packed is not None
    packed, keys = agent.packed, jax.random.split(KEY, UPDATES)
    start = jax.jit(agent.init)(KEY)
    jax.tree.map(np.testing.assert_array_equal, packed.unpack(packed.pack(start), start), start)

    def plain(state: Any) -> Any:
        return jax.lax.scan(lambda state, inputs: agent.update(state, *inputs), state, (_batches(), keys))

    def stacked(state: Any) -> Any:
        end, told = jax.lax.scan(
            lambda state, inputs: packed.update(state, *inputs), packed.pack(state), (_batches(), keys)
        )
        return packed.unpack(end, state), told

    (wanted, told), (found, ours) = jax.jit(plain)(start), jax.jit(stacked)(start)
    moved = jax.tree.map(lambda one, other: float(jnp.abs(one - other).max()), wanted.phi, start.phi)
    assert max(jax.tree.leaves(moved)) > 1e-3
    for (path, one), other in zip(jax.tree_util.tree_leaves_with_path(wanted), jax.tree.leaves(found), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5, err_msg=jax.tree_util.keystr(path))
    assert list(told) and set(told) == set(ours)
    for name, values in told.items():
        np.testing.assert_allclose(ours[name], values, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"critic_depth": 2, "actor_depth": 2}, "a depth below 4"),
        ({"layer_norm": False}, "no LayerNorm"),
        ({"activation": "relu"}, "activation=relu"),
        ({"dtype": "bfloat16"}, "dtype=bfloat16"),
        ({"width": 24}, "a width that is no power of two"),
        ({"embedding": 32}, "an embedding wider than the layers"),
        ({"twin": True}, "twin critics"),
        ({"max_grad_norm": 1.0, "lr_half_life": 100}, "clipped gradients, falling step sizes"),
    ],
)
def test_what_cannot_be_stacked_is_refused_and_auto_trains_the_networks(changes: dict[str, Any], reason: str) -> None:
    config = with_overrides(Config(), **SMALL | changes, fused="on")
    with pytest.raises(ConfigError, match=f"^fused='on': not with {reason}; take auto$"):
        make(config, SPEC)
    assert make(with_overrides(config, fused="auto"), SPEC).packed is None


def test_a_cpu_trains_the_networks_by_default() -> None:
    assert make(with_overrides(Config(), **SMALL), SPEC).packed is None
    with pytest.raises(ConfigError, match="fused='yes': one of auto, on, off"):
        with_overrides(Config(), fused="yes").validate()
    with pytest.raises(ConfigError, match="fused='on': method='sac' does not read it"):
        with_overrides(PRESETS["sac_cpu"], fused="on").validate()
