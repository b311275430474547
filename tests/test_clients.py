"""Real clients of the adaptors: PPO on the `VectorEnv`, brax.training on the Brax environment."""

from __future__ import annotations

import numpy as np
import pytest

from examples import ppo_vector_env


@pytest.mark.slow
def test_ppo_runs_on_the_vector_env() -> None:
    settings = ppo_vector_env.Settings(env_id="crl_jax/reach-v3", num_envs=32, total_steps=8_000)
    curve = ppo_vector_env.train(settings)
    assert len(curve) >= 3 and np.isfinite(curve).all()
