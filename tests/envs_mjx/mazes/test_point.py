"""Point mazes: the point is never in a wall, starts and goals are free cells, success, dynamics as in the source.

Axis letters: T time, E environments.
"""

from __future__ import annotations

import functools
from collections import deque

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import envs_mjx
from crl_jax.config import ExploreConfig
from crl_jax.experience.explore import behaviour_goal
from envs_mjx.mazes.point import MAZES, NOISE, RADIUS, PointMaze

ENVS, STEPS = 64, 40
SOME = ("point_FourRooms", "point_Impossible", "point_Spiral11x11")
"""Mazes for tests that compile; all mazes share the same code."""
mazes = st.sampled_from(SOME)


def in_wall(walls: np.ndarray, position: np.ndarray) -> np.ndarray:
    """(..., 2) positions -> (...,) bool; independent of the environment's own code."""
    outside = (position < 0).any(axis=-1) | (position > walls.shape).any(axis=-1)
    cell = np.minimum(np.floor(np.where(outside[..., None], 0, position)).astype(int), np.array(walls.shape) - 1)
    return outside | walls[cell[..., 0], cell[..., 1]]


@functools.cache
def unroller(name: str):
    env = PointMaze(MAZES[name], ENVS, horizon=15)

    @jax.jit
    def run(key, drift, noise):
        def step(state, key):
            action = drift + noise * jax.random.normal(key, (ENVS, 2))
            state = env.step(state, action)
            return state, state

        start = env.reset(key)
        return start, jax.lax.scan(step, start, jax.random.split(jax.random.fold_in(key, 1), STEPS))[1]

    return lambda seed, drift, noise: jax.tree.map(
        np.asarray, run(jax.random.PRNGKey(seed), jnp.array(drift, jnp.float32), noise)
    )


drift = st.tuples(st.floats(-2, 2, width=32), st.floats(-2, 2, width=32))


@given(name=mazes, seed=st.integers(0, 2**31 - 1), drift=drift, noise=st.floats(0, 2, width=32))
def test_a_point_is_never_in_a_wall(name: str, seed: int, drift: tuple, noise: float) -> None:
    start, states = unroller(name)(seed, drift, noise)
    walls = MAZES[name].walls
    for position in (start.obs, states.obs, start.goal, states.goal):
        assert not in_wall(walls, position).any()
    assert (np.abs(np.diff(states.obs, axis=0))[~states.done[1:]] <= 1 + 1e-5).all(), "one cell a step and axis at most"


@given(name=mazes, seed=st.integers(0, 2**31 - 1))
def test_episodes_begin_in_free_cells_or_at_the_maze_s_own_ends(name: str, seed: int) -> None:
    _, states = unroller(name)(seed, (0.0, 0.0), 1.0)
    begun = states.time == 0
    np.testing.assert_array_equal(begun, states.done)
    assert begun.sum() == 2 * ENVS
    starts, goals = states.obs[begun], states.goal[begun]
    np.testing.assert_array_equal(starts, states.start[begun][:, :2])
    np.testing.assert_array_equal(goals, states.target[begun][:, :2])
    if name == "point_Spiral11x11":
        assert (starts == 5.0).all() and (goals == 10.0).all()
    else:
        assert len(np.unique(starts, axis=0)) == len(np.unique(goals, axis=0)) == 2 * ENVS


def test_starts_are_uniform_over_the_free_cells() -> None:
    env = PointMaze(MAZES["point_Maze11x11"], 20_000)
    for position in np.split(np.asarray(jax.jit(env.reset)(jax.random.PRNGKey(0)).vector), 2, axis=1):
        cells, counts = np.unique(np.floor(position), axis=0, return_counts=True)
        assert len(cells) == (~env.walls).sum()
        assert (np.abs(counts / counts.mean() - 1) < 0.25).all()


@functools.cache
def reset_one():
    env = PointMaze(MAZES["point_FourRooms"], 1)
    keys = jax.random.split(jax.random.PRNGKey(0), 1)
    return env, jax.jit(lambda vector: env.reset_to(vector, keys))


@given(x=st.floats(3, 7, width=32), y=st.floats(3, 7, width=32))
def test_success_is_a_distance_below_one_cell(x: float, y: float) -> None:
    env, reset = reset_one()
    state = reset(jnp.array([[5.0, 5.0, x, y]]))
    distance = float(np.hypot(np.float32(x) - 5, np.float32(y) - 5))
    assert abs(distance - state.metrics["distance"][0]) < 1e-5
    if abs(distance - RADIUS) > 1e-5:
        assert bool(state.success[0]) == (distance < 1) == bool(env.goal_success(state.obs, state.goal)[0])


def _reference_step(walls: np.ndarray, position: np.ndarray, action: np.ndarray) -> np.ndarray:
    """`PointEnv.step` of the source, without noise, in float64."""
    for _ in range(10):
        for axis in range(2):
            moved = position.copy()
            moved[axis] += 0.1 * action[axis]
            if not in_wall(walls, moved):
                position = moved
    return position


@pytest.mark.parametrize("name", SOME)
def test_dynamics_are_those_of_the_source(name: str) -> None:
    count, generator, env = 200, np.random.default_rng(0), PointMaze(MAZES[name], 200)
    position = np.argwhere(~env.walls)[generator.integers(0, (~env.walls).sum(), count)] + generator.random((count, 2))
    action = generator.uniform(-1, 1, (count, 2))
    ours = np.asarray(jax.jit(env.move)(jnp.asarray(position, jnp.float32), jnp.asarray(action, jnp.float32)))
    theirs = np.stack([_reference_step(env.walls, *pair) for pair in zip(position, action, strict=True)])
    apart = np.abs(ours - theirs).max(axis=1) > 1e-4
    assert apart.sum() <= 1, "at most one grazes a wall within the rounding of float32"
    assert np.abs(theirs - position - action).max() > 0.1, "some are stopped by walls"


def test_actions_are_clipped_and_noisy() -> None:
    env = PointMaze(MAZES["point_Small"], 4000)
    keys = jax.random.split(jax.random.PRNGKey(0), 4000)
    state = env.reset_to(jnp.tile(jnp.array([2.0, 2.0, 0.0, 0.0]), (4000, 1)), keys)
    moved = np.asarray(jax.jit(env.advance)(state, jnp.zeros((4000, 2))).obs) - 2.0
    assert abs(moved.std() - NOISE) < 5e-4 and abs(moved.mean()) < 5e-4
    far = np.asarray(jax.jit(env.advance)(state, jnp.full((4000, 2), 50.0)).obs)
    np.testing.assert_allclose(far, 3.0, atol=1e-5)
    lost = np.asarray(jax.jit(env.advance)(state, jnp.full((4000, 2), jnp.nan)).obs)
    np.testing.assert_array_equal(lost, 2.0)


def test_every_goal_can_be_reached() -> None:
    """All free cells are connected, except those closed off in the source; Spiral's goal is within its horizon."""
    closed = {"point_Impossible": {(8, 8)}, "point_FourRooms": {(10, 10)}}
    for maze in MAZES.values():
        free = {tuple(cell) for cell in np.argwhere(~maze.walls)}
        first = (5, 5) if maze.start else (0, 0)
        reached, queue = {first: 0}, deque([first])
        while queue:
            row, column = queue.popleft()
            for cell in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
                if cell in free and cell not in reached:
                    reached[cell] = reached[(row, column)] + 1
                    queue.append(cell)
        assert free - set(reached) == closed.get(maze.name, set()), maze.name
        if maze.goal:
            assert reached[(10, 10)] <= maze.horizon == 100


def test_horizons_and_ends_of_the_registry() -> None:
    env = envs_mjx.make("point_Spiral11x11", 2)
    assert env.spec.horizon == 100 and envs_mjx.make("point_U", 2).spec.horizon == 50
    assert envs_mjx.make("point_U", 2, horizon=7).spec.horizon == 7
    row = envs_mjx.describe("point_Spiral11x11")
    assert (row.obs_size, row.goal_size, row.action_size, row.horizon) == (2, 2, 2, 100)


@pytest.mark.parametrize("kind", ["commanded", "touch_first", "touch_then_near"])
def test_every_kind_of_behaviour_goal_fits_a_plane(kind: str) -> None:
    env = envs_mjx.make("point_FourRooms", 5)
    state = env.reset(jax.random.PRNGKey(0))
    goal = behaviour_goal(env, state, ExploreConfig(behaviour_goals=kind, explore_share=1.0))  # type: ignore[arg-type]
    assert goal.shape == (5, 2) and np.isfinite(goal).all()
    if kind == "touch_first":
        assert (np.linalg.norm(goal - state.obs, axis=1) <= 0.05 + 1e-6).all()


def test_frames_show_the_point_the_goal_and_the_walls() -> None:
    env = envs_mjx.make("point_Spiral11x11", 2)
    state = env.reset(jax.random.PRNGKey(0))
    frames = env.frames([(state.physics, np.asarray(state.target), 1)], 220, 110, "corner")
    assert frames.shape == (1, 110, 220, 3) and frames.dtype == np.uint8
    at = lambda row, column: frames[0][int(row * 10), int(55 + column * 10)].tolist()  # noqa: E731
    assert at(5.0, 5.0) == [200, 40, 40] and at(10.0, 10.0) == [40, 170, 80]
    assert at(0.5, 0.5) == [60, 60, 70] and at(1.5, 1.5) == [245, 245, 245]
    assert frames[0][50, 10].tolist() == [120, 120, 120], "beside the plan"
