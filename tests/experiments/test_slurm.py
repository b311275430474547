"""Cluster jobs: the script, the names, and a job that submitit's executor stops, requeues and continues."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from configs import PRESETS
from crl_jax import runs
from crl_jax.config import ConfigError, with_overrides
from crl_jax.runs import checkpoint
from crl_jax.runs.loggers import read_metrics
from crl_jax.train import train
from experiments import slurm
from tests import ROOT
from tests.crl_jax.test_train import SMALL as RUN

SMALL = {**RUN, "task": "point_U", "iterations_per_round": 1, "eval_every": 10**9, "checkpoint_every": 2000}


def small(folder: Path, name: str, **changes: object):
    return with_overrides(PRESETS["reach_cpu"], **{**SMALL, "runs": str(folder), "name": name, **changes})


def test_the_array_has_a_job_for_every_task_preset_and_seed(tmp_path: Path) -> None:
    jobs = slurm.plan(("reach", "push"), ("reach_cpu", "metaworld_cpu"), (0, 5), tmp_path, total_env_steps=10**6)
    names = [job.config.run.name for job in jobs]
    assert len(set(names)) == 8 and names[0] == "reach-reach_cpu-s0" and names[-1] == "push-metaworld_cpu-s5"
    assert jobs[-1].config == with_overrides(
        PRESETS["metaworld_cpu"],
        seed=5,
        total_env_steps=10**6,
        runs=str(tmp_path),
        name="push-metaworld_cpu-s5",
        video=False,
    )
    with pytest.raises(ConfigError, match="preset='metaworld_gp': no such preset; nearest: metaworld_gpu"):
        slurm.plan(("push",), ("metaworld_gp",), (0,), tmp_path)
    assert list(tmp_path.iterdir()) == [], "planning writes nothing"


def test_a_folder_of_other_settings_is_refused(tmp_path: Path) -> None:
    config = with_overrides(PRESETS["reach_cpu"], runs=str(tmp_path), name="reach-reach_cpu-s0", batch_size=128)
    runs.create(config)
    with pytest.raises(ConfigError, match=r"reach-reach_cpu-s0 holds another run \(batch_size: 128 -> 256"):
        slurm.plan(("reach",), ("reach_cpu",), (0,), tmp_path)


def test_a_run_without_a_checkpoint_is_begun_anew(tmp_path: Path) -> None:
    config = with_overrides(PRESETS["reach_cpu"], runs=str(tmp_path), name="a")
    runs.create(config)
    assert slurm.resumed(config) == (config, None)
    runs.create(config)


def test_the_dry_run_prints_what_would_be_submitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """Fake sbatch and srun scripts store the submitted script, so the test runs without Slurm."""
    cluster = slurm.Cluster(partition="gpu", gpus_per_node=4, tasks_per_node=4, nodes=2, minutes=60, parallel=2)
    arguments = {"tasks": ("reach",), "presets": ("reach_cpu",), "runs_folder": tmp_path / "runs", "cluster": cluster}
    assert slurm.main(**arguments, dry_run=True) == 0
    script = capsys.readouterr().out
    lines = set(script.splitlines())
    wanted = "array=0-2%2 nodes=2 ntasks-per-node=4 gpus-per-node=4 time=60 signal=USR2@120 partition=gpu requeue"
    assert {f"#SBATCH --{option}" for option in wanted.split()} <= lines
    assert not (tmp_path / "runs").exists()

    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sbatch", "srun"):
        (tools / name).write_text(f'#!/bin/sh\ncp "$1" {tmp_path}/submitted\necho Submitted batch job 12\n')
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=":")
    assert slurm.main(**arguments) == 0
    assert capsys.readouterr().out.split() == ["12_0", "12_1", "12_2"]
    assert (tmp_path / "submitted").read_text().strip() == script.strip()


def test_without_slurm_the_refusal_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "experiments.slurm", "--tasks", "reach", "--runs-folder", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr


@pytest.mark.slow
def test_a_stopped_job_is_requeued_and_ends_as_an_uninterrupted_run(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("SUBMITIT_LOG_LEVEL")
    monkeypatch.setenv("JAX_ENABLE_COMPILATION_CACHE", "true")  # What the first job compiled serves the second.
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "xla"))
    total = 20_000
    config = small(tmp_path, "requeued", total_env_steps=total)
    folder = tmp_path / "requeued"
    job = slurm.local_executor(tmp_path / "jobs" / "%j", slurm.Cluster(minutes=30)).submit(slurm.TrainJob(config))
    until = time.monotonic() + 600
    while (checkpoint.latest(folder / runs.CHECKPOINTS) or 0) < 2000 and time.monotonic() < until:
        assert job._process.poll() is None, job.stderr()
        time.sleep(0.02)
    job._process.send_signal(signal.SIGTERM)  # As Slurm before a preemption: the controller hands it to the job.
    result = job.result()
    assert "Requeued job" in (job.stderr() or "") + (job.stdout() or "")
    whole = train(small(tmp_path, "whole", total_env_steps=total), console=False)
    assert (result["env_steps"], result["updates"]) == (whole.counters.env_steps, whole.counters.updates)
    assert checkpoint.latest(folder / runs.CHECKPOINTS) == whole.counters.env_steps
    compiled = [record["env_steps"] for record in read_metrics(folder) if "time/compile_seconds" in record]
    assert len(compiled) == 2 and 2000 <= compiled[1] < whole.counters.env_steps, "stopped midway, then continued"
    last = [record["train/critic_loss"] for record in read_metrics(folder) if "train/critic_loss" in record][-1]
    wanted = [r["train/critic_loss"] for r in read_metrics(whole.folder) if "train/critic_loss" in r][-1]
    assert last == wanted, "to the last bit"
