"""sawyer_bin, sawyer_box, sawyer_peg: sizes, commanded goals and success of "A Single Goal is All You Need"."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs_mjx
from envs_mjx.metaworld.env import MetaWorld
from envs_mjx.metaworld.rewards.base import HAND, LEFT_FINGER, RIGHT_FINGER
from envs_mjx.metaworld.single_goal import SINGLE_GOAL

ENVS = 4
SIZES = {"sawyer_bin": 7, "sawyer_box": 11, "sawyer_peg": 7}


@functools.cache
def started(name: str) -> tuple[MetaWorld, envs_mjx.State]:
    env = envs_mjx.make(name, ENVS, physics="c")
    return env, jax.jit(env.reset)(jax.random.PRNGKey(0))


@pytest.mark.parametrize("name", SINGLE_GOAL)
def test_the_state_is_hand_opening_object(name: str) -> None:
    env, state = started(name)
    assert env.spec.obs_size == env.spec.goal_size == SIZES[name] and env.spec.horizon == 150
    assert state.obs.shape == state.goal.shape == (ENVS, SIZES[name])
    for vector in (env.spec.obs_shift, env.spec.obs_scale, env.spec.goal_shift, env.spec.goal_scale):
        assert vector.shape == (SIZES[name],)
    np.testing.assert_array_equal(env.achieved_goal(state.obs), state.obs)
    np.testing.assert_array_equal(state.obs[:, :3], env.layout.point(state.physics, HAND))
    apart = env.layout.point(state.physics, RIGHT_FINGER) - env.layout.point(state.physics, LEFT_FINGER)
    np.testing.assert_allclose(state.obs[:, 3], np.clip(np.linalg.norm(apart, axis=1) / 0.1, 0, 1), atol=1e-6)
    np.testing.assert_array_equal(state.obs[:, 4:7], env.layout.point(state.physics, env.task.achieved))
    np.testing.assert_array_equal(env.hand_in_goal(), np.eye(3, SIZES[name]))


@pytest.mark.parametrize("name", SINGLE_GOAL)
def test_hand_bounds(name: str) -> None:
    task = SINGLE_GOAL[name]
    assert task.mocap_low == (-0.5, 0.4, 0.07 if name == "sawyer_bin" else 0.05)
    assert task.mocap_high == (0.5, 1.0, 0.5)


def test_commanded_goals() -> None:
    _, bins = started("sawyer_bin")
    np.testing.assert_allclose(bins.goal, np.tile([0.12, 0.7, 0.05, 0.4, 0.12, 0.7, 0.02], (ENVS, 1)), atol=1e-7)
    _, box = started("sawyer_box")
    at = np.asarray(box.vector)[:, 3:]
    expected = np.concatenate([at + np.array([0, 0, 0.03]), np.full((ENVS, 1), 0.4), at], axis=1)
    np.testing.assert_allclose(box.goal[:, :7], expected, atol=1e-6)
    np.testing.assert_allclose(box.goal[:, 7:], np.tile([0.707, 0, 0, 0.707], (ENVS, 1)), atol=1e-7)
    _, peg = started("sawyer_peg")
    at = np.asarray(peg.vector)[:, 3:] + [0.03, 0, 0.13]
    expected = np.concatenate([at + np.array([0.13, 0, 0.03]), np.full((ENVS, 1), 0.4), at], axis=1)
    np.testing.assert_allclose(peg.goal, expected, atol=1e-6)
    for state in (box, peg):
        assert len(np.unique(np.asarray(state.goal), axis=0)) == ENVS, "the goal moves per episode"


def moved(name: str, offset: tuple[float, float, float], turn: float = 0.0) -> bool:
    """Whether an object `offset` metres from its goal, turned by `turn` radians from its settled pose, is a success."""
    env, state = started(name)
    points = state.physics.points.at[:, env.layout.index[env.task.achieved]].set(state.target + jnp.array(offset))
    cos, sin = np.cos(turn), np.sin(turn)
    spin = jnp.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]], jnp.float32)
    rotations = state.physics.rotations.reshape(ENVS, -1, 3, 3)
    physics = state.physics.replace(
        points=points, rotations=jnp.einsum("ij,erjk->erik", spin, rotations).reshape(ENVS, -1, 9)
    )
    obs = env.observe(physics)
    native = np.asarray(env.success(physics, state.target))
    np.testing.assert_array_equal(native, env.goal_success(obs, state.goal))
    assert native.all() == native.any()
    return bool(native.all())


def test_success_bin() -> None:
    assert moved("sawyer_bin", (0.0, 0.03, 0.039)) and not moved("sawyer_bin", (0.0, 0.03, 0.041))


def test_success_box_also_asks_for_the_lid_s_orientation() -> None:
    assert moved("sawyer_box", (0.0, 0.07, 0.03)) and not moved("sawyer_box", (0.0, 0.08, 0.01))
    # The lid settles at (0.707, 0, 0, 0.707): norm of a quaternion's error is about half the angle.
    assert moved("sawyer_box", (0.0, 0.0, 0.0), turn=0.13) and not moved("sawyer_box", (0.0, 0.0, 0.0), turn=0.19)


def test_success_peg_counts_y_and_z_twice() -> None:
    assert moved("sawyer_peg", (0.069, 0.0, 0.0)) and not moved("sawyer_peg", (0.071, 0.0, 0.0))
    assert moved("sawyer_peg", (0.0, 0.034, 0.0)) and not moved("sawyer_peg", (0.0, 0.036, 0.0))
    assert moved("sawyer_peg", (0.0, 0.0, 0.034)) and not moved("sawyer_peg", (0.0, 0.0, 0.036))


@pytest.mark.parametrize("name", SINGLE_GOAL)
def test_episodes_run(name: str) -> None:
    env = envs_mjx.make(name, 2, physics="c", horizon=4)

    def step(state, key):
        state = env.step(state, jax.random.uniform(key, (2, 4), minval=-1, maxval=1))
        return state, state

    run = jax.jit(lambda key: jax.lax.scan(step, env.reset(key), jax.random.split(key, 9))[1])
    states = run(jax.random.PRNGKey(0))
    assert np.isfinite(states.obs).all() and states.episode[-1].tolist() == [2, 2]
    assert not states.metrics["success"].any() and not states.metrics["diverged"].any()


def test_official_scores_are_refused_in_one_line() -> None:
    from envs_mjx import EnvError
    from envs_mjx.metaworld import official

    with pytest.raises(EnvError, match="task='sawyer_bin': no such task"):
        official.zero_shot(started("sawyer_bin")[0], lambda obs, goal: obs, episodes=1, horizon=2, seed=0)
