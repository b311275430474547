"""Sequences of tasks: runs on point mazes, resumed at any point; aligned environments; shared programs."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs_mjx
from configs import PRESETS
from crl_jax import agents, continual, runs
from crl_jax.cli import main
from crl_jax.config import (
    AgentConfig,
    ConfigError,
    EnvConfig,
    EvalConfig,
    NetworkConfig,
    TrainConfig,
    with_overrides,
)
from crl_jax.config.continual import ContinualConfig
from crl_jax.config.sequence import SequenceConfig, TasksConfig, of_tasks, resolved
from crl_jax.play import policy
from crl_jax.play import record as recording
from crl_jax.report import scores
from crl_jax.runs import checkpoint
from crl_jax.runs.loggers import read_metrics
from crl_jax.scale.programs import Programs
from crl_jax.sequence import ENDED, train_sequence
from crl_jax.stages import Stages
from envs_mjx.aligned import align
from envs_mjx.base import EnvError
from experiments import continual as study
from experiments import continual_tables as tables
from tests import ROOT

TASKS = ("point_U", "point_Cross", "point_U")
STEPS = 8 * 10
KEY = jax.random.PRNGKey(0)
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


def scored(folder: Path) -> dict[int, dict[str, float]]:
    """Env steps -> scores of the last evaluation at these env steps."""
    rows = (record for record in read_metrics(folder) if "eval/success_any" in record)
    return {
        int(record["env_steps"]): {name: value for name, value in record.items() if name.startswith("eval/")}
        for record in rows
    }


def run(tmp_path: Path, name: str, **changes) -> Path:
    config = with_overrides(SMALL, runs=str(tmp_path), name=name, **changes)
    return train_sequence(config, console=False).folder


def command(runs_folder: Path) -> list[str]:
    """The command line that trains packnet on the three tasks."""
    options = {
        "learner": "packnet", "retrain-updates": 4, "num-envs": 8, "width": 8, "critic-depth": 1, "actor-depth": 2,
        "embedding": 4,
        "discount": 0.9, "unroll-length": 10, "updates-per-iteration": 2, "batch-size": 16, "replay-capacity": 320,
        "min-replay": 80, "iterations-per-round": 1, "eval-every": 160, "eval-episodes": 8, "steps-per-task": 320,
        "checkpoint-every": 160, "keep": 100, "runs": str(runs_folder), "name": "ft", "goal": "object",
        "action-repeat": 1,
    }  # fmt: skip
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return ["continual", *TASKS, "--no-video", *words]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The folder of the finished run of `command`."""
    runs_folder = tmp_path_factory.mktemp("runs")
    assert main(PRESETS, command(runs_folder)) == 0
    assert (runs_folder / "ft" / "report.html").exists()
    return runs_folder / "ft"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "name tasks"),
        (["point_U", "--preset", "continual"], "preset='continual': no such preset; nearest: continual_cpu"),
        (["point_U", "--learner", "ewx"], "learner='ewx': unknown; nearest: ewc"),
        (["--resume", "nowhere"], "nowhere: no run here"),
        (["point_U", "--total-env-steps", "9"], "--total-env-steps follows from the sequence; give --steps-per-task"),
        (["point_U", "--total_env_steps=9"], "--total-env-steps follows from the sequence"),
        (["point_U", "--task=reach"], "--task follows from the sequence"),
    ],
)
def test_the_command_refuses_in_one_line(words: list[str], told: str, capsys) -> None:
    assert main(PRESETS, ["continual", *words]) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1


def test_a_sequence_leaves_a_row_of_scores_for_every_task_begun(finished: Path) -> None:
    folder, told = finished, scored(finished)
    assert list(told) == [160, 320, 480, 640, 800, 960]
    for steps, record in told.items():
        begun = (steps - 1) // (4 * STEPS) + 1
        assert {f"eval/{task}/success_any" in record for task in range(begun)} == {True}
        assert f"eval/{begun}/success_any" not in record
        assert record["eval/success_any"] == record[f"eval/{begun - 1}/success_any"]
    for kind in ("any", "final"):  # The same episodes every time, by a policy that no longer changes.
        assert len({record[f"eval/0/success_{kind}"] for steps, record in told.items() if steps >= 4 * STEPS}) == 1
    ends = {record[ENDED]: record["env_steps"] for record in read_metrics(folder) if ENDED in record}
    assert ends == {0: 320, 1: 640, 2: 960}
    last = [record for record in read_metrics(folder) if "sequence/task" in record][-1]
    # Three tasks, two of them the same one: learning is compiled once, and no program of point_U again.
    assert last["sequence/programs_compiled"] < last["sequence/programs_asked"]
    config = runs.load(folder)
    assert isinstance(config, SequenceConfig) and config.sequence.tasks == TASKS
    # 3 tasks of 3 rounds after warm-up, 2 updates each; 4 more at each end.
    assert last["updates"] == 2 * (3 * 2 + 4) and read_metrics(folder)[-1]["updates"] == 3 * (3 * 2 + 4)


def test_the_report_scores_the_sequence(finished: Path, tmp_path: Path) -> None:
    one = tables.scored(finished)
    assert one.final.success.shape == (6, 3) and one.any.ends.tolist() == [320, 640, 960]
    assert (one.final.success <= one.any.success).all() and not one.any.success[0, 1:].any()  # Not begun: 0.
    groups = {"scratch persistent": [one], "ftn persistent": [one, one]}
    told = tables.table(groups, "final").splitlines()
    cells = [cell.strip() for cell in told[3].split("|")[1:-1]]
    assert cells[:3] == ["ftn", "persistent", "2"] and float(cells[7].split(" ")[0]) == 0  # As scratch itself.
    alone = dataclasses.replace(one, final=dataclasses.replace(one.final, success=np.full((6, 3), 0.5)))
    told = tables.table(groups | {"scratch reset": [alone]}, "final").splitlines()
    gained = float(told[3].split("|")[8].split(" [")[0]) - np.mean(scores.areas(one.final) - 0.5) / 0.5
    assert abs(gained) < 0.006  # Now against the critic that is new for each task.
    last = one.final.success[-1]
    assert float(cells[3].split(" ")[0]) == pytest.approx(last.mean(), abs=0.006)
    assert f"{last[1]:.2f}" in tables.tasks_table(groups, "final").splitlines()[2].split("|")[3]
    assert all(picture.stat().st_size > 0 for picture in tables.figures(groups, tmp_path, "final", "three"))
    rows = [row.split("|") for row in tables.diagnostics_table(groups).splitlines() if "| free_share |" in row]
    assert len(rows) == 2  # Packnet's, whatever they are called here.
    np.testing.assert_allclose(np.array(rows)[:, 3:6].astype(float), [[2 / 3, 1 / 3, 0]] * 2, atol=0.02)
    accuracy = [record for record in read_metrics(finished) if "train/categorical_accuracy" in record]
    assert one.told["critic's accuracy"][-1] == accuracy[-1]["train/categorical_accuracy"]
    torn = tmp_path / "torn"
    torn.mkdir()
    (torn / "config.json").write_text((finished / "config.json").read_text())
    (torn / "metrics.jsonl").write_text("\n".join((finished / "metrics.jsonl").read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(ConfigError, match="2 of 3 tasks are finished"):
        tables.scored(torn)


def test_train_names_the_command_that_resumes_a_sequence(finished: Path, capsys) -> None:
    assert main(PRESETS, ["train", "--resume", str(finished)]) == 2
    assert "continue it with `crl continual --resume`" in capsys.readouterr().err


@pytest.mark.slow
def test_a_policy_of_a_sequence_is_scored_in_the_official_package_and_filmed_but_not_recorded(tmp_path: Path) -> None:
    config = with_overrides(PRESETS["continual_cpu"], width=8, num_envs=8)
    padded = align([envs_mjx.make(task, 1, goal="auto") for task in ("push", "door-open")])[1].spec
    agent = agents.make(config, padded)
    trained = policy.Trained(
        Path("a sequence"), with_overrides(config, task="door-open"), agent, agent.init(KEY), 0, aligned=padded
    )
    assert policy.score_official(trained, 1, seed=0)["episodes"] == 1
    assert policy.pictures(trained, 1, 0, (64, 48), every=50).shape == (3, 48, 64, 3)
    with pytest.raises(ConfigError, match="it learned several tasks and sees padded observations"):
        recording.record(tmp_path / "data", trained.config.env, trained, 1, 0.0, 0, "")


@pytest.mark.slow
def test_each_tasks_policy_is_read_back(finished: Path) -> None:
    told = scored(finished)[960]
    for number in (0, 2):
        trained = policy.load(finished, number=number)
        assert trained.config.env.task == TASKS[number] and trained.env_steps == 960
        assert 0 <= policy.score(trained, 4, 1)["success_any"] <= 1
    first, last = (policy.load(finished, number=number).state.actor for number in (0, None))
    assert any((one != other).any() for one, other in zip(jax.tree.leaves(first), jax.tree.leaves(last), strict=True))
    assert "eval/2/success_any" in told
    with pytest.raises(ConfigError, match=r"number=3.*one of 0 \.\.\. 2"):
        policy.load(finished, number=3)


def test_the_study_asks_for_what_it_says(capsys) -> None:
    assert study.run(methods=("packnet",), critic_modes=("persistent", "reset"), seeds=(0,), dry_run=True) == 0
    assert "easy-packnet-reset-s0" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="methods='pack': unknown; nearest: packnet"):
        study.run(methods=("pack",), dry_run=True)
    with pytest.raises(ConfigError, match="critic_modes='kept'"):
        study.run(critic_modes=("kept",), dry_run=True)


@pytest.mark.slow
@pytest.mark.parametrize("learner", continual.METHODS)
def test_every_method_learns_a_sequence(learner: str, tmp_path: Path) -> None:
    told = scored(run(tmp_path, learner, learner=learner))
    assert list(told)[-1] == 960
    for task in range(3):
        assert 0 <= told[960][f"eval/{task}/success_final"] <= 1


def resumed_equals(whole: Path) -> None:
    """Delete all checkpoints after one in the middle of the last task, resume there, and compare the scores."""
    checkpoints, expected = whole / runs.CHECKPOINTS, scored(whole)
    steps = sorted(int(path.name) for path in checkpoints.iterdir())
    middle = next(step for step in steps if step > 2 * 4 * STEPS)
    assert middle < 3 * 4 * STEPS
    forgotten = [step for step in steps if step > middle]
    for step in forgotten:
        shutil.rmtree(checkpoints / str(step))
    config = runs.load(whole)
    assert isinstance(config, SequenceConfig)
    train_sequence(config, whole, console=False)
    assert scored(whole) == expected and all((checkpoints / str(step)).is_dir() for step in forgotten)


def test_resumed_in_the_middle_of_a_task_it_ends_as_if_never_stopped(finished: Path, tmp_path: Path) -> None:
    resumed_equals(shutil.copytree(finished, tmp_path / "copy"))


@pytest.mark.slow
def test_killed_in_the_third_task_it_ends_as_if_never_killed(finished: Path, tmp_path: Path) -> None:
    code = f"from configs import PRESETS; from crl_jax.cli import main; main(PRESETS, {command(tmp_path)!r})"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, cwd=ROOT)
    try:
        while not any(record.get("sequence/task") == 2 for record in read_metrics(tmp_path / "ft")):
            assert process.poll() is None
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    config = runs.load(tmp_path / "ft")
    assert isinstance(config, SequenceConfig) and max(scored(tmp_path / "ft")) < 960
    train_sequence(config, tmp_path / "ft", console=False)
    assert scored(tmp_path / "ft") == scored(finished)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"learner": "cka_rl", "critic_mode": "cka", "target_mode": "reset"},
        {"learner": "ewc", "method": "sac", "embedding": 64},
        {"replay_mode": "keep", "task_code": True, "replay_capacity": 960},
    ],
)
def test_other_methods_resume_alike(changes, tmp_path: Path) -> None:
    resumed_equals(run(tmp_path, "whole", checkpoint_every=160, keep=100, **changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tasks": ("point_U", "point_V")}, "task='point_V': no such task; nearest: point_U"),
        ({"tasks": ()}, "tasks=()"),
        ({"tasks": ("point_U", "reach")}, "actions of 2, 4 numbers"),
        ({"learner": "packnett"}, "learner='packnett': unknown; nearest: packnet"),
        ({"learner": "cbp", "replacement_rate": 0.5}, "replacement_rate=0.5: at most one unit"),
        ({"actor_average": 0.9}, "actor_average=0.9"),
        ({"method": "td3", "embedding": 64}, "method='td3'.*one of crl, sac"),
        ({"steps_per_task": 159}, "steps_per_task=159: must be at least 160, the random steps"),
        ({"critic_mode": "reset"}, "target_mode='keep'"),
        ({"devices": 2}, "devices=2"),
        ({"replay_mode": "keep"}, "task_code=False: replay_mode=keep .* add --task-code"),
        ({"replay_mode": "keep", "task_code": True, "method": "sac", "embedding": 64}, "method='sac'"),
        ({"replay_mode": "keep", "task_code": True, "behaviour_goals": "mixed"}, "behaviour_goals='mixed'"),
        ({"replay_mode": "keep", "task_code": True, "learner": "ewc"}, "learner='ewc': reads the ended task's steps"),
    ],
)
def test_a_bad_sequence_is_refused_and_nothing_is_left(changes, words: str, tmp_path: Path) -> None:
    with pytest.raises((ConfigError, EnvError), match=words):
        run(tmp_path, "bad", **changes)
    assert not list(tmp_path.iterdir())


def test_a_kept_ring_holds_every_task_and_each_step_is_relabelled_by_its_own(tmp_path: Path) -> None:
    config = with_overrides(SMALL, replay_mode="keep", task_code=True, replay_capacity=960, runs=str(tmp_path))
    stages = Stages.of(resolved(with_overrides(config, tasks=("push", "hammer"), goal="auto", physics="c")))
    for env in stages.envs.values():
        obs = env.reset(KEY).obs
        assert obs.shape[-1] == stages.spec.obs_size and obs[:, -2:].tolist() == [list(env.code)] * 8
        np.testing.assert_allclose(stages.achieved_goal(obs), env.achieved_goal(obs))
    push, hammer = stages.envs.values()
    obs = push.reset(KEY).obs
    assert not np.allclose(hammer.achieved_goal(obs), push.achieved_goal(obs)), "so asking the task matters"

    folder = train_sequence(config, console=False).folder
    state, _ = checkpoint.restore(folder / runs.CHECKPOINTS, Stages.of(runs.load(folder)).template(2))
    codes = np.asarray(state.ring.obs)[: int(state.ring.written), :, -2:]
    assert codes.mean(axis=(0, 1)) == pytest.approx([2 / 3, 1 / 3], abs=0.06), "point_U twice, point_Cross once"
    assert policy.load(folder, number=1).code == (0.0, 1.0)


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


def test_a_hand_in_the_room_is_not_aligned_with_one_seen_from_an_object() -> None:
    push, faucet = (envs_mjx.make(task, 1, physics="c", goal="auto", threads=1) for task in ("push", "faucet-close"))
    assert [set(name[:-2] for name in env.spec.goal_names) for env in (push, faucet)] == [
        {"object", "hand from object"},
        {"object", "hand"},
    ]
    wide = align([push, faucet])
    assert wide[0].spec.goal_size == 9
    goal = np.arange(6.0, dtype=np.float32)[None]
    shared = [env.commanded_goal(goal[:, :3])[0] for env in wide]
    objects = [wide[0].spec.goal_names.index(f"object {axis}") for axis in "xyz"]
    assert all((np.asarray(one)[objects] == goal[0, :3]).all() for one in shared)


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


def test_a_task_of_a_sequence_is_trained_as_long_as_the_preset_says() -> None:
    preset = PRESETS["continual_cpu"]
    config = resolved(of_tasks(preset, ("push", "reach")))
    assert config.sequence.steps_per_task == preset.train.total_env_steps
    assert config.train.total_env_steps == 2 * preset.train.total_env_steps and config.env.task == "push"


def test_settings_of_a_sequence_come_back_from_their_file() -> None:
    values = dataclasses.asdict(SMALL)
    values["sequence"]["tasks"] = list(values["sequence"]["tasks"])
    assert SequenceConfig.from_dict(values) == SMALL
