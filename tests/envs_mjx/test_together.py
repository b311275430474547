"""Several tasks as one vector of environments: each part is the task alone, and errors are told in one line.

Axis letters: E environments, K tasks.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import PRESETS
from crl_jax.evaluate import evaluate
from crl_jax.experience.explore import behaviour_goal
from envs_mjx import EnvError, check, describe, horizon_of, make, require_one, tasks_of
from envs_mjx.control import Waypoint, make_control
from envs_mjx.film import policy_of
from envs_mjx.together import Together

TASKS, EACH = ("reach", "push", "stick-push"), 2
KEY = jax.random.PRNGKey(0)


@pytest.fixture(scope="module")
def together() -> Together:
    env = make("+".join(TASKS), EACH * len(TASKS), physics="c", goal="auto", action_repeat=5)
    assert isinstance(env, Together)
    return env


def test_each_part_is_the_task_alone_padded_and_with_its_code(together: Together) -> None:
    keys = jax.random.split(KEY, together.num_envs)
    actions = jax.random.uniform(KEY, (2, together.num_envs, 4), minval=-1, maxval=1)
    state = jax.jit(together.reset_each)(keys)
    step = jax.jit(together.step)
    state = step(step(state, actions[0]), actions[1])
    assert state.obs.shape == (6, together.spec.obs_size) and state.goal.shape == (6, together.spec.goal_size)
    for number, task in enumerate(TASKS):
        own = together.columns(number)
        alone = make(task, EACH, physics="c", goal="auto", action_repeat=5)
        single = jax.jit(alone.reset_each)(keys[own])
        for action in actions:
            single = jax.jit(alone.step)(single, action[own])
        part = together.parts[number]
        np.testing.assert_array_equal(state.obs[own], part.wide_obs(single.obs))
        np.testing.assert_array_equal(state.obs[own, -3:], np.tile(np.eye(3)[number], (EACH, 1)))
        np.testing.assert_array_equal(state.goal[own], part.wide_goal(single.goal))
        np.testing.assert_array_equal(state.metrics["distance"][own], single.metrics["distance"])
        np.testing.assert_array_equal(
            together.achieved_goal(state.obs)[own], part.wide_goal(alone.achieved_goal(single.obs))
        )


def test_exploratory_goals_are_those_of_each_task(together: Together) -> None:
    config = PRESETS["metaworld_cpu"].explore
    state = jax.jit(together.reset)(KEY)
    goals = behaviour_goal(together, state, config)
    for number, (part, own) in enumerate(together.split(state)):
        np.testing.assert_array_equal(goals[together.columns(number)], behaviour_goal(part, own, config))


def test_an_evaluation_tells_of_each_task_and_of_their_mean() -> None:
    env = make("point_Small+point_FourRooms", 8, horizon=20)
    metrics = jax.jit(lambda key: evaluate(env, lambda state, key: state.goal[:, :2] - state.obs[:, :2], key))(KEY)
    parts = [float(metrics[f"{task}/success_any"]) for task in env.tasks]
    assert float(metrics["success_any"]) == pytest.approx(np.mean(parts)) and min(parts) > 0


@pytest.mark.parametrize(
    ("task", "settings", "told"),
    [
        ("push+reach", {"num_envs": 5}, "num_envs=5: 2 tasks take a multiple of that; nearest: 4"),
        ("push+push", {"num_envs": 4}, "task='push.push': a task is named twice"),
        ("push+rech", {"num_envs": 4}, "task='rech': no such task; nearest: reach"),
        ("push+ant", {"num_envs": 4, "physics": "auto"}, "tasks on different engines"),
        ("push+point_Small", {"num_envs": 4, "physics": "c"}, "actions of 2, 4 numbers"),
        ("push+reach", {"num_envs": 4, "obs": "pixels"}, "obs='pixels': several tasks"),
    ],
)
def test_tasks_that_cannot_be_learned_together_are_refused(task: str, settings: dict, told: str) -> None:
    with pytest.raises(EnvError, match=told):
        make(task, **{"physics": "c", **settings})


def test_what_only_one_task_has_is_refused(together: Together) -> None:
    for function in (together.frames, together.goal_success, together.reset_to, together.commanded_goal):
        with pytest.raises(EnvError, match=r"of one task; take a part"):
            function(*[jnp.zeros((1, 3))] * (function.__code__.co_argcount - 1))


def test_where_one_task_is_wanted_the_tasks_are_named() -> None:
    for function in (describe, require_one, policy_of):
        with pytest.raises(EnvError, match=r"task='mt10': several tasks at once .* name one: reach, push, .*\.\.\.$"):
            function("mt10")


def test_a_part_is_aimed_as_its_task(together: Together) -> None:
    assert isinstance(make_control("waypoint", together.parts[1], 5), Waypoint)


def test_names_of_several_tasks() -> None:
    assert len(tasks_of("mt10")) == 10 and len(tasks_of("mt50")) == 50
    assert tasks_of("push+reach") == ("push", "reach") and tasks_of("push") == ("push",)
    assert tasks_of("cw10") == ("cw10",), "a sequence is no vector of tasks"
    assert horizon_of("mt10") == 150
    check("mt10", "c")
