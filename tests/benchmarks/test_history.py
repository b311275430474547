"""The history of speed: one line per commit with separate run and compile numbers, and one figure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import common, history
from crl_jax.scale.machine import commit

MACHINE = {"processor": "a", "cores": 2, "date": "2026-11-29"}
ROWS = [{"task": "push", "ours": 900.0, "first_call_s": 2.5, "ratio": 3.0}]


def test_a_line_holds_run_and_compile_apart_and_comes_once(tmp_path: Path) -> None:
    for at in ("c1", "c1", "c2+"):
        history.remember(tmp_path, "env_throughput", at, MACHINE, ROWS)
    lines = history.recall(tmp_path)["env_throughput"]
    assert [line["commit"] for line in lines] == ["c1", "c2+"]
    assert lines[0]["run"] == {"task push": 900.0} and lines[0]["compile"] == {"task push": 2.5}
    assert lines[0]["machine"] == MACHINE


def test_what_is_not_tracked_or_has_no_commit_leaves_no_line(tmp_path: Path) -> None:
    history.remember(tmp_path, "soak", "c1", MACHINE, ROWS)
    history.remember(tmp_path, "env_throughput", None, MACHINE, ROWS)
    history.remember(tmp_path, "env_throughput", "c1", MACHINE, [{"task": "push"}])
    assert history.recall(tmp_path) == {} and commit(tmp_path) is None


def test_every_tracked_field_is_in_the_kept_results() -> None:
    """Without this test, a renamed field would silently drop out of the history."""
    for name, tracked in history.TRACKED.items():
        row = common.read_rows(name)[0]
        assert row.keys() >= {*tracked.label, *tracked.compile, *filter(None, [tracked.run])}, name


def test_a_benchmark_s_results_join_the_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    monkeypatch.setattr(common, "commit", lambda _: "c3")
    common.write("env_throughput", ROWS)
    (line,) = (tmp_path / "history" / "env_throughput.jsonl").read_text().splitlines()
    assert json.loads(line)["run"] == {"task push": 900.0}


def test_the_figure_has_a_line_for_each_case_and_processor(tmp_path: Path) -> None:
    for at, processor in (("c1", "a"), ("c2", "a"), ("c3", "b")):
        history.remember(tmp_path, "env_throughput", at, MACHINE | {"processor": processor}, ROWS)
    path = history.draw(history.recall(tmp_path), tmp_path / "speed.png")
    assert path.stat().st_size > 10_000
