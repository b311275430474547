"""Fetch on engine `c` equals the official package: physics bit by bit, observations, starts, targets and success."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from envs_mjx.robotics.fetch import Fetch, goal_size
from envs_mjx.robotics.tasks import HORIZON, TASKS
from tests.envs_mjx.robotics import official

STEPS = 150


def _start_of(env: Any) -> np.ndarray:
    """The reset vector (1, R) of the official environment's running episode."""
    at = [] if not env.has_object else [env.data.joint("object0:joint").qpos[:2]]
    return np.concatenate([*at, env.goal]).astype(np.float32)[None]


@pytest.mark.parametrize("name", TASKS)
def test_engine_c_equals_the_official_package(name: str) -> None:
    task = TASKS[name]
    theirs: Any = official.make(task.official)
    ours = Fetch(task, 1, "c", "object", 1000)
    theirs.reset(seed=1)
    vector = _start_of(theirs)
    theirs.goal = vector[0, -3:].astype(np.float64)
    if task.object_at:  # Our reset vectors are float32.
        _place(theirs, vector[0, :2])
    state, step = ours.reset_to(jnp.asarray(vector), jax.random.split(jax.random.PRNGKey(0), 1)), jax.jit(ours.advance)
    random, whole = np.random.default_rng(0), mujoco.mjtState.mjSTATE_INTEGRATION
    row = np.empty(mujoco.mj_stateSize(theirs.model, whole))
    for time in range(STEPS):
        told: Any = theirs._get_obs()
        np.testing.assert_allclose(np.asarray(state.obs)[0], told["observation"], atol=1e-6, err_msg=f"step {time}")
        np.testing.assert_allclose(ours.achieved_goal(state.obs)[0], told["achieved_goal"], atol=1e-6)
        np.testing.assert_allclose(np.asarray(state.goal)[0], told["desired_goal"], atol=1e-6)
        assert bool(state.success[0]) == bool(theirs._is_success(told["achieved_goal"], theirs.goal))
        action = random.uniform(-1.2, 1.2, 4).astype(np.float32)
        if time > STEPS // 2:  # down and shut, towards the table
            action[2:] = (-0.3, -1.0)
        theirs.step(action)
        state = step(state, jnp.asarray(action)[None])
        mujoco.mj_getState(theirs.model, theirs.data, row, whole)
        mine = np.asarray(state.physics.engine.state).view(np.float64)[0]
        moved = _mocap(theirs.model)  # The mocap body is put back at the beginning of the official step.
        np.testing.assert_array_equal(np.delete(mine, moved), np.delete(row, moved), err_msg=f"step {time}")


def _mocap(model: mujoco.MjModel) -> np.ndarray:
    """Places of the mocap body's pose in an integration state."""
    data, whole = mujoco.MjData(model), mujoco.mjtState.mjSTATE_INTEGRATION
    before, after = (np.empty(mujoco.mj_stateSize(model, whole)) for _ in range(2))
    mujoco.mj_getState(model, data, before, whole)
    data.mocap_pos[:], data.mocap_quat[:] = 7.0, 7.0
    mujoco.mj_getState(model, data, after, whole)
    return np.flatnonzero(before != after)


def _place(env: Any, at: np.ndarray) -> None:
    """Begin the official episode with the object at `at` (2,)."""
    mujoco.mj_resetData(env.model, env.data)
    env.data.time = env.initial_time
    env.data.qpos[:], env.data.qvel[:] = env.initial_qpos, env.initial_qvel
    env.data.joint("object0:joint").qpos[:2] = at
    mujoco.mj_forward(env.model, env.data)


@pytest.mark.parametrize("name", TASKS)
def test_starts_and_targets_are_distributed_as_in_the_official_package(name: str) -> None:
    task, count = TASKS[name], 1500
    theirs: Any = official.make(task.official)
    ours = Fetch(task, 1, "c", "object", HORIZON)
    drawn = np.asarray(ours._draw(jax.random.split(jax.random.PRNGKey(0), count)))
    wanted = []
    for seed in range(count):
        theirs.reset(seed=seed)
        wanted.append(_start_of(theirs)[0])
    for column, (mine, official_) in enumerate(zip(drawn.T, np.array(wanted).T, strict=True)):
        if np.ptp(official_) < 1e-5:
            np.testing.assert_allclose(mine, official_[0], atol=1e-6)
            continue
        # Kolmogorov-Smirnov; heights on the table are one value, up to rounding.
        grid = np.sort(np.concatenate([mine, official_])) + 1e-5
        shares = [np.searchsorted(np.sort(draws), grid) / count for draws in (mine, official_)]
        assert np.abs(shares[0] - shares[1]).max() < 2 * np.sqrt(2 / count), f"column {column}"
    if task.object_at:
        apart = np.linalg.norm(drawn[:, :2] - np.array(ours._settled.grip[:2]), axis=1)
        assert apart.min() >= 0.1 - 1e-6


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("goal", ["object", "hand_object", "object_relative"])
def test_goal_contracts(name: str, goal: str) -> None:
    env = Fetch(TASKS[name], 3, "c", goal, HORIZON)
    assert env.spec.goal_size == goal_size(TASKS[name], goal) == len(env.spec.goal_names)
    state = env.reset(jax.random.PRNGKey(0))
    obs, target = np.asarray(state.obs), state.target
    achieved = np.asarray(env.achieved_goal(state.obs))
    told = dict(zip(env.spec.goal_names, achieved.T, strict=True))
    hand, thing = obs[:, :3], np.asarray(env.object_point(state.obs))
    for axis, letter in enumerate("xyz"):
        np.testing.assert_allclose(told[f"object {letter}"], thing[:, axis], atol=1e-6)
        if f"hand {letter}" in told:
            np.testing.assert_allclose(told[f"hand {letter}"], hand[:, axis], atol=1e-6)
        if f"hand from object {letter}" in told:
            np.testing.assert_allclose(told[f"hand from object {letter}"], (hand - thing)[:, axis], atol=1e-6)
    if "opening" in told:
        np.testing.assert_allclose(told["opening"], obs[:, 9:11].sum(axis=1), atol=1e-6)
    np.testing.assert_allclose(env._point_of(state.goal), target, atol=1e-6)
    assert bool(env.goal_success(state.goal, env.commanded_goal(target)).all())
    moved = env.achieved_goal(state.obs.at[:, 0].add(0.01).at[:, 3].add(0.0))
    np.testing.assert_allclose(np.asarray(moved - achieved)[0], 0.01 * np.asarray(env.hand_in_goal())[0], atol=1e-6)


def test_episodes_restart_elsewhere_and_only_those_that_ended() -> None:
    env = Fetch(TASKS["FetchPush"], 4, "c", "object", 3)
    state, step = env.reset(jax.random.PRNGKey(0)), jax.jit(env.step)
    first = np.asarray(state.vector)
    for _ in range(2):
        state = step(state, jnp.zeros((4, 4)))
    assert not np.asarray(state.done).any() and (np.asarray(state.vector) == first).all()
    state = step(state, jnp.zeros((4, 4)))
    assert np.asarray(state.done).all() and (np.asarray(state.time) == 0).all()
    assert (np.asarray(state.vector) != first).any(axis=1).all()
    placed = np.asarray(env.object_point(state.obs))[:, :2]
    np.testing.assert_allclose(placed, np.asarray(state.vector)[:, :2], atol=1e-6)
