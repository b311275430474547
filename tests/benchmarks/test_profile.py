"""Benchmarks of speed: files of `crl profile`, loss kernels, and our side and the error messages of `peers`."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import _peer_sides, loss_kernels, peers
from tests import ROOT

TINY = (
    "--num-envs 8 --unroll-length 10 --updates-per-iteration 2 --batch-size 16 --replay-capacity 800 --min-replay 160"
)


def _crl(tmp_path: Path, arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `crl` in a folder outside the repository."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "120"}
    command = [sys.executable, "-m", "configs.main", *arguments.split()]
    return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_crl_profile_prints_stages_and_writes_a_trace_where_the_user_stands(tmp_path: Path) -> None:
    done = _crl(tmp_path, f"profile point_U {TINY} --width 16 --critic-depth 1 --actor-depth 1 --repeats 1 --out here")
    assert done.returncode == 0, done.stderr[-2000:]
    told = " ".join(done.stdout.split())  # A narrow console breaks lines.
    assert "an iteration of 400 env steps, 2 updates of 16" in told and "xprof --logdir here" in told
    stages = {row["stage"]: row for row in json.loads((tmp_path / "here" / "stages.json").read_text())["stages"]}
    wanted = ["physics", "acting", "buffer", "sampling", "relabelling", "updates", "critic gradient", "actor gradient"]
    assert list(stages) == [*wanted, "whole"] and all(row["ms"] > 0 for row in stages.values())
    assert sum(row["share"] for name, row in stages.items() if "of" not in row and name != "whole") == (
        pytest.approx(1)
    )
    assert next((tmp_path / "here").rglob("*.xplane.pb")).stat().st_size > 1000
    for words, told in (("profile", "name a task"), ("profile point_U --repeats 0", "repeats=0: must be at least 1")):
        refused = _crl(tmp_path, words)
        assert refused.returncode == 2 and told in refused.stderr and refused.stderr.count("\n") == 1, refused.stderr


def test_loss_kernels_agree_and_are_drawn(tmp_path: Path) -> None:
    settings = loss_kernels.Settings(matmul=(32,), difference=(32,), chunked=(32,), chunk=8, width=4, repeats=2)
    rows = loss_kernels.with_ratios(loss_kernels.measure(32, settings))
    assert [row["form"] for row in rows] == ["difference", "matmul", "chunked"]
    assert rows[1]["ratio"] == 1 and all(row["ms"] > 0 and len(row["ms_all"]) == 2 for row in rows)
    assert all(row["loss"] == pytest.approx(rows[1]["loss"], rel=1e-5) for row in rows)
    assert "ratio" not in loss_kernels.with_ratios(rows[:1])[0] or rows[0]["ratio"] > 0
    assert loss_kernels.figure(rows, "a test", tmp_path / "kernels.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"path": "nowhere"}, "path='nowhere': no jaxgcrl/agents/crl/crl.py there"),
        ({"depth": 4}, "depth='4': 1, 2 or 3"),
        ({"batch_size": 300}, "batch_size='300': must divide num_envs"),
        (
            {"warm_up_rows": 62},
            "warm_up_rows='62': must be a multiple of unroll_length = 62 and at least episode_length",
        ),
        ({"replay_rows": 1000}, "replay_rows='1000': must be a multiple"),
    ],
)
def test_peers_refuses_in_one_line(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    (tmp_path / peers.MODULE).parent.mkdir(parents=True)
    (tmp_path / peers.MODULE).touch()
    with pytest.raises(SystemExit, match=r"^peers: error: ") as caught:
        peers.Settings(**{"path": tmp_path} | {k: Path(v) if k == "path" else v for k, v in changes.items()}).validate()
    assert told in str(caught.value) and "\n" not in str(caught.value)
    assert peers.Settings(tmp_path).validate().updates == 2000


def test_peers_subtracts_each_sides_own_physics() -> None:
    measured = {
        "jaxgcrl": {"loop": [4.0, 5.0, 9.0], "physics": [1.0, 1.0, 1.0]},
        "ours": {"loop": [2.0, 2.0, 2.0], "physics": [1.0, 1.0, 4.0]},
    }
    theirs, ours = peers.rows_of(measured, 1_000_000)
    assert (theirs["whole_us"], theirs["physics_us"], theirs["outside_us"]) == (5, 1, 4)
    assert ours["outside_ratio"] == pytest.approx(0.25) and ours["whole_ratio"] == pytest.approx(0.4)


@pytest.mark.slow
@pytest.mark.parametrize("side", ["ours", "ours_c"])
def test_our_sides_answer_what_is_asked(side: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = _peer_sides.Sizes(
        num_envs=4, unroll_length=4, batch_size=8, episode_length=9, replay_rows=16, warm_up_rows=12, width=8, depth=1
    )
    answers = io.StringIO()
    monkeypatch.setattr(sys, "stdin", io.StringIO("physics\nloop\nphysics\n"))
    with pytest.raises(SystemExit):
        _peer_sides.SIDES[side](sizes, answers)
    told = [json.loads(line) for line in answers.getvalue().splitlines()]
    assert [list(one) for one in told] == [["loop"], ["physics"], ["loop"], ["physics"]]
    assert all(value > 0 for one in told for value in one.values()) and sizes.updates == 4
