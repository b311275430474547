"""One policy that learns several tasks at once: batches of one task, a run that resumes, and each task's score.

Axis letters: U updates, B batch.
"""

from __future__ import annotations

import dataclasses
from collections import Counter

import jax
import numpy as np
import pytest

from crl_jax import loop, runs
from crl_jax.config import ConfigError, with_overrides
from crl_jax.play import policy
from crl_jax.train import train
from crl_jax.trainer import build
from tests.crl_jax.test_train import assert_same_bits, final_state, small

TASK = "point_Small+point_FourRooms"
KEY = jax.random.PRNGKey(0)


def config(folder, **changes):
    return small(folder, task=TASK, horizon=40, behaviour_goals="commanded", near_steps=0, **changes)


def test_every_turn_has_each_task_once_in_an_order_of_its_own() -> None:
    numbers = np.asarray(loop.task_numbers(KEY, 1000, 7))
    turns = numbers[: 7 * (1000 // 7)].reshape(-1, 7)
    assert (np.sort(turns, axis=1) == np.arange(7)).all() and len(numbers) == 1000
    first = np.array(list(Counter(turns[:, 0].tolist()).values()))
    assert ((first - len(turns) / 7) ** 2 / (len(turns) / 7)).sum() < 22.5, "chi-square, 6 degrees, p = 0.001"


@pytest.mark.parametrize("batches", ["task", "mixed"])
def test_a_batch_is_of_one_task_or_of_all(tmp_path, batches: str) -> None:
    setup = build(config(tmp_path, batches=batches))
    state = jax.jit(setup.init)(setup.key())
    state = jax.jit(loop.make_warm_up(setup.env, setup.config.train))(state)
    _, drawn = loop.draw_batches(state, setup.config.train, 0.9, tasks=2)
    tasks = np.asarray(drawn.env) // (setup.env.num_envs // 2)
    mixed = [len(set(row)) for row in tasks.tolist()]
    if batches == "task":
        assert set(mixed) == {1} and abs(tasks[:, 0].mean() - 0.5) <= 0.5 / len(tasks) + 1e-6
    else:
        assert np.mean(mixed) > 1.9
    assert (np.asarray(drawn.offset) >= 1).all()


def test_a_stopped_run_goes_on_bit_for_bit_and_each_task_is_scored(tmp_path) -> None:
    whole = train(config(tmp_path, name="whole"), console=False)
    assert {f"{task}/success_final" for task in TASK.split("+")} <= set(whole.evaluation)
    half = train(config(tmp_path, name="half", total_env_steps=400), console=False)
    wanted = with_overrides(half.config, total_env_steps=whole.config.train.total_env_steps)
    resumed = train(runs.resume(half.folder, wanted), resume=half.folder, console=False)
    assert_same_bits(final_state(resumed.folder), final_state(whole.folder))

    both, second = policy.load(whole.folder), policy.load(whole.folder, number=1)
    assert both.tasks == tuple(TASK.split("+")) and second.tasks == ("point_FourRooms",)
    told = policy.score(both, 8, seed=3)
    assert {"success_any", "point_Small/success_any"} <= set(told)
    assert set(policy.score(second, 4, seed=3)) >= {"success_any", "success_final"}
    obs = second.make_env(2).reset(KEY).obs
    np.testing.assert_array_equal(obs[:, -2:], [[0, 1], [0, 1]])
    with pytest.raises(ConfigError, match=r"number=2: .* learned 2 tasks; one of 0 ... 1"):
        policy.load(whole.folder, number=2)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"eval_episodes": 5}, "eval_episodes=5: 2 tasks take a multiple of that; nearest: 4 or 6"),
        ({"behaviour_goals": "replay"}, "behaviour_goals='replay': stored goals are of any task"),
        ({"distinct_trajectories": True}, "distinct_trajectories=True: draws from all tasks"),
    ],
)
def test_settings_that_several_tasks_cannot_have_are_refused(tmp_path, changes: dict, told: str) -> None:
    wanted = config(tmp_path)
    wanted = with_overrides(wanted, **changes)
    with pytest.raises(ConfigError, match=told):
        build(dataclasses.replace(wanted))
