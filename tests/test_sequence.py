"""Sequences of tasks: the runner on point mazes, resumed anywhere; aligned environments; programs that are shared."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs_mjx
from crl_jax import continual, runs
from crl_jax.config import AgentConfig, ConfigError, EnvConfig, EvalConfig, NetworkConfig, TrainConfig, with_overrides
from crl_jax.config_sequence import SequenceConfig, TasksConfig
from crl_jax.continual.settings import ContinualConfig
from crl_jax.loggers import read_metrics
from crl_jax.programs import Programs
from crl_jax.sequence import ENDED, train_sequence
from envs_mjx.aligned import align
from envs_mjx.base import EnvError

TASKS = ("point_U", "point_Cross", "point_U")
STEPS = 8 * 10
SMALL = SequenceConfig(
    env=EnvConfig(num_envs=8),
    network=NetworkConfig(width=8, critic_depth=1, actor_depth=2, embedding=4),
    agent=AgentConfig(discount=0.9),
    train=TrainConfig(
        unroll_length=10, updates_per_iteration=2, batch_size=16, replay_capacity=320, min_replay=80,
        iterations_per_round=1,
    ),
    evaluation=EvalConfig(eval_every=160, eval_episodes=8),
    sequence=TasksConfig(tasks=TASKS, steps_per_task=4 * STEPS),
    continual=ContinualConfig(
        pool_size=2, retrain_updates=4, attention_size=4, maturity=2, replacement_rate=0.1, importance_states=8,
        stored_states=8, clone_batch=6,
    ),
)  # fmt: skip


def scores(folder: Path) -> dict[int, dict[str, float]]:
    """Env steps -> what the last evaluation there scored."""
    rows = (record for record in read_metrics(folder) if "eval/success_any" in record)
    return {
        int(record["env_steps"]): {name: value for name, value in record.items() if name.startswith("eval/")}
        for record in rows
    }


def run(tmp_path: Path, name: str, **changes) -> Path:
    config = with_overrides(SMALL, runs=str(tmp_path), name=name, **changes)
    return train_sequence(config, console=False).folder


def test_a_sequence_leaves_a_row_of_scores_for_every_task_begun(tmp_path: Path) -> None:
    folder = run(tmp_path, "ft", learner="ftn")
    told = scores(folder)
    assert list(told) == [160, 320, 480, 640, 800, 960]
    for steps, record in told.items():
        begun = (steps - 1) // (4 * STEPS) + 1
        assert {f"eval/{task}/success_any" in record for task in range(begun)} == {True}
        assert f"eval/{begun}/success_any" not in record
        assert record["eval/success_any"] == record[f"eval/{begun - 1}/success_any"]
    ends = {record[ENDED]: record["env_steps"] for record in read_metrics(folder) if ENDED in record}
    assert ends == {0: 320, 1: 640, 2: 960}
    last = [record for record in read_metrics(folder) if "sequence/task" in record][-1]
    # Three tasks, two of them the same one: learning is compiled once, and no program of point_U again.
    assert last["sequence/programs_compiled"] < last["sequence/programs_asked"]
    config = runs.load(folder)
    assert isinstance(config, SequenceConfig) and config.sequence.tasks == TASKS


@pytest.mark.slow
@pytest.mark.parametrize("learner", continual.METHODS)
def test_every_method_learns_a_sequence(learner: str, tmp_path: Path) -> None:
    told = scores(run(tmp_path, learner, learner=learner))
    assert list(told)[-1] == 960
    for task in range(3):
        assert 0 <= told[960][f"eval/{task}/success_final"] <= 1


@pytest.mark.parametrize(
    "changes",
    [
        {"learner": "packnet"},
        pytest.param({"learner": "cka_rl", "critic_mode": "cka", "target_mode": "reset"}, marks=pytest.mark.slow),
        pytest.param({"learner": "ewc", "replay_mode": "keep"}, marks=pytest.mark.slow),
    ],
)
def test_resumed_in_the_middle_of_a_task_it_ends_as_if_never_stopped(changes, tmp_path: Path) -> None:
    whole = run(tmp_path, "whole", checkpoint_every=160, keep=100, **changes)
    checkpoints = whole / runs.CHECKPOINTS
    steps = sorted(int(path.name) for path in checkpoints.iterdir())
    middle = next(step for step in steps if step > 2.3 * 4 * STEPS)
    assert middle < 3 * 4 * STEPS  # In the last task.
    for step in steps:
        if step > middle:
            (checkpoints / str(step)).rename(tmp_path / str(step))
    expected = scores(whole)
    train_sequence(runs.load(whole), whole, console=False)  # type: ignore[arg-type]
    assert scores(whole) == expected
    for step in steps:
        if step > middle:
            again, before = checkpoints / str(step), tmp_path / str(step)
            assert again.is_dir() == before.is_dir()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tasks": ("point_U", "point_V")}, "task='point_V': no such task; nearest: point_U"),
        ({"tasks": ()}, "tasks=()"),
        ({"tasks": ("point_U", "reach")}, "actions of 2, 4 numbers"),
        ({"learner": "packnett"}, "learner='packnett': unknown; nearest: packnet"),
        ({"learner": "cbp", "replacement_rate": 0.5}, "replacement_rate=0.5: at most one unit"),
        ({"actor_average": 0.9}, "actor_average=0.9"),
        ({"method": "td3"}, "method='td3'.*one of crl, sac"),
        ({"steps_per_task": 80}, "steps_per_task=80: must be more than the 80"),
        ({"critic_mode": "reset"}, "target_mode='keep'"),
        ({"devices": 2}, "devices=2"),
    ],
)
def test_a_bad_sequence_is_refused_and_nothing_is_left(changes, words: str, tmp_path: Path) -> None:
    with pytest.raises((ConfigError, EnvError), match=words):
        run(tmp_path, "bad", **changes)
    assert not list(tmp_path.iterdir())


# Aligned environments


def test_aligned_tasks_have_one_shape_and_their_own_scores() -> None:
    push, reach, hammer = (envs_mjx.make(task, 2, physics="c", threads=1) for task in ("push", "reach", "hammer"))
    wide = align([push, reach, hammer])
    assert {(env.spec.obs_size, env.spec.goal_size) for env in wide} == {(13, 7)}
    assert wide[0].spec.goal_names == push.spec.goal_names
    key = jax.random.PRNGKey(0)
    for own, env in zip((push, reach, hammer), wide, strict=True):
        alone, state = own.reset(key), env.reset(key)
        action = jnp.full((2, 4), 0.3)
        alone, state = own.step(alone, action), env.step(state, action)
        size = own.spec.obs_size
        assert np.array_equal(state.obs[:, :size], alone.obs)
        np.testing.assert_array_equal((state.obs - env.spec.obs_shift)[:, size:], 0)
        columns = [wide[0].spec.goal_names.index(name) for name in own.spec.goal_names]
        assert np.array_equal(state.goal[:, columns], alone.goal)
        missing = [place for place in range(7) if place not in columns]
        np.testing.assert_array_equal((state.goal - env.spec.goal_shift)[:, missing], 0)
        assert np.array_equal(env.achieved_goal(state.obs)[:, columns], own.achieved_goal(alone.obs))
        assert np.array_equal(env.touch_goal(state.start)[:, columns], own.touch_goal(alone.start))
        assert np.array_equal(state.metrics["distance"], alone.metrics["distance"])


def test_a_hand_that_is_the_object_is_aligned_with_the_objects() -> None:
    push, reach = align([envs_mjx.make(task, 1, physics="c", threads=1) for task in ("push", "reach")])
    assert reach.hand_in_goal()[:, 4:].tolist() == np.eye(3).tolist() and not reach.hand_in_goal()[:, :4].any()
    assert push.hand_in_goal()[:, :3].tolist() == np.eye(3).tolist()


# Programs


def test_programs_are_shared_only_where_they_do_the_same() -> None:
    programs, x = Programs(), jnp.arange(3.0)

    def scaled(factor: jax.Array):
        return lambda x: factor * x

    def called(factor: float):
        def host(x):
            return np.asarray(x) * np.float32(factor)

        return lambda x: jax.pure_callback(host, jax.ShapeDtypeStruct((3,), jnp.float32), x)

    makers = [scaled(jnp.array([1.0, 2, 3])), scaled(jnp.array([1.0, 2, 3])), scaled(jnp.array([1.0, 2, 4]))]
    makers += [called(2.0), called(3.0)]
    results = [programs.compile(function, x)(x) for function in makers]
    assert [result[2] for result in results] == [6, 6, 8, 4, 6]
    assert (programs.asked, programs.compiled) == (5, 4)


def test_settings_of_a_sequence_come_back_from_their_file() -> None:
    values = dataclasses.asdict(SMALL)
    values["sequence"]["tasks"] = list(values["sequence"]["tasks"])
    assert SequenceConfig.from_dict(values) == SMALL
