"""Locomotion tasks: published sizes, mazes, starts and goals, ends of episodes, torques, cached resets.

Axis letters: E environments, T time.
"""

from __future__ import annotations

import functools
from collections import deque
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import envs_mjx
from envs_mjx import EnvError
from envs_mjx.locomotion import TASKS
from envs_mjx.locomotion.draws import draw
from envs_mjx.locomotion.mazes import PLANS, Maze, boxes
from envs_mjx.locomotion.scenes import load_model, start_of

ENVS = 4
PUBLISHED = {
    "ant": (29, 2, 8),
    "ant_ball": (31, 2, 8),
    "ant_push": (31, 2, 8),
    "humanoid": (268, 3, 17),
    "half_cheetah": (18, 1, 6),
    "reacher": (10, 3, 2),
    "pusher": (20, 3, 7),
    "simple": (4, 2, 2),
    "arm": (18, 3, 5),
    "arm_reach": (13, 3, 4),
    "arm_grasp": (24, 7, 5),
}
"""Body or family -> sizes of state, goal and action (JaxGCRL, arXiv:2408.11052: `state_dim`, `goal_indices`)."""
RADII = {"reacher": 0.05, "pusher": 0.1, "arm": 0.1, "arm_grasp": 0.05}
"""Success radius of families where it is not 0.5 m."""
HORIZONS = {"arm": 150, "arm_reach": 100, "arm_grasp": 100}
"""Env steps per episode of families where they are not 1,000."""
ON_C = [name for name, row in TASKS.items() if "c" in row.engines]


def of_family(name: str, table: dict[str, Any], default: Any = None) -> Any:
    """The table's entry with the longest key that is a prefix of the task's name."""
    keys = [key for key in table if name.startswith(key)]
    return table[max(keys, key=len)] if keys else default


@functools.cache
def _unrolled(name: str, engine: str, horizon: int, steps: int, cached_reset: bool = False) -> Any:
    """The environment, the state after its reset, and the states (T, E, ...) under random actions."""
    env = envs_mjx.make(name, ENVS, physics=engine, horizon=horizon, cached_reset=cached_reset)

    @jax.jit
    def unroll(key: jax.Array, actions: jax.Array) -> Any:
        def step(state: envs_mjx.State, action: jax.Array) -> Any:
            after = env.step(state, action)
            return after, after.replace(physics=None)

        start = env.reset(key)
        return start, jax.lax.scan(step, start, actions)[1]

    actions = np.random.default_rng(0).uniform(-1, 1, (steps, ENVS, env.spec.action_size)).astype(np.float32)
    return env, *jax.tree.map(np.asarray, unroll(jax.random.PRNGKey(0), actions))


# -- the table -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TASKS)
def test_sizes_and_radii_are_those_published(name: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)  # Assets are found from any folder.
    row = envs_mjx.describe(name)
    assert (row.obs_size, row.goal_size, row.action_size) == of_family(name, PUBLISHED)
    assert TASKS[name].radius == of_family(name, RADII, 0.5)
    assert row.horizon == of_family(name, HORIZONS, 1000)
    assert TASKS[name].backend in row.engines == TASKS[name].engines
    model = load_model(TASKS[name])
    assert start_of(model).shape == (model.nq,)


@pytest.mark.parametrize("name", ["ant_u_maze", "ant_ball", "simple_u_maze"])
def test_what_is_described_is_what_is_made(name: str) -> None:
    env = envs_mjx.make(name, ENVS, physics="c")
    state, row = jax.eval_shape(env.reset, jax.random.PRNGKey(0)), envs_mjx.describe(name)
    assert state.obs.shape == (ENVS, row.obs_size) and state.goal.shape == (ENVS, row.goal_size)
    after = jax.eval_shape(env.step, state, jax.ShapeDtypeStruct((ENVS, row.action_size), jnp.float32))
    shapes = [jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), one) for one in (state, after)]
    assert shapes[0] == shapes[1]
    assert "success_easy" in state.metrics and ("object_moved" in state.metrics) == (name == "ant_ball")


@pytest.mark.parametrize(
    "request_, words",
    [
        ({"task": "ant", "physics": "sprig"}, ["physics='sprig'", "nearest: 'spring'"]),
        ({"task": "ant", "physics": "jax"}, ["physics='jax'", "one of c, warp, spring"]),
        ({"task": "ant_push", "physics": "spring"}, ["physics='spring'", "ant_push", "c, warp, mjx"]),
        ({"task": "push", "physics": "spring"}, ["physics='spring'"]),
        ({"task": "push", "physics": "c", "cached_reset": True}, ["cached_reset=True", "push"]),
        ({"task": "ant", "physics": "spring", "njmax": 2}, ["njmax=2", "spring"]),
        ({"task": "ant_umaze"}, ["task='ant_umaze'", "ant_u_maze"]),
    ],
)
def test_bad_requests_are_refused_in_one_line(request_: dict, words: list[str]) -> None:
    with pytest.raises(EnvError) as caught:
        envs_mjx.make(**{"num_envs": 2} | request_)
    assert all(word in str(caught.value) for word in words) and "\n" not in str(caught.value)


def test_auto_is_the_published_backend_and_brax_goes_with_several_seeds() -> None:
    assert envs_mjx.engine_of("ant") == envs_mjx.engine_of("humanoid_u_maze") == "spring"
    assert envs_mjx.engine_of("half_cheetah") == "mjx" and envs_mjx.engine_of("reacher") == "generalized"
    assert envs_mjx.in_jax("ant", "spring") and not envs_mjx.in_jax("ant", "c") and envs_mjx.in_jax("point_U", "c")


def test_a_grasp_is_fingers_on_both_sides_of_the_cube_where_it_is_now() -> None:
    env = envs_mjx.make("arm_grasp", 2, physics="c", threads=1)
    state = jax.jit(env.reset)(jax.random.PRNGKey(0))
    cube = state.obs[:, :3]
    np.testing.assert_allclose(state.target[:, :2], cube[:, :2], atol=1e-6)
    np.testing.assert_allclose(state.goal, env.commanded_goal(state.target), atol=1e-6)
    achieved = np.asarray(env.achieved_goal(state.obs))
    apart = np.linalg.norm(achieved[:, :3] - achieved[:, 3:6], axis=1)
    np.testing.assert_allclose(achieved[:, 6], apart, rtol=1e-5)
    assert not state.success.any() and (state.metrics["distance"] > 0.05).all()
    # The fingers where the goal has them, then the cube taken away, then the fingers closed too far.
    held = state.obs.at[:, 16:23].set(env.commanded_goal(cube))
    gone, closed = held.at[:, 0].add(0.1), held.at[:, 22].add(-0.03)
    no = jnp.zeros(2, bool)
    for obs, success, easy in ((held, 1, 1), (gone, 0, 1), (closed, 0, 1)):
        metrics = env._scored(state.replace(obs=obs), no).metrics
        assert (metrics["success"] == success).all() and (metrics["success_easy"] == easy).all()
    assert env.goal_success(state.goal, state.goal).all() and not env.goal_success(achieved, state.goal).any()


def test_goals_are_read_where_they_lie() -> None:
    """The ball's x and y are the last two numbers of obs; JaxGCRL's ball maze reads the two before y instead."""
    for name, places in {"ant_ball": [29, 30], "ant_ball_big_maze": [29, 30], "ant_push": [0, 1]}.items():
        env = envs_mjx.make(name, ENVS, physics="c")
        obs = jnp.arange(31.0)[None].repeat(ENVS, axis=0)
        np.testing.assert_array_equal(env.achieved_goal(obs), np.tile(places, (ENVS, 1)))
        assert bool(np.asarray(env.hand_in_goal()).any()) == (name == "ant_push")


def test_a_ball_lies_on_a_circle_around_its_place_and_no_draw_follows_another() -> None:
    row = TASKS["ant_ball"]
    start = start_of(load_model(row))
    vector = np.asarray(jax.vmap(lambda key: draw(row, start, 16, key))(jax.random.split(jax.random.PRNGKey(0), 500)))
    goal, lying = vector[:, -2:], vector[:, 15:17]
    np.testing.assert_allclose(np.linalg.norm(goal, axis=1), 5, rtol=1e-5)
    offset = lying - 0.2 * goal
    np.testing.assert_allclose(np.linalg.norm(offset, axis=1), 1, rtol=1e-4)
    assert (vector[:, 17 + 14 : 17 + 16] == 0).all(), "the ball lies still"
    drawn = np.column_stack([vector[:, :15], offset, goal, vector[:, 17:31]])
    correlation = np.corrcoef(drawn, rowvar=False) - np.eye(drawn.shape[1])
    assert np.abs(correlation).max() < 0.25


# -- mazes -----------------------------------------------------------------------------------------------------------


@given(
    rows=st.integers(1, 7).flatmap(
        lambda width: st.lists(st.text("#.", min_size=width, max_size=width), min_size=1, max_size=7)
    ),
    origin=st.tuples(st.integers(0, 3), st.integers(0, 3)),
)
def test_boxes_fill_the_walls_and_nothing_else(rows: list[str], origin: tuple[int, int]) -> None:
    PLANS["drawn"] = " ".join(rows)
    try:
        maze = Maze("drawn", 4.0, origin)
        covered = np.zeros((len(rows), len(rows[0])), int)
        for middle, half in boxes(maze):
            low = np.round((middle - half)[:2] / 4.0 + 0.5 + origin).astype(int)
            high = np.round((middle + half)[:2] / 4.0 + 0.5 + origin).astype(int)
            covered[low[0] : high[0], low[1] : high[1]] += 1
            assert middle[2] == half[2] == 1.0
        np.testing.assert_array_equal(covered, [[cell == "#" for cell in row] for row in rows])
    finally:
        del PLANS["drawn"]


@pytest.mark.parametrize("plan", PLANS)
def test_every_goal_can_be_reached_and_nobody_leaves(plan: str) -> None:
    rows = PLANS[plan].split()
    assert len({len(row) for row in rows}) == 1
    free = {(i, j) for i, row in enumerate(rows) for j, cell in enumerate(row) if cell != "#"}
    assert all(0 < i < len(rows) - 1 and 0 < j < len(rows[0]) - 1 for i, j in free), "walls all around"
    starts = [cell for cell in free if rows[cell[0]][cell[1]] == "r"] or [(1, 1)]
    reached, queue = set(starts), deque(starts)
    while queue:
        i, j = queue.popleft()
        for cell in ((i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)):
            if cell in free - reached:
                reached.add(cell)
                queue.append(cell)
    assert reached == free and any("g" in row for row in rows)


def test_evaluation_mazes_have_the_walls_of_the_others() -> None:
    for plan in PLANS:
        if plan.endswith("_eval"):
            ours, theirs = (
                [[cell == "#" for cell in row] for row in PLANS[name].split()] for name in (plan, plan[:-5])
            )
            assert ours == theirs, plan


def test_feet_stand_on_walls_of_the_model() -> None:
    model = load_model(TASKS["ant_u_maze"])
    walls = [geom for geom in range(model.ngeom) if model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_BOX]
    assert len(walls) == 5
    np.testing.assert_allclose(model.geom_pos[walls].min(axis=0), [0, 0, 1])
    np.testing.assert_allclose(model.geom_pos[walls].max(axis=0), [16, 16, 1])
    foot = model.geom("left_foot_geom").id
    assert model.geom_contype[foot] & model.geom_conaffinity[walls[0]]


# -- episodes on engine c --------------------------------------------------------------------------------------------


def test_episodes_in_a_maze_are_new_and_torques_move_the_ant() -> None:
    env, start, states = _unrolled("ant_u_maze", "c", 40, 100)
    assert np.isfinite(states.obs).all() and states.metrics["diverged"].sum() == 0
    cells = env.task.maze.at("g")
    every_goal = np.concatenate([start.goal[None], states.goal]).reshape(-1, 2)
    assert {tuple(goal) for goal in every_goal} <= {tuple(cell) for cell in cells}
    assert len({tuple(goal) for goal in every_goal}) > 2
    np.testing.assert_array_equal(start.obs[:, :2], np.full((ENVS, 2), 4.0))
    assert (states.done.sum(axis=0) >= 2).all() and (states.episode[-1] == states.done.sum(axis=0)).all()
    begun = states.obs[states.done]
    assert len(np.unique(begun, axis=0)) == len(begun), "every start is a new one"
    assert np.abs(np.diff(states.obs[:20, :, 7:15], axis=0)).max() > 0.1, "joints follow the torques"
    distance = np.linalg.norm(states.obs[..., :2] - states.goal, axis=-1)[~states.done]
    np.testing.assert_allclose(states.metrics["distance"][~states.done], distance, rtol=1e-5)
    np.testing.assert_array_equal(states.metrics["success_easy"][~states.done], distance < 2)


def test_a_cached_reset_restarts_where_it_started() -> None:
    _, start, states = _unrolled("ant_u_maze", "c", 15, 50, cached_reset=True)
    assert (states.goal == start.goal).all() and (states.done.sum(axis=0) >= 3).all()
    for env in range(ENVS):
        again = states.obs[states.done[:, env], env]
        np.testing.assert_array_equal(again, np.broadcast_to(start.obs[env], again.shape))


def test_engine_c_is_mujoco_under_the_same_torques() -> None:
    """Reference: `mj_step` on the same model from the same start, with actions clipped to [-1, 1] and scaled by 0.3."""
    env = envs_mjx.make("ant_u_maze", ENVS, physics="c")
    physics, model = env.simulation.physics, load_model(env.task)  # type: ignore[attr-defined]
    generator, nq = np.random.default_rng(0), model.nq
    vector = np.zeros((ENVS, nq + model.nv + 2), np.float32)
    vector[:, :nq] = start_of(model) + generator.uniform(-0.1, 0.1, (ENVS, nq))
    vector[:, :2] = 4.0
    actions = generator.uniform(-1.5, 1.5, (6, ENVS, 8)).astype(np.float32)
    state = physics.reset(physics.initial(), jnp.ones(ENVS, bool), jnp.asarray(vector))
    worlds = [mujoco.MjData(model) for _ in range(ENVS)]
    for data, start in zip(worlds, vector, strict=True):
        data.qpos[:], data.qvel[:] = start[:nq], start[nq:-2]
    for action in actions:
        state = physics.step(state, jnp.asarray(action))
        for data, own in zip(worlds, action, strict=True):
            data.ctrl[:] = 0.3 * np.clip(own, -1, 1)
            mujoco.mj_step(model, data, nstep=5)
        expected = np.stack([np.append(data.qpos, data.qvel) for data in worlds])
        np.testing.assert_allclose(state.joints, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ON_C)
def test_a_thousand_random_steps_stay_finite(name: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    _, start, states = _unrolled(name, "c", 100, 1000)
    assert np.isfinite(states.obs).all() and states.metrics["diverged"].sum() == 0
    assert (states.done.sum(axis=0) >= 10).all() and (states.episode[-1] == states.done.sum(axis=0)).all()
    if name != "half_cheetah":  # Its goal is always the same.
        goals = np.concatenate([start.goal[None], states.goal]).reshape(-1, states.goal.shape[-1])
        assert len(np.unique(goals, axis=0)) > 2


# -- Brax ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_published_backends_stay_finite_and_every_episode_is_new(name: str) -> None:
    env, start, states = _unrolled(name, "auto", 100, 1000)
    assert env.engine == TASKS[name].backend
    assert np.isfinite(states.obs).all() and states.metrics["diverged"].sum() == 0
    assert (states.done.sum(axis=0) >= 10).all() and (states.episode[-1] == states.done.sum(axis=0)).all()
    begun = np.concatenate([states.obs, states.goal], axis=-1) if name == "arm_reach" else states.obs
    begun = begun[states.done]  # An arm that reaches starts without noise, as humanoids do; its goals are new.
    assert name.startswith("humanoid") or len(np.unique(begun, axis=0)) == len(begun), "humanoids start without noise"
    if name == "ant":
        np.testing.assert_allclose(np.linalg.norm(start.goal, axis=1), 10, rtol=1e-5)
        assert len(np.unique(states.goal.reshape(-1, 2), axis=0)) >= states.done.sum()


@pytest.mark.slow
def test_the_ant_of_the_spring_backend_is_brax_s_own() -> None:
    from brax.envs.ant import Ant

    env = envs_mjx.make("ant", ENVS)
    theirs, ours = Ant(backend="spring").sys, env.simulation.system  # type: ignore[attr-defined]
    for first, second in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.slow
def test_falling_ends_an_episode_and_a_broken_simulation_is_undone() -> None:
    env = envs_mjx.make("ant", ENVS)
    state, step = jax.jit(env.reset)(jax.random.PRNGKey(0)), jax.jit(env.step)
    raised = {
        name: getattr(state.physics, name).replace(pos=getattr(state.physics, name).pos.at[1, :, 2].add(2.0))
        for name in ("x", "x_i")
    }
    broken = state.physics.replace(
        **raised, xd_i=state.physics.xd_i.replace(vel=state.physics.xd_i.vel.at[2].set(jnp.nan))
    )
    after = step(state.replace(physics=broken, time=jnp.array([5, 5, 5, 999])), jnp.zeros((ENVS, 8)))
    np.testing.assert_array_equal(after.done, [False, True, True, True])
    np.testing.assert_array_equal(after.metrics["diverged"], [0, 0, 1, 0])
    np.testing.assert_array_equal(after.episode, [0, 1, 1, 1])
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(after) if leaf.dtype == jnp.float32)
    assert (after.goal[1:] != state.goal[1:]).any(axis=1).all() and (after.goal[0] == state.goal[0]).all()


@pytest.mark.slow
def test_pictures_show_the_goal() -> None:
    env, start, _ = _unrolled("ant_u_maze", "c", 40, 100)
    targets = np.array(start.target)
    elsewhere = targets.copy()
    elsewhere[0] = [12.0, 8.0, 0.0]
    targets[0] = [4.0, 12.0, 0.0]
    pictures = env.frames([(start.physics, targets, 0), (start.physics, elsewhere, 0)], 64, 48, "any")
    assert pictures.shape == (2, 48, 64, 3) and pictures.dtype == np.uint8 and (pictures[0] != pictures[1]).any()
