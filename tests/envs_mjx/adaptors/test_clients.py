"""Real clients of the adaptors: PPO on the `VectorEnv`, brax.training on the Brax environment."""

from __future__ import annotations

import jax
import numpy as np
import pytest

import envs_mjx
from envs_mjx.adaptors.brax import BraxEnv, train
from experiments import ppo_vector_env


@pytest.mark.slow
def test_ppo_runs_on_the_vector_env() -> None:
    settings = ppo_vector_env.Settings(env_id="crl_jax/reach-v3", num_envs=32, total_steps=8_000)
    curve = ppo_vector_env.train(settings)
    assert len(curve) >= 3 and np.isfinite(curve).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    "agent, settings",
    [
        ("ppo", {"unroll_length": 10, "batch_size": 32, "num_minibatches": 4}),
        ("sac", {"min_replay_size": 640, "batch_size": 64}),
    ],
)
def test_brax_training_runs_on_the_brax_env(agent: str, settings: dict) -> None:
    env = BraxEnv(envs_mjx.make("reach", num_envs=32, physics="c", horizon=20))
    seen: list[tuple[int, dict]] = []

    def progress(env_steps: int, metrics: dict) -> None:
        seen.append((env_steps, metrics))

    common = {"num_evals": 2, "normalize_observations": True, "progress_fn": progress}
    make_policy, params, metrics = train(agent, env, num_timesteps=4_000, **common, **settings)
    assert [steps > 0 for steps, _ in seen] == [False, True] and seen[-1][0] >= 4_000
    assert metrics["eval/avg_episode_length"] == 20 and metrics["eval/episode_diverged"] == 0
    losses = [float(value) for name, value in metrics.items() if "loss" in name]
    assert losses and np.isfinite(losses).all()
    obs = jax.jit(env.reset)(jax.random.PRNGKey(0)).obs
    action, _ = make_policy(params, deterministic=True)(obs, jax.random.PRNGKey(1))
    assert action.shape == (32, 4) and np.isfinite(action).all()


@pytest.mark.slow
def test_ppo_learns_on_the_vector_env() -> None:
    """Small maze: episodes of 50 steps with a new start and goal. A random walk is at its goal for about 6 steps."""
    settings = ppo_vector_env.Settings(env_id="crl_jax/point_Small-v0", total_steps=30_000)
    curve = ppo_vector_env.train(settings)
    assert curve[0] < 15 and curve[-1] > 25
