"""Brax's ant as a goal-reaching task: sizes, starts and goals, what ends an episode, what a broken simulation does."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs_mjx
from envs_mjx.brax_ant import GOAL_DISTANCE, HORIZON, OBS_SIZE, BraxAnt

ENVS = 4


@functools.cache
def _started(horizon: int = HORIZON) -> tuple[Any, envs_mjx.State, Any]:
    env = envs_mjx.make("ant", ENVS, horizon=horizon)
    return env, jax.jit(env.reset)(jax.random.PRNGKey(0)), jax.jit(env.step)


def test_sizes_are_those_of_jaxgcrl() -> None:
    env, state, _ = _started()
    assert isinstance(env, BraxAnt) and envs_mjx.horizon_of("ant") == env.spec.horizon == 1000
    row = envs_mjx.describe("ant")
    sizes = (env.spec.obs_size, env.spec.goal_size, env.spec.action_size)
    assert sizes == (29, 2, 8) == (row.obs_size, row.goal_size, row.action_size)
    assert state.obs.shape == (ENVS, 29) and state.goal.shape == (ENVS, 2)
    after = jax.eval_shape(env.step, state, jnp.zeros((ENVS, 8)))
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), after) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), state
    )


def test_goals_lie_on_the_circle_and_success_is_half_a_metre_off() -> None:
    env, state, _ = _started()
    np.testing.assert_allclose(jnp.linalg.norm(state.goal, axis=1), GOAL_DISTANCE, rtol=1e-5)
    np.testing.assert_array_equal(env.commanded_goal(state.target), state.goal)
    np.testing.assert_array_equal(env.achieved_goal(state.obs), state.obs[:, :2])
    near, far = state.goal + jnp.array([0.49, 0]), state.goal + jnp.array([0, 0.51])
    assert env.goal_success(near, state.goal).all() and not env.goal_success(far, state.goal).any()
    assert not state.success.any()


@pytest.mark.slow
def test_a_thousand_random_steps_stay_finite_and_every_episode_is_new() -> None:
    env, state, _ = _started(100)

    @jax.jit
    def unroll(state: envs_mjx.State) -> Any:
        def step(state: envs_mjx.State, key: jax.Array) -> Any:
            after = env.step(state, jax.random.uniform(key, (ENVS, 8), minval=-1, maxval=1))
            return after, (after.obs, after.goal, after.episode, after.done, after.metrics["diverged"])

        return jax.lax.scan(step, state, jax.random.split(jax.random.PRNGKey(1), 1000))[1]

    obs, goal, episode, done, diverged = (np.asarray(part) for part in unroll(state))
    assert np.isfinite(obs).all() and diverged.sum() == 0
    assert (done.sum(axis=0) >= 10).all() and (episode[-1] == done.sum(axis=0)).all()
    assert len({tuple(one) for one in goal.reshape(-1, 2).tolist()}) == ENVS + done.sum()
    starts = obs[done]  # where done, the observation is that of the next start
    assert len({tuple(one) for one in starts.tolist()}) == len(starts)
    assert np.abs(starts[:, :2]).max() <= 0.11


@pytest.mark.slow
def test_falling_ends_an_episode_and_a_broken_simulation_is_undone() -> None:
    _, state, step = _started()
    raised = {
        name: getattr(state.physics, name).replace(pos=getattr(state.physics, name).pos.at[1, :, 2].add(2.0))
        for name in ("x", "x_i")
    }
    broken = state.physics.replace(
        **raised, xd_i=state.physics.xd_i.replace(vel=state.physics.xd_i.vel.at[2].set(jnp.nan))
    )
    after = step(state.replace(physics=broken, time=jnp.array([5, 5, 5, HORIZON - 1])), jnp.zeros((ENVS, 8)))
    np.testing.assert_array_equal(after.done, [False, True, True, True])
    np.testing.assert_array_equal(after.metrics["diverged"], [0, 0, 1, 0])
    np.testing.assert_array_equal(after.episode, [0, 1, 1, 1])
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(after) if leaf.dtype == jnp.float32)
    assert (after.goal[1:] != state.goal[1:]).any(axis=1).all() and (after.goal[0] == state.goal[0]).all()


def test_reset_to_places_the_ant() -> None:
    env, state, _ = _started()
    vector = state.vector.at[:, :2].add(3.0).at[:, OBS_SIZE:].set(1.0)
    placed = jax.jit(env.reset_to)(vector, state.key)
    np.testing.assert_allclose(placed.obs[:, :2], state.obs[:, :2] + 3, atol=1e-4)
    np.testing.assert_array_equal(placed.goal, jnp.ones((ENVS, 2)))


@pytest.mark.slow
def test_pictures_show_the_goal() -> None:
    env, state, _ = _started()
    targets = np.array(state.target)
    near = targets.copy()
    near[0] = [2.0, 0.0, 0.0]
    pictures = env.frames([(state.physics, targets, 0), (state.physics, near, 0)], 64, 48, "any")
    assert pictures.shape == (2, 48, 64, 3) and pictures.dtype == np.uint8 and (pictures[0] != pictures[1]).any()
