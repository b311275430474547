"""Training end to end on a real task: the run folder, bitwise resume, signals, bad input, full disk."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

import envs_mjx
from configs import PRESETS
from crl_jax import cli, runs
from crl_jax.config import ConfigError, TrainingError, with_overrides
from crl_jax.play.policy import load, score
from crl_jax.runs import checkpoint
from crl_jax.runs.loggers import read_metrics
from crl_jax.train import train
from crl_jax.trainer import build
from tests import ROOT

SMALL = {
    "num_envs": 4,
    "horizon": 12,
    "action_repeat": 1,
    "width": 16,
    "critic_depth": 1,
    "actor_depth": 1,
    "unroll_length": 10,
    "updates_per_iteration": 3,
    "batch_size": 16,
    "replay_capacity": 400,
    "min_replay": 80,
    "iterations_per_round": 2,
    "eval_every": 160,
    "eval_episodes": 4,
    "checkpoint_every": 160,
    "total_env_steps": 880,
    "video": False,
}
"""Settings of a run that takes seconds and uses every part."""
TASK = "faucet-close"


def small(folder, **changes):
    return with_overrides(PRESETS["metaworld_cpu"], **{**SMALL, "task": TASK, "runs": str(folder), **changes})


def flags(**values):
    pairs = {**SMALL, **values}
    text = []
    for name, value in pairs.items():
        flag = name.replace("_", "-")
        text += [f"--{flag}" if value else f"--no-{flag}"] if isinstance(value, bool) else [f"--{flag}", str(value)]
    return text


def final_state(folder):
    config = runs.load(folder)
    return checkpoint.restore(folder / runs.CHECKPOINTS, build(config).template)


def assert_same_bits(left, right):
    (state, host), (other, other_host) = left, right
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(np.asarray(a), np.asarray(b)), state, other)
    assert {**host["counters"], "seconds": 0} == {**other_host["counters"], "seconds": 0}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """An uninterrupted run."""
    return train(small(tmp_path_factory.mktemp("whole"), name="whole"), console=False)


def test_a_run_leaves_config_metrics_and_checkpoints(finished):
    records = read_metrics(finished.folder)
    assert finished.counters.env_steps == 880 and finished.counters.updates == 60
    assert runs.load(finished.folder) == finished.config
    assert finished.config.env.physics == "c", "auto is resolved and recorded"
    evaluations = [record for record in records if "eval/success_any" in record]
    assert [record["env_steps"] for record in evaluations] == [160, 320, 480, 640, 800, 880]
    learned = [record for record in records if "train/critic_loss" in record]
    wanted = "categorical_accuracy logits_pos logits_neg logsumexp alpha entropy critic_grad_norm actor_grad_norm"
    for name in [*wanted.split(), "distinct_goals", "object_moved", "diverged"]:
        assert all(np.isfinite(record[f"train/{name}"]) for record in learned[1:]), name
    assert records[0]["time/compile_seconds"] > 0 and "eval/success_any" not in records[0]
    assert checkpoint.steps(finished.folder / runs.CHECKPOINTS) == [800, 880]


def test_the_trained_policy_reads_back(finished):
    trained = load(finished.folder)
    assert trained.env_steps == 880
    first, again = score(trained, 4, seed=5), score(trained, 4, seed=5)
    assert first == again and set(first) >= {"success_any", "success_final", "time_at_goal", "final_distance"}


def test_resume_equals_the_uninterrupted_run_to_the_last_bit(finished, tmp_path):
    half = train(small(tmp_path, name="half", total_env_steps=390), console=False)
    assert half.counters.env_steps == 400, "a total between two rounds is passed, not undershot (bug 3)"
    wanted = with_overrides(half.config, total_env_steps=880)
    resumed = train(runs.resume(half.folder, wanted), resume=half.folder, console=False)
    assert_same_bits(final_state(resumed.folder), final_state(finished.folder))
    steps = [record["env_steps"] for record in read_metrics(half.folder) if "eval/success_any" in record]
    assert steps == sorted(steps) and steps[-1] == 880


def test_resume_is_exact_where_actions_repeat_and_good_evaluations_are_counted(tmp_path):
    changes = {"task": "point_Small", "action_repeat": 3, "until": 1.0, "checkpoint_every": 240}
    whole = train(small(tmp_path, name="whole", total_env_steps=1440, **changes), console=False)
    half = train(small(tmp_path, name="half", total_env_steps=720, **changes), console=False)
    assert half.counters.env_steps == 720, "240 env steps a round: 80 decisions of 3"
    wanted = with_overrides(half.config, total_env_steps=1440)
    resumed = train(runs.resume(half.folder, wanted), resume=half.folder, console=False)
    assert_same_bits(final_state(resumed.folder), final_state(whole.folder))
    assert resumed.counters.solved == whole.counters.solved


@pytest.mark.slow
def test_a_run_of_stacked_networks_resumes_to_the_last_bit(tmp_path):
    changes = {"fused": "on", "critic_depth": 4, "actor_depth": 4, "embedding": 8}
    whole = train(small(tmp_path, name="whole", **changes), console=False)
    half = train(small(tmp_path, name="half", total_env_steps=400, **changes), console=False)
    wanted = with_overrides(half.config, total_env_steps=880)
    resumed = train(runs.resume(half.folder, wanted), resume=half.folder, console=False)
    assert_same_bits(final_state(resumed.folder), final_state(whole.folder))


def start(tmp_path, name, **values):
    command = [sys.executable, "-m", "configs.main", "train", TASK, "--runs", str(tmp_path), "--name", name]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        [*command, *flags(**values)],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for_checkpoint(process, folder, seconds=150):
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        if checkpoint.steps(folder / runs.CHECKPOINTS):
            return
        time.sleep(0.05)
    raise AssertionError(f"no checkpoint: {process.communicate()[0]}")


def test_a_run_without_a_checkpoint_is_resumed_from_its_beginning(finished, tmp_path, caplog):
    """As after kill -9 while the run compiles: only config.json and a first line of metrics are there."""
    config = runs.create(small(tmp_path, name="early"))
    resumed = train(runs.resume(tmp_path / "early", None), resume=tmp_path / "early", console=False)
    assert "early has no checkpoint yet: it begins anew" in caplog.text
    assert resumed.config.run == config.run
    assert_same_bits(final_state(resumed.folder), final_state(finished.folder))
    with pytest.raises(ConfigError, match=r"go on with it \(--resume .*early\), or take another name"):
        train(small(tmp_path, name="early"), console=False)
    with runs.locked(tmp_path / "early"), pytest.raises(ConfigError, match="trains here; wait for it"):
        train(runs.resume(tmp_path / "early", None), resume=tmp_path / "early", console=False)


@pytest.mark.slow
def test_kill_and_resume_equals_the_uninterrupted_run(finished, tmp_path):
    # Long enough that the kill lands in the middle of training.
    process = start(tmp_path, "killed", total_env_steps=40_000_000)
    wait_for_checkpoint(process, tmp_path / "killed")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    at = checkpoint.latest(tmp_path / "killed" / runs.CHECKPOINTS)
    total = at + 160
    config = runs.resume(tmp_path / "killed", with_overrides(runs.load(tmp_path / "killed"), total_env_steps=total))
    resumed = train(config, resume=tmp_path / "killed", console=False)
    whole = train(small(tmp_path, name="whole", total_env_steps=total), console=False)
    assert resumed.counters.env_steps == whole.counters.env_steps
    (state, _), (other, _) = final_state(resumed.folder), final_state(whole.folder)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(np.asarray(a), np.asarray(b)), state, other)


@pytest.mark.slow
def test_killed_at_twenty_random_moments_it_ends_as_if_never_killed(tmp_path):
    """Kills fall into imports, compilation, warm-up, rounds and checkpoints; each start goes on from the last one."""
    maze = {"task": "point_Small", "near_height": 0.0, "total_env_steps": 120_000, "checkpoint_every": 800}
    whole = train(small(tmp_path, name="whole", **maze), console=False)
    command = [sys.executable, "-m", "configs.main", "train", "--resume", "killed"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    runs.create(small(tmp_path, name="killed", **maze))
    rng, reached, began = np.random.default_rng(0), [0], 60.0
    for number in range(20):
        started = time.monotonic()
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        if number % 2 == 0:  # after the next checkpoint
            while (checkpoint.latest(tmp_path / "killed" / runs.CHECKPOINTS) or 0) <= reached[-1]:
                assert process.poll() is None, process.communicate()
                time.sleep(0.02)
            began = time.monotonic() - started
            time.sleep(rng.uniform(0, 1))
        else:  # before it, most often
            time.sleep(rng.uniform(0, began))
        process.kill()
        process.communicate()
        reached.append(checkpoint.latest(tmp_path / "killed" / runs.CHECKPOINTS) or 0)
    assert reached == sorted(reached) and 0 < reached[-1] < 120_000, reached
    last = train(runs.resume(tmp_path / "killed", None), resume=tmp_path / "killed", console=False)
    assert_same_bits(final_state(last.folder), final_state(whole.folder))
    hidden = [path.name for path in last.folder.rglob(".*")]
    assert not hidden, "no unfinished checkpoint and no lock stays"
    steps = [record["env_steps"] for record in read_metrics(last.folder)]
    assert steps == sorted(steps)


def test_sigterm_saves_and_names_the_command_that_resumes(tmp_path):
    process = start(tmp_path, "stopped", total_env_steps=40_000_000)
    wait_for_checkpoint(process, tmp_path / "stopped")
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert "crl train --resume" in output and "Traceback" not in output
    saved = checkpoint.latest(tmp_path / "stopped" / runs.CHECKPOINTS)
    last = read_metrics(tmp_path / "stopped")[-1]["env_steps"]
    assert saved == last, "the state at the signal is the state saved"


BAD = {
    "unknown task": (["train", "pusj"], "nearest: push"),
    "no task": (["train"], "name a task"),
    "unknown preset": (["train", "push", "--preset", "metawold_cpu"], "metaworld_cpu"),
    "unknown engine": (["train", "push", "--physics", "cuda"], "warp"),
    "unknown goal": (["train", "push", "--goal", "hand"], "hand_object"),
    "depth": (["train", "push", "--critic-depth", "6"], "nearest: 4 or 8"),
    "capacity": (["train", "push", "--replay-capacity", "1000"], "nearest: 1536"),
    "batch": (["train", "push", "--batch-size", "20000"], "nearest: 3072"),
    "negative": (["train", "push", "--total-env-steps", "-3"], "at least 1"),
    "no number": (["train", "push", "--num-envs", "many"], "--num-envs"),
    "unknown option": (["train", "push", "--num-env", "3"], "--num-env"),
    "energy": (["train", "push", "--energy", "norn"], "norm"),
    "loss": (["train", "push", "--loss", "infonce"], "fwd_infonce"),
    "unknown command": (["trian"], "train"),
    "missing run": (["eval", "nowhere"], "no run here"),
    "missing checkpoint": (["eval", "empty"], "no checkpoint"),
    "resume of nothing": (["train", "--resume", "nowhere"], "no run here"),
    "damaged config": (["report", "damaged"], "config.json"),
    "neither run nor task": (["render", "psh"], "no such task; nearest: push"),
    "nothing to render": (["render"], "--sheet OUT.png"),
    "a run's option on a task": (["render", "push", "--step", "3"], "step=3: does not apply"),
    "a task's option on a run": (["render", "empty", "--policy", "random"], "policy=random: does not apply"),
    "no scripted policy": (["render", "point_U", "--policy", "scripted"], "take 'random'"),
    "film of another format": (["render", "push", "--out", "push.gif"], "must end in .mp4"),
    "sheet of another format": (["render", "--sheet", "tasks.jpg"], "must end in .png"),
    "unknown benchmark": (["bench", "train_speed"], "train_throughput"),
    "a GPU's preset on a CPU": (["train", "push", "--preset", "metaworld_gpu"], "allow_cpu=False: these settings were"),
    "unfaithful": (["train", "box-close", "--physics", "jax"], "--allow-unfaithful"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_exit_code_2_and_nothing_written(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.json").write_text(json.dumps(small(tmp_path).to_dict()))
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "config.json").write_text('{"env": ')
    before = sorted(tmp_path.rglob("*"))
    arguments, told = BAD[name]
    assert cli.main(PRESETS, arguments) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1 and error.startswith("crl: error: ")
    assert sorted(tmp_path.rglob("*")) == before


def test_resume_with_another_config_names_the_fields(finished, capsys):
    arguments = ["train", "--resume", str(finished.folder), "--discount", "0.5", "--batch-size", "32"]
    assert cli.main(PRESETS, arguments) == 2
    error = capsys.readouterr().err
    assert "discount: 0.904 -> 0.5" in error and "batch_size: 16 -> 32" in error and error.count("\n") == 1


def test_a_taken_name_is_refused_and_nothing_lost(finished, capsys):
    before = (finished.folder / "metrics.jsonl").read_bytes()
    folder = finished.folder
    assert cli.main(PRESETS, ["train", TASK, "--runs", str(folder.parent), "--name", folder.name, *flags()]) == 2
    assert "--resume" in capsys.readouterr().err
    assert (folder / "metrics.jsonl").read_bytes() == before


def test_an_unwritable_run_folder_is_refused(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert cli.main(PRESETS, ["train", TASK, "--runs", str(tmp_path / "file"), *flags()]) == 2
    assert "cannot write" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
@pytest.mark.slow
def test_a_full_disk_stops_the_run_and_keeps_the_last_checkpoint(tmp_path, capsys):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount: {mounted.stderr.decode()}")
    try:
        train(small(disk, name="run", total_env_steps=240), console=False)
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        (disk / "filler").write_bytes(b"\0" * (free - 2**20))
        assert cli.main(PRESETS, ["train", "--resume", str(disk / "run"), "--total-env-steps", "880"]) == 2
        error = capsys.readouterr().err
        assert "no room" in error and error.count("\n") == 1
        assert checkpoint.latest(disk / "run" / runs.CHECKPOINTS) == 240
        (disk / "filler").unlink()
        assert final_state(disk / "run")[1]["counters"]["env_steps"] == 240
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_damaged_checkpoint_is_named(finished, tmp_path, capsys):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(finished.folder, copy)
    newest = copy / runs.CHECKPOINTS / "880"
    victim = max((path for path in newest.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    victim.write_bytes(victim.read_bytes()[:-7])
    assert cli.main(PRESETS, ["eval", str(copy)]) == 2
    error = capsys.readouterr().err
    assert "damaged checkpoint" in error and "800" in error
    assert load(copy, step=800).env_steps == 800


def test_eval_report_and_render_on_a_run(finished, tmp_path, capsys):
    folder = str(finished.folder)
    assert cli.main(PRESETS, ["eval", folder, "--episodes", "4", "--seed", "3"]) == 0
    assert "success_final" in capsys.readouterr().out
    assert cli.main(PRESETS, ["report", folder]) == 0
    assert (finished.folder / "learning_curve.png").stat().st_size > 10_000
    page = (finished.folder / "report.html").read_text()
    assert (finished.folder / "command.txt").read_text().count("\n") == 1 and "base64" in page
    film = tmp_path / "arm.mp4"
    size = ["--width", "64", "--height", "48"]
    assert cli.main(PRESETS, ["render", folder, "--episodes", "1", "--out", str(film), *size]) == 0
    assert film.stat().st_size > 1000


def test_render_of_a_task_makes_a_film_of_its_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "point_U").mkdir()  # A folder of that name does not hide the task.
    arguments = ["render", "point_U", "--episodes", "2", "--seed", "0", "--width", "40", "--height", "90"]
    assert cli.main(PRESETS, arguments) == 0
    assert (tmp_path / "point_U.mp4").stat().st_size > 1000
    assert "point_U.mp4" in capsys.readouterr().out


@pytest.mark.slow
def test_a_sheet_of_two_tasks(tmp_path):
    import io

    from PIL import Image
    from rich.console import Console

    from crl_jax.play import render

    path = render.draw_sheet(tmp_path / "new" / "tasks.png", Console(file=io.StringIO()), ("reach", "door-close"))
    picture = Image.open(path)
    assert picture.size == (320, 134) and len(picture.getcolors(320 * 134)) > 1000


def test_eval_in_the_official_package(finished, capsys):
    assert cli.main(PRESETS, ["eval", str(finished.folder), "--official", "--episodes", "2"]) == 0
    assert "official Meta-World" in capsys.readouterr().out


def test_envs_lists_every_task(capsys):
    assert cli.main(PRESETS, ["envs"]) == 0
    output = capsys.readouterr().out
    assert all(f"{name} " in output for name in envs_mjx.names()) and f"{len(envs_mjx.names())} tasks" in output
    assert max(map(len, output.splitlines())) <= 80


@pytest.mark.slow
def test_the_arm_learns_to_reach(tmp_path):
    config = with_overrides(PRESETS["reach_cpu"], runs=str(tmp_path), total_env_steps=150_000, video=False)
    assert train(config, console=False).evaluation["success_final"] >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize("task, horizon, video", [("point_Spiral11x11", 100, True), ("sawyer_bin", 150, False)])
def test_single_goal_environments_train_to_a_run_s_end(task, horizon, video, tmp_path, capsys):
    changes = flags(runs=str(tmp_path), name="run", video=video)
    del changes[changes.index("--horizon") : changes.index("--horizon") + 2]
    assert cli.main(PRESETS, ["train", task, *changes]) == 0
    assert runs.load(tmp_path / "run").env.horizon == horizon, "the task's own"
    for file in ("report.html", "learning_curve.png", *["videos/policy.mp4"] * video):
        assert (tmp_path / "run" / file).stat().st_size > 1000
    assert "No video" not in capsys.readouterr().out


def test_until_ends_a_run_after_two_good_evaluations_in_a_row(tmp_path):
    """On the small maze a few of 64 untrained episodes always end at their goal."""
    changes = {"task": "point_Small", "horizon": 50, "total_env_steps": 1600, "eval_episodes": 64, "action_repeat": 5}
    config = small(tmp_path, **changes, until=1e-6, unroll_length=10, near_steps=5)
    result = train(config, console=False)
    evaluations = [record for record in read_metrics(result.folder) if "eval/success_final" in record]
    assert len(evaluations) == 2 and all(record["eval/success_final"] > 0 for record in evaluations)
    assert result.counters.solved == 2 and result.counters.env_steps < 1600 and result.trained
    again = train(runs.resume(result.folder, runs.load(result.folder)), result.folder, console=False)
    assert not again.trained and again.counters == result.counters
    longer = runs.resume(result.folder, with_overrides(runs.load(result.folder), until=0.0))
    assert train(longer, result.folder, console=False).counters.env_steps >= 1600
    with pytest.raises(ConfigError, match=r"until=1.5: a share of episodes"):
        with_overrides(config, until=1.5).validate()


def test_a_run_that_cannot_begin_leaves_no_folder_but_other_peoples_files(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise ConfigError("wandb=True: it does not start")

    monkeypatch.setattr(sys.modules["crl_jax.train"], "make_loggers", refuse)
    kept = tmp_path / "kept" / "notes.txt"
    kept.parent.mkdir()
    kept.write_text("mine")
    for name in ("new", "kept"):
        with pytest.raises(ConfigError, match="it does not start"):
            train(small(tmp_path, name=name, task="point_Small", total_env_steps=240, near_height=0.0), console=False)
    assert sorted(tmp_path.iterdir()) == [kept.parent] and list(kept.parent.iterdir()) == [kept]


def test_a_folder_that_is_deleted_while_it_trains_is_told(tmp_path, monkeypatch):
    def evaluate(run):
        shutil.rmtree(run.folder)
        run.counters.next_eval = 10**9

    monkeypatch.setattr(sys.modules["crl_jax.train"], "evaluate", evaluate)
    with pytest.raises(TrainingError, match="the folder was deleted while it trained"):
        train(small(tmp_path, task="point_Small", total_env_steps=240, near_height=0.0), console=False)


def test_a_training_that_is_not_finite_stops_in_one_line_and_keeps_the_good_checkpoint(tmp_path, capsys):
    """Adam's steps of 1e30 make the losses infinite within a few updates."""
    maze = {"task": "point_Small", "near_height": 0.0}
    good = train(small(tmp_path, name="good", total_env_steps=240, **maze), console=False)
    kept = checkpoint.steps(good.folder / runs.CHECKPOINTS)
    config = runs.load(good.folder).to_dict()
    config["agent"] |= {"critic_lr": 1e30, "actor_lr": 1e30}
    runs.write_json(good.folder / runs.CONFIG, config)
    resume = ["train", "--resume", str(good.folder), "--total-env-steps", "2000"]
    assert cli.main(PRESETS, resume) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "crl: error" in line]
    assert re.search(r"training is lost: (actor|critic)_loss, .* not finite in iterations \d+ to \d+; ", line)
    assert f"the last checkpoint, at {kept[-1]} env steps, is good" in line and "--critic-lr" in line
    assert checkpoint.steps(good.folder / runs.CHECKPOINTS) == kept
    fresh = small(tmp_path, name="fresh", **maze, critic_lr=1e30, actor_lr=1e30, checkpoint_every=10**6)
    with pytest.raises(TrainingError, match="there is no checkpoint yet"):
        train(fresh, console=False)
