"""What the benchmarks say of a case: measured in a process of its own, or why it was not."""

from __future__ import annotations

from benchmarks import common, env_scaling


def test_a_case_is_measured_and_drawn(tmp_path) -> None:
    case = {"engine": "c", "task": "reach", "num_envs": 8}
    row = env_scaling.measure(**case, seconds=0.1, repeats=2, limit=60)
    assert row["env_steps_per_s"] > 0 and row["compile_s"] > 0 and row["resident_bytes"] > 2**20
    assert row["repeats"] == 2 and row["cores_used"] > 0
    rows = [case | row, {**case, "num_envs": 64, "not_measured": "over 5 s"}]
    picture = env_scaling.figure(rows, "a test", tmp_path / "scaling.png")
    assert picture.stat().st_size > 1000
    assert env_scaling._cells(rows[1])[2].startswith("not measured: over 5 s")


def test_a_process_that_takes_too_long_or_fails_is_not_measured() -> None:
    case = {"engine": "worp", "task": "reach", "num_envs": 8, "seconds": 1.0, "repeats": 1, "limit": 1.0}
    assert common.fresh_process("benchmarks.env_scaling", case, 0.01) == {**case, "not_measured": "over 0 s"}
    assert common.fresh_process("benchmarks.env_scaling", case, 100) == {**case, "not_measured": "ended with 1"}
