"""Cases of the benchmarks: measured in a process of their own, or reported with the reason why not."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import common, depth, env_scaling, gradient_norms, train_throughput


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


@pytest.mark.slow
def test_an_iteration_is_split_into_its_parts(tmp_path) -> None:
    tiny = {"num_envs": 8, "unroll_length": 10, "updates_per_iteration": 3, "batch_size": 8, "width": 16}
    tiny |= {"replay_capacity": 800, "min_replay": 80, "eval_episodes": 8, "critic_depth": 4, "actor_depth": 1}
    tiny |= {"action_repeat": 1}
    settings = train_throughput.Settings(task="reach", physics="c", repeats=2)
    row = train_throughput.measure(train_throughput.Case("tiny", changes=tiny), settings)
    assert set(row["seconds"]) == {*train_throughput.PARTS, "whole"} and min(row["seconds"].values()) > 0
    assert sum(row["share"].values()) == pytest.approx(1)
    assert row["hours_per_100m"]["whole"] == pytest.approx(row["seconds"]["whole"] * 1e8 / 80 / 3600)
    assert row["times_floor"] > 0 and row["engine"] == "c"
    assert train_throughput.plot([row], "a test", tmp_path / "parts.png").stat().st_size > 1000


def test_cases_are_whole_configurations() -> None:
    names = [case.name for case in train_throughput.CASES]
    assert len(set(names)) == len(names)
    for case in train_throughput.CASES:
        config = train_throughput.configured(case, train_throughput.Settings()).validate()
        wanted = 38.4 if case.preset == "metaworld_cpu" else 40
        assert config.env_steps_per_iteration() / config.train.updates_per_iteration == pytest.approx(wanted, rel=0.02)


def test_norms_are_those_of_each_block() -> None:
    blocks = {"a": np.array([[3.0, 0.0], [1.0, 0.0]]), "b": np.array([[[4.0]], [[0.0]]])}
    np.testing.assert_allclose(gradient_norms.block_norms({"params": {"mlp": {"blocks": blocks}}}), [5.0, 1.0])


def test_depth_is_drawn(tmp_path) -> None:
    sizes = {"trace_s": 1.0, "compile_s": 2.0, "host_peak": 3e6, "temporaries": 4e6}
    rows = [{"depth": case.depth, "unrolled": case.unrolled, "remat": case.remat, **sizes} for case in depth.CASES]
    assert depth.plot(rows, tmp_path / "depth.png").stat().st_size > 1000
