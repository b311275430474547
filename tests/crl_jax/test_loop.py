"""Rollout, evaluation, iteration and exploration on environments with known answers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs_mjx
from configs import PRESETS
from crl_jax import agents, loop
from crl_jax.config import ConfigError, ExploreConfig, with_overrides
from crl_jax.evaluate import evaluate
from crl_jax.experience.explore import SWITCH, behaviour_goal
from crl_jax.experience.rollout import random_policy, rollout
from tests.support.probe import TINY, Line

KEY = jax.random.PRNGKey(0)


def toward(fraction):
    return lambda state, key: fraction * (state.goal - state.obs)


def constant(value):
    return lambda state, key: jnp.full_like(state.obs, value)


def test_a_perfect_policy_scores_one_and_an_idle_one_zero():
    perfect = evaluate(Line(8, horizon=5), toward(1.0), KEY)
    assert perfect["success_any"] == perfect["success_final"] == 1 and perfect["time_at_goal"] == 5
    assert perfect["final_distance"] == perfect["min_distance"] == 0 and perfect["object_moved"] == 1
    idle = evaluate(Line(8, horizon=5), constant(0.0), KEY)
    assert idle["success_any"] == idle["success_final"] == idle["time_at_goal"] == idle["object_moved"] == 0
    assert idle["final_distance"] == 1 and idle["diverged"] == 0


def test_passing_through_the_goal_is_any_and_not_final():
    through = evaluate(Line(64, horizon=4), lambda state, key: state.goal, KEY)
    assert through["success_any"] == 1 and through["success_final"] == 0
    assert through["time_at_goal"] == 1 and through["min_distance"] == 0 and through["final_distance"] == 3


def test_only_the_first_episode_counts_when_a_simulation_diverges():
    broken = evaluate(Line(16, horizon=6, breaks_at=2.5), constant(1.0), KEY)
    assert broken["diverged"] == 16
    plus = np.asarray(Line(16, horizon=6).reset(jax.random.split(KEY)[0]).goal)[:, 0] > 0
    assert broken["success_any"] == pytest.approx(plus.mean())
    assert broken["success_final"] == 0, "the last step of the first episode is the one that diverged"


def test_the_random_policy_is_uniform():
    state = Line(512, horizon=50).reset(KEY)
    actions = np.asarray(random_policy(3)(state, KEY))
    assert actions.shape == (512, 3) and actions.min() >= -1 and actions.max() <= 1
    counts, _ = np.histogram(actions, bins=10, range=(-1, 1))
    expected = actions.size / 10
    assert ((counts - expected) ** 2 / expected).sum() < 27.9, "chi-square, 9 degrees of freedom, p = 0.001"


def test_rollout_records_what_the_policy_saw():
    env = Line(4, horizon=3)
    _, steps = rollout(env, constant(0.25), env.reset(KEY), KEY, 7)
    np.testing.assert_allclose(steps.obs[:, 0, 0], [0, 0.25, 0.5, 0, 0.25, 0.5, 0])
    np.testing.assert_array_equal(steps.episode[:, 0], [0, 0, 0, 1, 1, 1, 2])
    np.testing.assert_array_equal(steps.done[:, 0], [0, 0, 1, 0, 0, 1, 0])


@pytest.fixture(scope="module")
def iteration():
    config = with_overrides(
        PRESETS["metaworld_cpu"],
        **TINY,
        updates_per_iteration=3,
        iterations_per_round=2,
        behaviour_goals="commanded",
    )
    env = Line(4, horizon=5)
    agent = agents.make(config, env.spec)
    warm_up = jax.jit(loop.make_warm_up(env, config.train))
    round_ = jax.jit(loop.make_round(env, agent, config), donate_argnums=0)
    return env, warm_up(loop.init(env, agent, config.train, KEY)), round_


def test_an_iteration_is_compiled_once_and_updates_in_place(iteration):
    env, state, round_ = iteration
    state = jax.tree.map(jnp.copy, state)
    assert int(state.ring.written) == 12
    before, leaf = env.traces, state.ring.obs
    for count in range(3):
        state, metrics, episodes = round_(state)
        assert int(state.ring.written) == 12 * (count + 2)
    assert env.traces == before + 1, "the round was traced again"
    assert leaf.is_deleted(), "the ring was copied, not donated"
    assert all(np.isfinite(value) for value in metrics.values())
    # 2 iterations x 6 steps x 4 environments, episodes of 5 steps.
    assert 8 <= int(episodes.count) <= 12 and episodes.diverged == 0


def test_no_key_is_used_twice(iteration):
    _, state, round_ = iteration
    keys = [np.asarray(state.key)]
    state = jax.tree.map(jnp.copy, state)
    for _ in range(2):
        state, *_ = round_(state)
        keys.append(np.asarray(state.key))
    assert len({key.tobytes() for key in keys}) == 3


@pytest.fixture(scope="module")
def pushes():
    env = envs_mjx.make("push", 512, physics="c")
    return env, jax.jit(env.reset)(KEY)


def test_commanded_goals_are_the_tasks(pushes):
    env, state = pushes
    assert behaviour_goal(env, state, ExploreConfig()) is state.goal


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_touch_first_asks_for_the_object_where_it_lies(pushes, share):
    env, state = pushes
    config = ExploreConfig("touch_first", explore_share=share, touch_radius=0.05)
    goal = np.asarray(behaviour_goal(env, state, config))
    explores = (goal != np.asarray(state.goal)).any(axis=1)
    assert abs(explores.mean() - share) < 0.08
    start, offset = np.asarray(state.start), np.array(env.task.hand_offset)
    np.testing.assert_allclose(goal[explores, -3:], start[explores], atol=1e-6)
    away = goal[explores, :3] - (start + offset)[explores]
    assert (np.linalg.norm(away, axis=1) <= 0.05 + 1e-6).all() and np.allclose(away[:, 2], 0, atol=1e-6)


def test_touch_then_near_switches_once_within_its_bounds(pushes):
    env, state = pushes
    config = ExploreConfig("touch_then_near", explore_share=1.0, touch_radius=0.0, near_radius=0.0)
    start, target = np.asarray(state.start), np.asarray(state.target)
    at = jax.jit(lambda time: behaviour_goal(env, state.replace(time=jnp.full(512, time)), config))
    near = np.stack([np.linalg.norm(np.asarray(at(time))[:, -3:] - start, axis=1) > 1e-6 for time in range(0, 150, 10)])
    assert not near[: SWITCH[0] // 10].any()
    assert near[SWITCH[1] // 10 + 1 :].mean() > 0.99, "but for the few whose share of the way is 0"
    assert (np.diff(near.astype(int), axis=0) >= 0).all(), "once near, always near"
    # On the straight way from start to target, uniformly.
    along = np.asarray(at(149))[:, -3:] - start
    share = (along * (target - start)).sum(1) / ((target - start) ** 2).sum(1)
    np.testing.assert_allclose(along, share[:, None] * (target - start), atol=1e-6)
    counts, _ = np.histogram(share, bins=8, range=(0, 1))
    assert counts.sum() == 512 and ((counts - 64) ** 2 / 64).sum() < 24.3, "chi-square, 7 degrees of freedom, p = 0.001"


def test_near_goals_lie_in_a_disc_around_the_way(pushes):
    env, state = pushes
    state = state.replace(target=state.start, time=jnp.full(512, 149))
    config = ExploreConfig("touch_then_near", explore_share=1.0, near_radius=0.2)
    distance = np.linalg.norm(np.asarray(behaviour_goal(env, state, config))[:, -3:] - np.asarray(state.start), axis=1)
    assert distance.max() <= 0.2 + 1e-6
    # Uniform in the disc: the median of the distance is radius / sqrt(2).
    assert abs(np.median(distance) - 0.2 / np.sqrt(2)) < 0.015


def test_near_steps_ask_for_another_place_each_time(pushes):
    env, state = pushes
    config = ExploreConfig("touch_then_near", explore_share=1.0, near_radius=0.05, near_steps=25)
    once = dataclasses.replace(config, near_steps=0)
    at = jax.jit(
        lambda time, config: behaviour_goal(env, state.replace(time=jnp.full(512, time)), config), static_argnums=1
    )
    goals = np.stack([np.asarray(at(time, config))[:, -3:] for time in range(150)])  # (150, 512, 3)
    first = np.stack([np.asarray(at(time, once))[:, -3:] for time in (0, 149)])
    changed = np.abs(np.diff(goals, axis=0)).max(axis=-1) > 1e-6
    for env_index in range(512):
        turns = np.flatnonzero(changed[:, env_index]) + 1
        assert SWITCH[0] <= turns[0] <= SWITCH[1] and (np.diff(turns) == 25).all() and turns[-1] + 25 >= 150
        np.testing.assert_array_equal(goals[turns[0], env_index], first[1, env_index], "the first place is the same")
    places = np.stack([goals[-1], goals[-26]])
    assert np.linalg.norm(places[0] - places[1], axis=1).mean() > 0.02


def test_touch_again_asks_for_a_held_object_where_it_has_got_to(pushes):
    env = envs_mjx.make("pick-place", num_envs=512, physics="c", goal="auto")
    state = env.reset(jax.random.PRNGKey(0))
    config = ExploreConfig("touch_then_near", explore_share=1.0, touch_radius=0.0, near_steps=25)
    again = dataclasses.replace(config, touch_again=True)
    pushed, lying = pushes
    kept = behaviour_goal(pushed, lying.replace(time=jnp.full(512, 100)), config)
    same = behaviour_goal(pushed, lying.replace(time=jnp.full(512, 100)), again)
    np.testing.assert_array_equal(same, kept, "an object that is pushed is not taken up again")
    moved = state.replace(obs=state.obs.at[:, 4:7].add(0.1))
    at = jax.jit(
        lambda time, config: behaviour_goal(env, moved.replace(time=jnp.full(512, time)), config), static_argnums=1
    )
    there = np.asarray(env.touch_goal(moved.obs[:, 4:7]))
    plain, other = (np.stack([np.asarray(at(time, c)) for time in range(0, 150, 5)]) for c in (config, again))
    touches = (np.abs(other - there) < 1e-6).all(axis=-1)  # (30, 512)
    assert not (np.abs(plain - there) < 1e-6).all(axis=-1).any()
    np.testing.assert_array_equal(np.where(touches[..., None], plain, other), plain, "between, the places are the same")
    turns = np.flatnonzero(touches.any(axis=1))[0] * 5
    assert turns >= SWITCH[0] + 25, "first to the object where it lay, then to a place near its way"
    lasting = touches.sum(axis=0) * 5
    assert lasting.min() == 25 and lasting.max() <= 55, "25 steps of every 50 that are left after the first place"
    with pytest.raises(ConfigError, match="touch_again=True: needs"):
        dataclasses.replace(again, near_steps=0).validate()


@pytest.mark.parametrize("task", ["push", "faucet-close", "sawyer_bin", "point_U"])
def test_an_episode_starts_with_the_object_at_its_start(task):
    env = envs_mjx.make(task, 2, physics="auto" if task == "point_U" else "c")
    state = jax.jit(env.reset)(jax.random.PRNGKey(0))
    np.testing.assert_allclose(env.object_point(state.obs), state.start, atol=1e-6)


@pytest.mark.parametrize("task", ["pick-place", "push", "faucet-close", "sawyer_bin"])
def test_to_touch_is_to_have_the_open_hand_at_the_object(task):
    env = envs_mjx.make(task, 2, physics="c")
    start = np.array([[0.1, 0.7, 0.02], [0.0, 0.6, 0.02]], np.float32)
    commanded, touch = np.asarray(env.commanded_goal(start)), np.asarray(env.touch_goal(start))
    states_opening = env.spec.goal_size == 7
    assert states_opening == (task != "faucet-close")
    wanted = np.where(np.arange(env.spec.goal_size) == 3, 1.0, commanded) if states_opening else commanded
    np.testing.assert_array_equal(touch, wanted)


@pytest.mark.parametrize("task", ["assembly", "disassemble", "push"])
def test_the_way_leads_to_the_point_that_episodes_command(task):
    """This also holds if the commanded point is not the official target (`TaskSpec.goal_shift`); push has no shift."""
    env = envs_mjx.make(task, 64, physics="c")
    state = jax.jit(env.reset)(KEY)
    config = ExploreConfig("touch_then_near", explore_share=1.0, near_radius=0.0)
    near = np.asarray(behaviour_goal(env, state.replace(time=jnp.full(64, 149)), config))[:, -3:]
    start, commanded = np.asarray(state.start), np.asarray(state.goal)[:, -3:]
    share = ((near - start) * (commanded - start)).sum(1) / ((commanded - start) ** 2).sum(1)
    np.testing.assert_allclose(near - start, share[:, None] * (commanded - start), rtol=0, atol=1e-6)
    assert share.min() < 0.2 and share.max() > 0.8
    shifted = np.abs(commanded - np.asarray(state.target)).max() > 1e-6
    assert shifted == env.task.goal_moved == (task != "push")


def test_behaviour_goals_are_new_in_every_episode(pushes):
    env, state = pushes
    config = ExploreConfig("touch_first", explore_share=0.5)
    other = state.replace(key=jax.vmap(lambda key: jax.random.split(key, 1)[0])(state.key))
    first, second = behaviour_goal(env, state, config), behaviour_goal(env, other, config)
    assert (np.asarray(first) != np.asarray(second)).any(axis=1).mean() > 0.5


@pytest.mark.parametrize("goal", ["object", "hand_object", "object_relative", "auto"])
@pytest.mark.parametrize("task", ["push", "faucet-close", "reach", "sawyer_box", "point_U"])
def test_exploratory_goals_are_goals_of_every_kind_of_environment(task, goal):
    env = envs_mjx.make(task, 2, physics="c", goal=goal)
    state = jax.eval_shape(env.reset, KEY)
    for kind in ("touch_first", "touch_then_near"):
        goals = jax.eval_shape(lambda s, kind=kind: behaviour_goal(env, s, ExploreConfig(kind)), state)
        assert goals.shape == (2, env.spec.goal_size) and goals.dtype == state.goal.dtype
    displaced = env.commanded_goal(np.zeros((1, 3), np.float32)) + np.ones((1, 3)) @ np.asarray(env.hand_in_goal())
    assert displaced.shape == (1, env.spec.goal_size)
