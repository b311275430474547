"""The Gymnasium adaptor: registry, spaces, seeds, autoreset within the step, infos, rendering.

Axis letters: E environments, T time.
"""

from __future__ import annotations

import functools

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.utils.env_match import data_equivalence
from gymnasium.utils.passive_env_checker import check_action_space, check_observation_space
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import RecordEpisodeStatistics

import envs_mjx
from envs_mjx import EnvError
from envs_mjx.adaptors.gym import GoalVectorEnv
from envs_mjx.metaworld import official
from envs_mjx.metaworld.goals import GOALS
from envs_mjx.metaworld.tasks import TASKS
from envs_mjx.physics.base import PhysicsState
from tests.support.rotation import rotating

ENVS, HORIZON = 3, 4
FORMS = {
    "state": {},
    "official": {"obs": "official"},
    "state_dict": {"goal_dict": True},
    "official_dict": {"obs": "official", "goal_dict": True},
}


@functools.cache
def push(form: str = "state", horizon: int = HORIZON) -> GoalVectorEnv:
    """An environment that tests share; each test begins with a seeded reset."""
    return gymnasium.make_vec("crl_jax/push-v3", num_envs=ENVS, physics="c", horizon=horizon, **FORMS[form])


def actions(env: GoalVectorEnv, count: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (count, *env.action_space.shape)).astype(np.float32)


def rollout(env: GoalVectorEnv, seed, steps: int) -> list:
    """The result of the reset, and then of every step."""
    return [env.reset(seed=seed), *(env.step(action) for action in actions(env, steps))]


def row(tree, index: int):
    return jax.tree.map(lambda leaf: leaf[index], tree)


# -- registry and spaces -------------------------------------------------------------------------------------------


def test_every_task_is_registered() -> None:
    for task in envs_mjx.names():
        name = f"crl_jax/{task}-v{envs_mjx.registry.version(task)}"
        assert gymnasium.spec(name).kwargs == {"task": task}
    envs_mjx.register()  # A second time changes nothing, and warns of nothing.


@pytest.mark.parametrize("form", FORMS)
def test_observations_are_in_their_space_and_follow_from_the_seed(form: str) -> None:
    env = push(form)
    check_observation_space(env.single_observation_space)
    check_action_space(env.single_action_space)
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP and env.num_envs == ENVS
    first, second = rollout(env, 5, HORIZON + 2), rollout(env, 5, HORIZON + 2)
    assert data_equivalence(first, second, exact=True)
    assert not data_equivalence(first[0][0], rollout(env, 6, 0)[0][0], exact=True)
    for obs, *_ in first:
        assert obs in env.observation_space
    for _, reward, terminated, truncated, _ in first[1:]:
        assert reward.shape == terminated.shape == truncated.shape == (ENVS,)
        assert (reward.dtype, terminated.dtype, truncated.dtype) == (np.float64, bool, bool)
        assert not terminated.any() and set(np.unique(reward)) <= {0.0, 1.0}
    truncations = np.stack([step[3] for step in first[1:]])
    np.testing.assert_array_equal(truncations.all(axis=1), truncations.any(axis=1))
    np.testing.assert_array_equal(np.flatnonzero(truncations[:, 0]), [HORIZON - 1])


def test_forms_show_the_same_world() -> None:
    flat, nested, theirs = (push(form).reset(seed=1)[0] for form in ("state", "state_dict", "official"))
    np.testing.assert_array_equal(flat, np.concatenate([nested["observation"], nested["desired_goal"]], axis=1))
    assert theirs.shape == (ENVS, official.OBS_SIZE)
    np.testing.assert_array_equal(theirs[:, :3], nested["observation"][:, :3])
    np.testing.assert_array_equal(theirs[:, -3:], nested["desired_goal"][:, -3:])
    bare = push("official_dict").reset(seed=1)[0]["observation"]
    np.testing.assert_array_equal(bare, theirs[:, :-3])
    flat[:] = 0.0  # The arrays are the caller's own.


# -- episodes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_an_episode_ends_as_it_would_have_gone_on(form: str) -> None:
    """Gymnasium's SAME_STEP: `final_obs` is the last observation, and the returned one starts the next episode."""
    short, long = rollout(push(form), 2, HORIZON + 1), rollout(push(form, 50), 2, HORIZON + 1)
    assert data_equivalence(short[1:HORIZON], long[1:HORIZON], exact=True)
    obs, reward, _, truncated, info = short[HORIZON]
    assert truncated.all() and info["_final_obs"].all() and info["_final_info"].all()
    assert info["final_obs"].dtype == object
    for index in range(ENVS):
        assert data_equivalence(info["final_obs"][index], row(long[HORIZON][0], index), exact=True)
        assert info["final_obs"][index] in push(form).single_observation_space
    np.testing.assert_array_equal(reward, long[HORIZON][1])
    end, begun = info["final_info"], short[0][1]
    for name in ("seed", "goal", "target", "start", "episode_number"):
        np.testing.assert_array_equal(end[name], begun[name])
        assert end[f"_{name}"].all() and info[f"_{name}"].all()
    np.testing.assert_array_equal(end["distance"], long[HORIZON][4]["distance"])
    assert not info["_distance"].any(), "no distance is told of an episode that has just begun"
    np.testing.assert_array_equal(info["seed"], begun["seed"])
    np.testing.assert_array_equal(info["episode_number"], begun["episode_number"] + 1)
    assert not np.isclose(info["goal"], begun["goal"]).all()
    # What is shown is the next start: a reset that continues each environment's stream gives the same.
    push(form).reset(seed=2)
    continued, continued_info = push(form).reset()
    assert data_equivalence(obs, continued, exact=True)
    np.testing.assert_array_equal(continued_info["goal"], info["goal"])


def test_only_the_episode_that_ended_has_a_final_observation() -> None:
    env = push()
    env.reset(seed=0)
    taken = actions(env, HORIZON + 1)
    for action in taken[:2]:
        env.step(action)
    kept, info = env.reset(options={"reset_mask": np.array([False, True, False])})
    np.testing.assert_array_equal(info["_seed"], [False, True, False])
    np.testing.assert_array_equal(info["episode_number"], [0, 1, 0])
    for action in taken[2:HORIZON]:
        obs, _, _, truncated, info = env.step(action)
    np.testing.assert_array_equal(truncated, [True, False, True])
    np.testing.assert_array_equal(info["_final_obs"], truncated)
    np.testing.assert_array_equal(info["_distance"], ~truncated)
    assert info["final_obs"][1] is None and info["final_info"]["goal"][1].tolist() == [0.0] * 7
    np.testing.assert_array_equal(info["goal"][1], kept[1, 10:])
    np.testing.assert_array_equal(obs[:, 10:], info["goal"])


def test_a_diverged_simulation_is_truncated() -> None:
    env = push()
    env.reset(seed=0)
    state = env._carry.state
    state = state.replace(physics=state.physics.replace(engine=state.physics.engine.replace(
        state=state.physics.engine.state.at[1, 2 * (1 + env.env.scene.model.nq + 9) + 1].set(0x7FF80000)
    )))  # fmt: skip
    env._carry = env._carry._replace(state=state)
    _, _, terminated, truncated, info = env.step(np.zeros((ENVS, 4)))
    np.testing.assert_array_equal(truncated, [False, True, False])
    assert not terminated.any() and info["final_info"]["diverged"][1] == 1.0


def test_episode_statistics() -> None:
    env = RecordEpisodeStatistics(push())
    env.reset(seed=0)
    lengths = []
    for action in actions(push(), 2 * HORIZON):
        info = env.step(action)[4]
        if "episode" in info:
            lengths.append(info["episode"]["l"])
    np.testing.assert_array_equal(lengths, np.full((2, ENVS), HORIZON))


# -- seeds and options ---------------------------------------------------------------------------------------------


def test_an_environment_is_a_function_of_its_own_seed() -> None:
    env, pair = push(), gymnasium.make_vec("crl_jax/push-v3", num_envs=2, physics="c", horizon=HORIZON)
    counted, listed = env.reset(seed=7), env.reset(seed=[7, 8, 9])
    assert data_equivalence(counted, listed, exact=True)
    np.testing.assert_array_equal(counted[1]["seed"], [7, 8, 9])
    other = rollout(pair, [9, 100], HORIZON)
    here = rollout(env, [1, 2, 9], HORIZON)
    for name in ("goal", "start", "target"):
        np.testing.assert_array_equal(here[0][1][name][2], other[0][1][name][0])
        np.testing.assert_array_equal(here[-1][4][name][2], other[-1][4][name][0])
    assert len(np.unique(env.reset(seed=0)[1]["goal"], axis=0)) == ENVS
    kept, _ = env.reset(seed=[None, 8, None])
    np.testing.assert_array_equal(kept[1], listed[0][1])


def test_seed_and_episode_number_name_an_episode() -> None:
    """Equal seed and episode number give equal episodes, in any environment, after episode ends or resets."""
    env = gymnasium.make_vec("crl_jax/point_FourRooms-v0", num_envs=3, horizon=HORIZON)
    played = rollout(env, [5, 6, 7], 2 * HORIZON)[-1][4]
    env.reset(seed=[7, 5, 6])
    env.reset()
    reset = env.reset()[1]
    order = [1, 2, 0]
    np.testing.assert_array_equal(reset["seed"][order], [5, 6, 7])
    for name in ("seed", "episode_number", "goal", "start", "target"):
        assert played[f"_{name}"].all() and reset[f"_{name}"].all()
        np.testing.assert_array_equal(reset[name][order], played[name])
    assert (played["episode_number"] == 2).all() and len(np.unique(played["goal"], axis=0)) == 3


def test_without_a_seed_the_first_reset_draws_one() -> None:
    infos = [gymnasium.make_vec("crl_jax/reach-v3", num_envs=2, physics="c").reset()[1] for _ in range(2)]
    assert not np.array_equal(infos[0]["seed"], infos[1]["seed"])
    again = gymnasium.make_vec("crl_jax/reach-v3", num_envs=2, physics="c").reset(seed=infos[0]["seed"].tolist())[1]
    np.testing.assert_array_equal(again["goal"], infos[0]["goal"])


def test_official_observations_are_the_official_package_s() -> None:
    """On reach, whose resets equal the official ones to the last bit."""
    task, steps = TASKS["reach"], 6
    vector = np.array([[0.05, 0.62, 0.02, -0.05, 0.88, 0.2]], np.float32)
    env = gymnasium.make_vec("crl_jax/reach-v3", num_envs=1, physics="c", horizon=steps, obs="official")
    theirs = official.make_official(task.name, vector[0])
    obs, info = env.reset(seed=0, options={"vector": vector})
    np.testing.assert_allclose(obs[0], theirs.reset()[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(info["target"][0], theirs._target_pos, rtol=0, atol=1e-6)
    for action in actions(env, steps):
        obs, reward, _, truncated, info = env.step(action)
        expected, *_, expected_info = theirs.step(action[0])
        shown = info["final_obs"][0] if truncated[0] else obs[0]
        np.testing.assert_allclose(shown, expected, rtol=0, atol=1e-6)
        assert reward[0] == expected_info["success"]
    assert truncated[0]


@pytest.mark.parametrize(
    "request_, words",
    [
        ({"seed": [1, 2]}, "2 seeds for num_envs=3"),
        ({"seed": -1}, "seed=-1"),
        ({"options": {"goal": 1}}, r"options=\['goal'\]"),
        ({"options": {"reset_mask": np.zeros(ENVS, bool)}}, "one True"),
        ({"options": {"reset_mask": np.ones(ENVS)}}, "bool of shape"),
        ({"options": {"vector": np.zeros((ENVS, 2))}}, r"\(3, 6\) wanted"),
    ],
)
def test_bad_resets_are_refused(request_: dict, words: str) -> None:
    push().reset(seed=0)
    with pytest.raises(EnvError, match=words):
        push().reset(**request_)


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"obs": "pixel"}, "obs='pixel'"),
        ({"reward": "dense"}, "reward='dense'"),
        ({"render_mode": "human"}, "render_mode='human'"),
        ({"render_envs": 9}, "render_envs=9"),
        ({"physics": "wrap"}, "physics='wrap'"),
    ],
)
def test_bad_settings_are_refused(settings: dict, words: str) -> None:
    with pytest.raises(EnvError, match=words):
        gymnasium.make_vec("crl_jax/push-v3", num_envs=2, **{"physics": "c"} | settings)


def test_order_of_calls() -> None:
    env = gymnasium.make_vec("crl_jax/push-v3", num_envs=2, physics="c")
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(np.zeros((2, 4)))
    with pytest.raises(EnvError, match="first reset"):
        env.reset(options={"reset_mask": np.array([True, False])})
    env.reset()
    with pytest.raises(EnvError, match="actions of shape"):
        env.step(np.zeros(4))
    env.close()
    with pytest.raises(gymnasium.error.ClosedEnvironmentError):
        env.step(np.zeros((2, 4)))


# -- rewards and pictures --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", rotating(TASKS, count=10))
def test_relabelled_goals_are_scored_by_the_native_success(task: str) -> None:
    """Tested on readouts with all points near the target, inside and outside of the radius."""
    count, generator = 200, np.random.default_rng(0)
    goal = GOALS[list(TASKS).index(task) % len(GOALS)]
    env = GoalVectorEnv(task, count, goal_dict=True, goal=goal, physics="c")
    parts, world = env.env.scene.parts, env.env
    target = generator.uniform(0, 1, (count, 3)).astype(np.float32)
    near = 1.15 * TASKS[task].radius * generator.uniform(-1, 1, (count, len(parts.points), 3))
    physics = PhysicsState(
        engine=None,
        points=jnp.asarray(target[:, None] + near, jnp.float32),
        rotations=jnp.tile(jnp.eye(3).reshape(9), (count, len(parts.rotations), 1)),
        joints=jnp.zeros((count, len(parts.joints))),
        diverged=jnp.zeros(count, bool),
    )
    goals = world.achieved_goal(world.observe(physics)), world.commanded_goal(target)
    row = TASKS[task]
    if row.joint or row.inserted or row.predicate or row.goal_moved:
        with pytest.raises(EnvError, match="no function of goals"):
            env.compute_reward(*goals, {})
        return
    native = np.asarray(world.success(physics, target), np.float64)
    assert 0.05 < native.mean() < 0.95
    reward = env.compute_reward(*goals, {})
    assert reward.dtype == np.float64 and np.mean(reward != native) < 0.01, "but for rounding at the radius"


@pytest.mark.parametrize(("settings", "count"), [({}, 3), ({"render_envs": 2}, 2)], ids=["all", "two"])
def test_render(settings: dict, count: int) -> None:
    """All environments by default: as many pictures as `gymnasium.wrappers.vector.RecordVideo` asks for."""
    settings |= {"physics": "c", "render_mode": "rgb_array", "width": 32, "height": 24}
    env = gymnasium.make_vec("crl_jax/push-v3", num_envs=3, **settings)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.render()
    env.reset(seed=0)
    frames = env.render()
    assert len(frames) == count and all(frame.shape == (24, 32, 3) and frame.dtype == np.uint8 for frame in frames)
    assert frames[0].std() > 10 and not np.array_equal(*frames[:2])
