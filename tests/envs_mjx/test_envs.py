"""Environments as pure batched functions: errors, sizes, goals, resets, diverged simulations, threads.

Axis letters: T time, E environments.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs_mjx import EnvError, State, contract_of, describe, locomotion, make, names, robotics
from envs_mjx.mazes.point import MAZES
from envs_mjx.metaworld.env import MetaWorld
from envs_mjx.metaworld.goals import GOALS
from envs_mjx.metaworld.layout import make_scene
from envs_mjx.metaworld.single_goal import SINGLE_GOAL
from envs_mjx.metaworld.tasks import TASKS, TCP
from envs_mjx.physics import make_physics
from tests.support.rotation import rotating

HORIZON, ENVS = 5, 3


@functools.cache
def push(goal: str = "hand_object") -> MetaWorld:
    return make("push", ENVS, physics="c", goal=goal, horizon=HORIZON)


@functools.cache
def jitted_push():
    return jax.jit(push().reset), jax.jit(push().step)


def unroll(env: MetaWorld, seed: int, steps: int) -> State:
    """States (T+1, E, ...) under random actions; the first is that of the reset."""
    return jax.tree.map(np.asarray, _unroll(env, steps)(jax.random.PRNGKey(seed)))


@functools.cache
def _unroll(env: MetaWorld, steps: int):
    def step(state, key):
        state = env.step(state, jax.random.uniform(key, (env.num_envs, 4), minval=-1, maxval=1))
        return state, state

    @jax.jit
    def run(key):
        start = env.reset(key)
        _, states = jax.lax.scan(step, start, jax.random.split(jax.random.fold_in(key, 1), steps))
        return jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), start, states)

    return run


def assert_equal(first: State, second: State) -> None:
    """Check that all leaves are equal to the last bit."""
    jax.tree.map(np.testing.assert_array_equal, first, second)


# -- requests --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_, words",
    [
        ({"task": "psh"}, ["task='psh'", "push", "nearest"]),
        ({"task": "pointmaze"}, ["nearest: PointMaze_"]),
        ({"task": "qqq"}, ["task='qqq'"]),
        ({"physics": "wrap"}, ["physics='wrap'", "warp"]),
        ({"goal": "hand"}, ["goal='hand'", *GOALS]),
        ({"num_envs": 0}, ["num_envs=0", "at least 1"]),
        ({"horizon": 0}, ["horizon=0", "at least 1"]),
        ({"threads": 10**6}, ["threads=1000000", "cores"]),
    ],
)
def test_bad_requests_are_refused_in_one_line(request_: dict, words: list[str]) -> None:
    with pytest.raises(EnvError) as caught:
        make(**{"task": "push", "num_envs": 2, "physics": "c"} | request_)
    message = str(caught.value)
    assert all(word in message for word in words) and "\n" not in message


def test_names_are_the_table() -> None:
    assert names() == (*TASKS, *SINGLE_GOAL, *MAZES, *locomotion.TASKS, *robotics.TASKS, *robotics.MAZES)
    assert (len(TASKS), len(SINGLE_GOAL), len(MAZES), len(locomotion.TASKS)) == (50, 3, 8, 35)


# -- sizes and goals -------------------------------------------------------------------------------


@pytest.mark.parametrize("task_name", rotating(TASKS, count=5))
@pytest.mark.parametrize("goal", GOALS)
def test_spec_is_the_shape_of_a_reset(task_name: str, goal: str) -> None:
    env = make(task_name, 2, physics="c", goal=goal)
    state, spec = jax.eval_shape(env.reset, jax.random.PRNGKey(0)), env.spec
    assert state.obs.shape == (2, spec.obs_size) and state.goal.shape == (2, spec.goal_size)
    assert spec.obs_shift.shape == spec.obs_scale.shape == (spec.obs_size,)
    assert spec.goal_shift.shape == spec.goal_scale.shape == (spec.goal_size,)
    assert (spec.obs_scale > 0).all() and (spec.goal_scale > 0).all()
    assert jax.eval_shape(env.achieved_goal, state.obs).shape == state.goal.shape
    after = jax.eval_shape(env.step, state, jax.ShapeDtypeStruct((2, spec.action_size), jnp.float32))
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), after) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), state
    )
    assert ("object_moved" in state.metrics) == (TASKS[task_name].achieved != TCP)
    assert {"success", "distance", "diverged"} <= set(state.metrics)


metres = st.floats(-1, 1, width=32)


@settings(max_examples=20)
@given(target=st.tuples(metres, metres, metres), opening=st.floats(0, 1, width=32), goal=st.sampled_from(GOALS))
def test_an_observation_at_the_goal_achieves_the_commanded_goal(target, opening, goal) -> None:
    env = push(goal)
    aim = np.array([target], np.float32)
    hand = aim + np.array(env.task.hand_offset, np.float32)
    if goal == "hand_object":
        opening = env.task.hand_opening
    obs = np.concatenate([hand, [[opening]], aim], axis=1, dtype=np.float32)
    np.testing.assert_allclose(env.achieved_goal(obs), env.commanded_goal(aim), rtol=0, atol=2e-7)


@pytest.mark.parametrize("task_name", ["reach", "reach-wall"])
def test_reaching_has_one_goal_contract(task_name: str) -> None:
    assert {describe(task_name, goal).goal_size for goal in GOALS} == {3}


@pytest.mark.parametrize("task_name", [name for name, task in TASKS.items() if not (task.joint or task.predicate)])
def test_the_commanded_position_is_a_success(task_name: str) -> None:
    task = TASKS[task_name]
    assert np.linalg.norm(np.multiply(task.goal_shift, task.weights)) <= task.radius
    assert describe(task_name).success == task.success_rule


def test_a_goal_is_moved_to_where_the_object_gets() -> None:
    """The cabinet of plate-slide-side stays, while the official target is drawn beyond its walls."""
    env = make("plate-slide-side", 256, physics="c", goal="auto")
    target = np.asarray(jax.jit(env.reset)(jax.random.PRNGKey(0)).target)
    asked = np.asarray(env.commanded_point(target))
    low, high = TASKS["plate-slide-side"].goal_y or (0.0, 0.0)
    assert target[:, 1].min() < low and target[:, 1].max() > high
    np.testing.assert_allclose(asked[:, 1], np.clip(target[:, 1], low, high))
    np.testing.assert_allclose((asked - target)[:, [0, 2]], [[0.0, 0.015]] * 256, atol=1e-6)
    assert np.linalg.norm(asked - target, axis=1).max() < TASKS["plate-slide-side"].radius


@pytest.mark.parametrize("task_name", ["assembly", "disassemble", "basketball"])
def test_commanded_goals_of_unusual_predicates_are_successes(task_name: str) -> None:
    """The official targets are no successes: they lie at the edge (the nuts) or 5 cm too low (the ball)."""
    env = make(task_name, 2, physics="c", goal="object")
    state = jax.jit(env.reset)(jax.random.PRNGKey(0))

    def succeeds(position) -> np.ndarray:
        moved = position - env.layout.point(state.physics, env.task.achieved)
        physics = state.physics.replace(points=state.physics.points + moved[:, None])
        return np.asarray(env.success(physics, state.target))

    assert succeeds(state.goal).all()
    assert not succeeds(state.target - 0.05 * jnp.sign(jnp.array(env.task.goal_shift))).any()


def test_what_crl_envs_says_is_what_make_makes() -> None:
    for name in ("stick-pull", "disassemble"):
        env, row = make(name, 1, physics="c"), describe(name)
        assert (row.obs_size, row.goal_size, row.action_size, row.horizon) == (
            env.spec.obs_size, env.spec.goal_size, env.spec.action_size, env.spec.horizon
        )  # fmt: skip


# -- episodes --------------------------------------------------------------------------------------


def test_every_episode_has_a_start_and_goal_of_its_own() -> None:
    """Fails if an auto-reset restores the first start and goal for the whole run."""
    steps = 4 * HORIZON + 2
    states = unroll(push(), seed=0, steps=steps)
    assert_equal(states, unroll(push(), seed=0, steps=steps))
    assert not np.array_equal(states.vector, unroll(push(), seed=1, steps=steps).vector)

    step = np.arange(steps + 1)
    np.testing.assert_array_equal(states.episode, np.repeat(step // HORIZON, ENVS).reshape(-1, ENVS))
    np.testing.assert_array_equal(states.time, np.repeat(step % HORIZON, ENVS).reshape(-1, ENVS))
    ended = (step > 0) & (step % HORIZON == 0)
    np.testing.assert_array_equal(states.done, np.repeat(ended, ENVS).reshape(-1, ENVS))
    episodes = 5 * ENVS
    for field in (states.goal, states.vector, states.start, states.key, states.target):
        assert len(np.unique(field.reshape(-1, field.shape[-1]), axis=0)) == episodes

    begun = states.time == 0
    np.testing.assert_array_equal(states.obs[begun][:, 4:7], states.start[begun])
    np.testing.assert_allclose(states.start[..., :2], states.vector[..., :2], rtol=0, atol=1e-6)
    np.testing.assert_allclose(states.target[..., :2], states.vector[..., 3:5], rtol=0, atol=1e-6)
    # The metrics of a step that ended an episode are those of its end, not of the next start.
    moved = np.linalg.norm(states.obs[ended][..., 4:7] - states.target[ended], axis=-1)
    assert (np.abs(states.metrics["distance"][ended] - moved) > 1e-4).all()
    assert np.unique(states.obs[ended][..., :3].round(5)).size == 3, "every episode starts with the settled hand"


def test_keys_belong_to_environments() -> None:
    reset, _ = jitted_push()
    state = reset(jax.random.PRNGKey(3))
    assert len(np.unique(state.key, axis=0)) == ENVS
    vectors = np.asarray(state.vector)[::-1].copy()
    again = push().reset_to(vectors, state.key)
    np.testing.assert_array_equal(again.vector, vectors)
    np.testing.assert_allclose(again.start[:, :2], vectors[:, :2], rtol=0, atol=1e-6)


def test_one_environment_works() -> None:
    states = unroll(make("faucet-close", 1, physics="c", horizon=HORIZON), seed=0, steps=HORIZON + 1)
    assert states.obs.shape == (HORIZON + 2, 1, 10) and states.episode[-1, 0] == 1
    assert np.isfinite(states.obs).all()


def test_a_reset_that_settles_leaves_the_other_environments_alone() -> None:
    """disassemble settles at every reset, because the nut's resting pose depends on where the vector puts the peg."""
    env = make("disassemble", ENVS, physics="c")
    keys = jax.random.split(jax.random.PRNGKey(0), ENVS)
    vectors = np.array([[x, 0.65, 0.025, -0.1, 0.7, 0.17] for x in (0.03, 0.06, 0.09)], np.float32)
    first, other = env.reset_to(vectors, keys).physics, env.reset_to(vectors[::-1].copy(), keys).physics
    mixed = env.physics.reset(first, jnp.array([False, False, True]), vectors[::-1].copy())
    for ours, before, after in zip(*map(jax.tree.leaves, (mixed, first, other)), strict=True):
        np.testing.assert_array_equal(ours[:2], before[:2])
        np.testing.assert_array_equal(ours[2], after[2])
    assert np.ptp(np.asarray(first.rotations), axis=0).max() > 0.05


# -- purity ----------------------------------------------------------------------------------------


def test_a_step_depends_on_nothing_but_its_arguments() -> None:
    reset, step = jitted_push()
    state, action = reset(jax.random.PRNGKey(0)), jnp.full((ENVS, 4), 0.5)
    first = step(state, action)
    step(reset(jax.random.PRNGKey(1)), -action)
    assert_equal(first, step(state, action))


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    runs = [
        unroll(make("push-back", 5, physics="c", horizon=20, threads=threads), seed=0, steps=30) for threads in (1, 2)
    ]
    assert_equal(*runs)


@settings(max_examples=10)
@given(st.lists(st.floats(-3, 3, width=32), min_size=4, max_size=4))
def test_actions_are_clipped(action: list[float]) -> None:
    reset, step = jitted_push()
    state = reset(jax.random.PRNGKey(0))
    wild = jnp.tile(jnp.array(action, jnp.float32), (ENVS, 1))
    tame = step(state, jnp.clip(wild, -1, 1))
    np.testing.assert_array_equal(step(state, wild).obs, tame.obs)
    assert np.isfinite(tame.obs).all()


# -- diverged simulations --------------------------------------------------------------------------


def _plant(state: State, env: MetaWorld, row: int, value: float) -> State:
    """Set the object's velocity in simulation `row` to `value`."""
    rows = np.array(state.physics.engine.state).view(np.float64)
    rows[row, 1 + env.scene.model.nq + 9] = value
    engine = state.physics.engine.replace(state=jnp.asarray(rows.view(np.uint32)))
    return state.replace(physics=state.physics.replace(engine=engine))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e20, -1e11])
def test_a_diverged_simulation_is_flagged_undone_and_reset(value: float, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo writes MUJOCO_LOG.TXT.
    reset, step = jitted_push()
    state, action = reset(jax.random.PRNGKey(0)), jnp.full((ENVS, 4), 0.3)
    healthy, sick = step(state, action), step(_plant(state, push(), 1, value), action)
    np.testing.assert_array_equal(sick.metrics["diverged"], [0, 1, 0])
    assert sick.metrics["official_reward"][1] == 0 and healthy.metrics["official_reward"][1] > 0
    np.testing.assert_array_equal(sick.done, [False, True, False])
    np.testing.assert_array_equal(sick.episode, [0, 1, 0])
    np.testing.assert_array_equal(sick.time, [1, 0, 1])
    assert all(np.isfinite(leaf).all() for leaf in (sick.obs, sick.goal, *sick.metrics.values()))
    assert not np.array_equal(sick.goal[1], state.goal[1])
    others = np.array([0, 2])
    np.testing.assert_array_equal(np.asarray(sick.obs)[others], np.asarray(healthy.obs)[others])
    after = step(sick, action)
    np.testing.assert_array_equal(after.metrics["diverged"], np.zeros(ENVS))
    assert np.isfinite(after.obs).all() and np.isfinite(np.asarray(after.physics.engine.state).view(np.float64)).all()


def test_the_engine_undoes_a_diverged_step(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    physics = make_physics("c", make_scene(TASKS["push"]), ENVS, 1)
    env = push()
    vector = jitted_push()[0](jax.random.PRNGKey(0)).vector
    good = physics.reset(physics.initial(), jnp.ones(ENVS, bool), vector)
    rows = np.array(good.engine.state).view(np.float64)
    rows[2, 1 + env.scene.model.nq] = np.nan
    planted = good.replace(engine=good.engine.replace(state=jnp.asarray(rows.view(np.uint32))))
    after = physics.step(planted, jnp.zeros((ENVS, 4)))
    np.testing.assert_array_equal(after.diverged, [False, False, True])
    np.testing.assert_array_equal(np.asarray(after.engine.state)[2], np.asarray(planted.engine.state)[2])
    np.testing.assert_array_equal(np.asarray(after.points)[2], np.asarray(good.points)[2])
    cleared = physics.reset(after, after.diverged, jnp.zeros((ENVS, 6)).at[:, :2].set(0.6))
    assert not np.asarray(cleared.diverged).any()
    np.testing.assert_array_equal(np.asarray(cleared.points)[:2], np.asarray(after.points)[:2])


def test_goals_say_where_the_hand_is_by_what_the_object_is() -> None:
    """`goal="auto"`: the hand's position is relative to a free object, and absolute if a fixture holds the object."""
    assert {contract_of(task) for task in ("push", "pick-place", "peg-unplug-side")} == {"object_relative"}
    assert {contract_of(task) for task in ("hammer", "faucet-close", "door-open")} == {"hand_object"}
    assert contract_of("push", "object") == "object"
    for task, size in (("push", 6), ("pick-place", 7), ("hammer", 6), ("reach", 3)):
        assert describe(task, "auto").goal_size == size
    start = np.array([[0.1, 0.6, 0.02], [0.0, 0.7, 0.02]], np.float32)
    for task in ("push", "pick-place"):
        env = make(task, 2, physics="c", goal="auto", threads=1)
        assert env.goal == "object_relative"
        offset, grip = np.array(TASKS[task].hand_offset), env.commanded_goal(start)[:, 3:-3]
        np.testing.assert_allclose(env.commanded_goal(start)[:, -3:], np.tile(offset, (2, 1)), rtol=1e-6)
        # What is carried through the air is to be held: the opening is commanded; the hand that is to touch is open.
        assert np.array_equal(grip, np.full((2, 1), 0.5) if task == "pick-place" else np.empty((2, 0)))
        assert np.array_equal(env.touch_goal(start)[:, 3:-3], np.ones_like(grip))
        obs = np.zeros((2, env.spec.obs_size), np.float32)
        obs[:, :3], obs[:, 3], obs[:, 4:7] = start + offset, 0.5, start
        np.testing.assert_allclose(env.achieved_goal(obs), env.commanded_goal(start), atol=1e-6)
