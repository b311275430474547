"""Every preset trains: with its own losses, networks and sampling, but reduced sizes, on a point maze or FetchReach."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from configs import PRESETS
from configs.published import PUBLISHED
from crl_jax.config import Config, ConfigError, with_overrides
from crl_jax.loop import make_round, make_warm_up
from crl_jax.trainer import build
from tests.support.rotation import rotating

SMALL = {
    "task": "point_U",
    "num_envs": 16,
    "horizon": 10,
    "width": 16,
    "actor_depth": 1,
    "unroll_length": 10,
    "updates_per_iteration": 2,
    "batch_size": 16,
    "replay_capacity": 1600,
    "min_replay": 320,
    "iterations_per_round": 2,
    "total_env_steps": 3_200,  # More than the random ones with an action repeat of 5.
    "eval_episodes": 16,
}


LEARNED = {"crl": ("phi", "psi", "actor"), "sac": ("critic", "actor"), "td3": ("critic", "follower")}
"""Parts of the agent's state that move."""


def _small(config: Config, **changes: object) -> Config:
    return with_overrides(config, **SMALL | {"critic_depth": min(config.network.critic_depth, 4)} | changes)


@pytest.mark.parametrize("name", rotating(PRESETS, count=1))
def test_every_preset_trains_two_iterations(name: str) -> None:
    method = PRESETS[name].agent.method
    seen = PRESETS[name].env.obs == "pixels"
    maze = {"control": "hold"}  # It has no hand that could go to a place.
    changes = {"task": "FetchReach", "physics": "c", "picture_size": 16} if seen else maze
    config = _small(
        PRESETS[name], **(changes if method == "crl" else maze | {"reward": "sparse"})
    )  # a maze has no dense one
    setup = build(config)
    state = setup.init(setup.key())
    state = jax.jit(make_warm_up(setup.env, config.train, reward=setup.agent.reward))(state)
    new, metrics, episodes = jax.jit(make_round(setup.env, setup.agent, config))(state)
    assert all(np.isfinite(value) for value in metrics.values()) and episodes.count > 0
    for learned in LEARNED[method]:
        before, after = (jax.tree.leaves(getattr(agent, learned)) for agent in (state.agent, new.agent))
        assert any((old != now).any() for old, now in zip(before, after, strict=True)), learned
    counted = set() if seen else {"distinct_goals"}
    told = {"categorical_accuracy", "entropy"} | counted if method == "crl" else {"q", "q_target", "reward"}
    assert metrics.keys() >= told | {"critic_loss", "actor_loss"}


def test_published_presets_are_what_their_sources_say() -> None:
    for name, config in PUBLISHED.items():
        assert PRESETS[name] is config.validate() and config.agent.critic_lr == config.agent.actor_lr == 3e-4
        ratio = config.train.updates_per_iteration / config.env_steps_per_iteration()
        wanted = {"jaxgcrl": 1000 / 15872, "scaling_crl": 800 / 31744, "scaling_1024": 800 / 31744}.get(name, 1.0)
        assert ratio == wanted, name


def test_distinct_trajectories_need_enough_of_them() -> None:
    few = _small(PRESETS["sgcrl"], min_replay=160, batch_size=32)
    with pytest.raises(
        ConfigError, match=r"^distinct_trajectories=True: min_replay=160 .* 16 .*batch_size=32; .* >= 320$"
    ):
        build(few)
    build(with_overrides(few, min_replay=320))
    cut = {"horizon": 11, "unroll_length": 13, "min_replay": 208, "replay_capacity": 208}
    # 13 steps from a start are two trajectories; in a full ring they may be the end of one, and a whole one
    with pytest.raises(ConfigError, match=r"replay_capacity=208 is sure of 16 .*batch_size=32; .* >= 352$"):
        build(with_overrides(few, **cut))
    build(with_overrides(few, **cut | {"replay_capacity": 416}))
