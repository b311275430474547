"""PointMaze on engine `c` equals the official package: physics bit by bit, observations, starts, targets, success."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from envs_mjx.robotics.maze import MAZES, RADIUS, MujocoMaze
from tests.envs_mjx.robotics import official


@pytest.mark.parametrize("name", MAZES)
def test_engine_c_equals_the_official_package(name: str) -> None:
    maze = MAZES[name]
    theirs: Any = official.make(maze.official)
    theirs.reset(seed=2)
    ours = MujocoMaze(maze, 1, "c", maze.horizon)
    assert theirs.maze.maze_map == [[int(cell == "#") for cell in row] for row in maze.plan]
    vector = np.concatenate([theirs.reset_pos, [0, 0], theirs.goal]).astype(np.float32)
    theirs.goal = vector[4:].astype(np.float64)
    theirs.point_env.init_qpos[:] = vector[:2]
    theirs.point_env.reset()
    state = ours.reset_to(jnp.asarray(vector)[None], jax.random.split(jax.random.PRNGKey(0), 1))
    step, random, whole = jax.jit(ours.advance), np.random.default_rng(0), mujoco.mjtState.mjSTATE_INTEGRATION
    row = np.empty(mujoco.mj_stateSize(theirs.model, whole))
    action = np.zeros(2, np.float32)
    for time in range(150):
        if time % 25 == 0:  # long enough to reach the greatest speed, and the walls
            action = random.uniform(-1.5, 1.5, 2).astype(np.float32)
        told, _, _, _, info = theirs.step(action)
        state = step(state, jnp.asarray(action)[None])
        np.testing.assert_allclose(np.asarray(state.obs)[0], told["observation"], atol=1e-6, err_msg=f"step {time}")
        np.testing.assert_allclose(ours.achieved_goal(state.obs)[0], told["achieved_goal"], atol=1e-6)
        assert bool(state.success[0]) == info["success"]
        mujoco.mj_getState(theirs.model, theirs.data, row, whole)
        mine = np.asarray(state.physics.engine.state).view(np.float64)[0]
        np.testing.assert_array_equal(mine, row, err_msg=f"step {time}")
    assert np.abs(state.obs[0, 2:]).max() <= 5.5


def test_starts_and_targets_are_distributed_as_in_the_official_package() -> None:
    maze, count = MAZES["PointMaze_Medium"], 2000
    theirs: Any = official.make(maze.official)
    ours = MujocoMaze(maze, 1, "c", maze.horizon)
    drawn = np.asarray(ours._draw(jax.random.split(jax.random.PRNGKey(0), count)))
    wanted = []
    for seed in range(count):
        theirs.reset(seed=seed)
        wanted.append(np.concatenate([theirs.reset_pos, [0, 0], theirs.goal]))
    for column in (0, 1, 4, 5):
        mine, official_ = drawn[:, column], np.array(wanted)[:, column]
        grid = np.sort(np.concatenate([mine, official_]))
        shares = [np.searchsorted(np.sort(draws), grid) / count for draws in (mine, official_)]
        assert np.abs(shares[0] - shares[1]).max() < 2 * np.sqrt(2 / count), f"column {column}"
    middles = maze.middles(".")
    cell = np.argmin(np.linalg.norm(drawn[:, None, :2] - middles, axis=-1), axis=1)
    assert (np.linalg.norm(middles[cell] - drawn[:, 4:], axis=1) > 0.5).all()


def test_a_distance_of_the_radius_succeeds() -> None:
    env = MujocoMaze(MAZES["PointMaze_UMaze"], 1, "c", 10)
    goal = jnp.zeros((3, 2))
    achieved = jnp.array([[RADIUS, 0], [0, RADIUS + 1e-3], [0.0, 0.1]])
    np.testing.assert_array_equal(env.goal_success(achieved, goal), [True, False, True])
