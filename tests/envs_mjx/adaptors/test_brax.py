"""The Brax adaptor: state fields that Brax's training reads; bad requests.  Axis letters: E environments, T time."""

from __future__ import annotations

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from brax.envs.wrappers.training import EvalWrapper

import envs_mjx
from envs_mjx import EnvError
from envs_mjx.adaptors.brax import BraxEnv, import_agent, wrap

ENVS, HORIZON, STEPS = 3, 4, 10


@functools.cache
def reach() -> BraxEnv:
    return BraxEnv(envs_mjx.make("reach", ENVS, physics="c", horizon=HORIZON))


def unroll(env, steps: int):
    """The state after the reset, the states (T, E, ...) after each of `steps` random actions, and the actions."""
    keys = jax.random.split(jax.random.PRNGKey(1), ENVS)
    actions = jax.random.uniform(jax.random.PRNGKey(2), (steps, ENVS, 4), minval=-1, maxval=1)

    def step(state, action):
        state = env.step(state, action)
        return state, state

    @jax.jit
    def run(keys):
        start = env.reset(keys)
        return start, jax.lax.scan(step, start, actions)[1]

    return *jax.tree.map(np.asarray, run(keys)), actions


def test_it_is_our_environment_with_what_brax_reads() -> None:
    env = reach()
    start, states, actions = unroll(env, STEPS)
    assert start.obs.shape == (ENVS, env.observation_size) and env.action_size == 4 and env.backend == "c"
    world = jax.jit(env.env.reset_each)(jax.random.split(jax.random.PRNGKey(1), ENVS))
    step = jax.jit(env.env.step)
    for time, action in enumerate(actions):
        world = step(world, action)
        np.testing.assert_array_equal(states.obs[time], np.concatenate([world.obs, world.goal], axis=1))
        np.testing.assert_array_equal(states.done[time], world.done)
        np.testing.assert_array_equal(states.reward[time], world.metrics["success"])
        np.testing.assert_array_equal(states.metrics["distance"][time], world.metrics["distance"])
    steps = np.arange(STEPS) % HORIZON + 1
    np.testing.assert_array_equal(states.info["steps"], np.tile(steps[:, None], ENVS))
    np.testing.assert_array_equal(states.info["truncation"], states.done)
    np.testing.assert_array_equal(states.done[:, 0], steps == HORIZON)
    sums = states.info["episode_metrics"]
    np.testing.assert_array_equal(sums["length"], states.info["steps"])
    episode = slice(HORIZON, 2 * HORIZON)
    np.testing.assert_allclose(
        sums["distance"][episode], np.cumsum(states.metrics["distance"][episode], axis=0), rtol=1e-6
    )


def test_brax_s_evaluation_scores_the_first_episode() -> None:
    start, states, _ = unroll(EvalWrapper(reach()), STEPS)
    assert set(start.metrics) == set(states.metrics) and "reward" in states.metrics
    result = states.info["eval_metrics"]
    np.testing.assert_array_equal(result.episode_steps[-1], np.full(ENVS, HORIZON))
    np.testing.assert_allclose(
        result.episode_metrics["distance"][-1], states.metrics["distance"][:HORIZON].sum(axis=0), rtol=1e-6
    )


def test_one_key_resets_all() -> None:
    obs = jax.jit(reach().reset)(jax.random.PRNGKey(0)).obs
    assert obs.shape[0] == ENVS and len(np.unique(obs[:, -3:], axis=0)) == ENVS


def test_bad_requests_are_refused() -> None:
    env = reach()
    with pytest.raises(EnvError, match="num_envs=5"):
        env.reset(jnp.zeros((5, 2), jnp.uint32))
    with pytest.raises(EnvError, match=f"horizon is {HORIZON}"):
        wrap(env, episode_length=1000)
    with pytest.raises(EnvError, match="action_repeat=2"):
        wrap(env, episode_length=HORIZON, action_repeat=2)
    with pytest.raises(EnvError, match="agent='dqn'"):
        import_agent("dqn")
    with pytest.raises(EnvError, match="reward='dense'"):
        BraxEnv(env.env, reward="dense")


def test_the_end_of_an_episode_reaches_brax_s_own_ppo_losses_rightly() -> None:
    """Brax's GAE learns nothing at a truncated step, and passes nothing from one episode to the one before."""
    losses = importlib.import_module("brax.training.agents.ppo.losses")
    start, states, _ = unroll(reach(), STEPS)
    weights = jnp.linspace(-1, 1, states.obs.shape[-1])
    before = jnp.concatenate([start.obs[None], states.obs[:-1]])
    values = before @ weights
    truncation = jnp.asarray(states.info["truncation"])
    termination = (1 - (1 - states.done)) * (1 - truncation)  # as in `compute_ppo_loss`, discount = 1 - done
    assert not termination.any(), "truncated, never terminated"

    def targets(rewards: np.ndarray) -> np.ndarray:
        return np.asarray(
            losses.compute_gae(
                truncation, termination, jnp.asarray(rewards), values, states.obs[-1] @ weights, 0.9, 0.9
            )[0]
        )

    rewards = np.linspace(0, 1, STEPS * ENVS).reshape(STEPS, ENVS)
    told = targets(rewards)
    np.testing.assert_allclose(
        told[HORIZON - 1], values[HORIZON - 1], rtol=1e-6, err_msg="the truncated step is masked"
    )
    changed = rewards.copy()
    changed[HORIZON:] += 5.0
    np.testing.assert_array_equal(targets(changed)[:HORIZON], told[:HORIZON])
    assert (targets(changed)[HORIZON] != told[HORIZON]).all()
    ends = states.info["final_obs"][HORIZON - 1]
    assert (ends[:, : reach().env.spec.obs_size] != states.obs[HORIZON - 1][:, : reach().env.spec.obs_size]).any()
    np.testing.assert_array_equal(
        ends[:, -3:], before[HORIZON - 1][:, -3:], err_msg="the goal of the episode that ended"
    )
    np.testing.assert_array_equal(states.info["final_obs"][0], states.obs[0], err_msg="no end: what obs shows")
    np.testing.assert_array_equal(states.info["time_out"], states.info["truncation"])
