"""Run folders of commit b4c28f7, which had another package layout: they resume, evaluate and report as they did there.

The expected numbers come from that commit's code, which resumed a copy of these folders on engine `c`.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from configs import PRESETS
from crl_jax import cli, runs
from crl_jax.config.sequence import SequenceConfig
from crl_jax.runs.loggers import read_metrics

KEPT = Path(__file__).parent / "before_the_move"
ONE_TASK = {
    "train/critic_loss": 2.110893964767456,
    "train/actor_loss": 2.7080235481262207,
    "train/alpha": 0.9597911834716797,
    "eval/final_distance": 0.29653608798980713,
    "eval/min_distance": 0.29516592621803284,
}
TWO_TASKS = {
    "train/critic_loss": 2.33945369720459,
    "train/actor_loss": 6.0167436599731445,
    "train/alpha": 1.0131680965423584,
    "eval/final_distance": 0.2585459351539612,
}


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with copies of the old runs. It is the working directory of the test."""
    shutil.copytree(KEPT, tmp_path / "old")
    monkeypatch.chdir(tmp_path / "old")
    return tmp_path / "old"


def last(folder: Path, names: dict[str, float]) -> dict[str, float]:
    """The newest value of each metric."""
    records = read_metrics(folder)
    return {name: next(record[name] for record in reversed(records) if name in record) for name in names}


def test_an_old_run_resumes_as_its_own_code_would_have(old: Path) -> None:
    assert runs.load(old / "one-task").train.total_env_steps == 240
    assert cli.main(PRESETS, ["train", "--resume", "one-task", "--total-env-steps", "400"]) == 0
    assert last(old / "one-task", ONE_TASK) == pytest.approx(ONE_TASK, rel=1e-4)
    assert (old / "one-task" / "report.html").is_file()


def test_an_old_sequence_resumes_in_the_middle_of_its_second_task(old: Path) -> None:
    assert isinstance(runs.load(old / "two-tasks"), SequenceConfig)
    assert cli.main(PRESETS, ["continual", "--resume", "two-tasks"]) == 0
    assert last(old / "two-tasks", TWO_TASKS) == pytest.approx(TWO_TASKS, rel=1e-4)
    assert read_metrics(old / "two-tasks")[-1]["sequence/ended"] == 1


def test_old_runs_are_evaluated_and_reported(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(PRESETS, ["eval", "two-tasks", "--episodes", "4", "--number", "0"]) == 0
    assert "success_final" in capsys.readouterr().out
    assert cli.main(PRESETS, ["report", "one-task", "two-tasks", "--out", "page"]) == 0
    assert (old / "page" / "report.html").is_file()
