"""CRL and SAC with the actor of a continual method: updates keep the method's rules; bad settings raise errors."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crl_jax import agents, continual
from crl_jax.config import AgentConfig, Config, ConfigError
from crl_jax.continual.method import Method
from crl_jax.types import Batch
from envs_mjx.base import EnvSpec
from tests.support.continual import PLAIN, SIZES, SMALL

KEY = jax.random.PRNGKey(0)
SPEC = EnvSpec(*SIZES[:3], 50, jnp.ones(3), 2 * jnp.ones(3), jnp.ones(2), jnp.full(2, 3.0))
ROWS = 4


def method_of(name: str) -> Method:
    return continual.make(dataclasses.replace(SMALL, learner=name), PLAIN, SIZES)


def config_of(agent: str) -> Config:
    return Config(network=dataclasses.replace(PLAIN, embedding=4), agent=AgentConfig(method=agent))


def batch() -> Batch:
    keys = jax.random.split(KEY, 6)
    ints = jnp.zeros(ROWS, jnp.int32)
    obs, next_obs = jax.random.normal(keys[0], (2, ROWS, SIZES.obs))
    goal, commanded, next_goal = jax.random.normal(keys[1], (3, ROWS, SIZES.goal))
    action = jnp.tanh(jax.random.normal(keys[2], (ROWS, SIZES.action)))
    return Batch(obs, action, next_obs, goal, commanded, ints, ints, ints + 1, next_goal, jnp.ones(ROWS))


@pytest.mark.parametrize("name", continual.METHODS)
@pytest.mark.parametrize("agent", ["crl", "sac"])
def test_every_method_is_an_actor_of_every_agent(agent: str, name: str) -> None:
    made = agents.make(config_of(agent), SPEC, method=method_of(name))
    state = jax.eval_shape(made.init, KEY)
    after, metrics = jax.eval_shape(made.update, state, batch(), KEY)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    shapes = [[(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)] for tree in (state, after)]
    assert shapes[0] == shapes[1] and metrics["actor_loss"].shape == ()
    acting = [
        jax.eval_shape(lambda one, fixed=fixed: made.act(one, batch().obs, batch().goal, KEY, fixed), state)
        for fixed in (True, False)
    ]
    assert all(action.shape == (ROWS, SIZES.action) for action in acting)


@pytest.mark.slow
def test_an_update_keeps_the_methods_rules() -> None:
    method = method_of("packnet")
    made = agents.make(config_of("crl"), SPEC, method=method)
    update = jax.jit(made.update)
    state, _ = update(made.init(KEY), batch(), KEY)  # Leaves moments that would go on to move what is frozen.
    assert method.end is not None
    actor, memory = method.start(*method.end(state.actor, state.memory, None, KEY), KEY)  # type: ignore[arg-type]
    after, _ = update(state.replace(actor=actor, memory=memory), batch(), KEY)
    before, moved = (tree["params"]["mlp"]["hidden"]["dense_1"]["kernel"] for tree in (actor, after.actor))
    owned = memory.owner["params"]["mlp"]["hidden"]["dense_1"]["kernel"] == 0
    assert owned.any() and np.array_equal(before[owned], moved[owned]) and not np.array_equal(before, moved)
    for one, other in zip(jax.tree.leaves(after.actor), jax.tree.leaves(after.average), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": "td3"}, "method='td3'.*crl, sac"),
        ({"actor_average": 0.9}, "actor_average=0.9.*take 0"),
    ],
)
def test_what_does_not_go_together_is_refused(changes, words: str) -> None:
    config = dataclasses.replace(config_of("crl"), agent=AgentConfig(**changes))
    with pytest.raises(ConfigError, match=words):
        agents.make(config, SPEC, method=method_of("ft1"))
