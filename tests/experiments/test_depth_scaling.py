"""The study of depth: valid grid cells, parameter counts by hand, and a report with the numbers of the runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from crl_jax.config import ConfigError, with_overrides
from crl_jax.runs.loggers import JsonlLogger
from experiments import depth_scaling, study
from experiments.depth_grids import CPU, FULL, Setting, cell, cells, groups_of, horizon
from tests.experiments.test_studies import kept_cells

ALL = [(scale, task) for scale in (CPU, FULL) for task in scale.tasks]


@pytest.mark.parametrize("full", [False, True])
def test_every_cell_validates_and_no_two_are_the_same(full: bool) -> None:
    scale = FULL if full else CPU
    found = cells(tuple(scale.tasks)[:2], tuple(scale.grids), full)
    configs = [one.config("x", seed=1) for one in found]
    assert len({one.name for one in found}) == len(found)
    assert len({str(with_overrides(config, name="").to_dict()) for config in configs}) == len(found)
    together = sum(len(cells(tuple(scale.tasks)[:2], (grid,), full)) for grid in scale.grids)
    assert len(found) < together, "grids share runs"
    assert len({config.env.horizon for config in configs}) == 1 and configs[0].env.horizon == (1000 if full else None)


@pytest.mark.parametrize("method", ["sac", "td3"])
def test_baselines_collect_and_discount_as_crl(method: str) -> None:
    for scale in (CPU, FULL):
        task = next(iter(scale.tasks))
        ours = cell(scale, task, Setting(16, 16, 64, 128)).config("x")
        theirs = cell(scale, task, Setting(16, 16, 64, 128, method)).config("x")
        assert theirs.agent.method == method and theirs.baseline.her_share > 0
        assert theirs.agent.discount == ours.agent.discount and theirs.network.width == ours.network.width
        assert (theirs.train, theirs.env, theirs.evaluation) == (ours.train, ours.env, ours.evaluation)


def test_what_is_unknown_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="tasks='point_V': unknown; nearest: point_U"):
        cells(("point_V",), ("depth",))
    with pytest.raises(ConfigError, match="grids='dept': unknown; nearest: depth"):
        cells(("point_U",), ("dept",))
    with pytest.raises(ConfigError, match=r"depths=\(5,\): no cell is so deep; one of 4, 16, 64"):
        depth_scaling.run(depths=(5,), dry_run=True)


def test_parameters_are_those_counted_by_hand() -> None:
    def network(inputs: int, outputs: int, width: int, depth: int) -> int:
        hidden = (inputs + 1) * width + depth * (width + 1) * width
        return hidden + 2 * (depth + 1) * width + (width + 1) * outputs  # LayerNorm: scale and bias

    config = cell(CPU, "point_U", Setting(8, 4, 12, 128)).config("x")  # obs, goal and action have 2 numbers each
    encoders = network(4, 64, 12, 8) + network(2, 64, 12, 8)
    assert depth_scaling.parameters(config) == encoders + network(4, 4, 12, 4)
    config = cell(CPU, "point_U", Setting(8, 4, 12, 128, "sac")).config("x")
    assert depth_scaling.parameters(config) == 2 * network(6, 1, 12, 8) + network(4, 4, 12, 4)


def test_published_values_have_their_depths_and_epochs() -> None:
    told = depth_scaling.published()
    assert set(told["depth"]) == set(FULL.tasks), "a row for each environment of the full setting"
    for task, one in told["depth"].items():
        assert set(map(int, one["depths"])) == {setting.critic_depth for setting in FULL.settings("depth")}
        for row in one["depths"].values():
            assert len(row["curve"]) * 5 == row["epochs"] and row["epochs"] * 1e6 == FULL.tasks[task]
            assert row["last"] == pytest.approx(row["curve"][-1], abs=0.06)
    humanoid = told["depth"]["humanoid"]["depths"]
    assert (humanoid["4"]["last"], humanoid["64"]["last"]) == (12.57, 649.49)
    steps, values = depth_scaling.published_curves("humanoid")["depth 64"]
    assert steps.shape == values.shape == (20,) and 95e6 < steps[-1] < 100e6
    assert depth_scaling.published_curves("point_U") == {}


def made_up(folder: Path, found: list[study.Cell]) -> None:
    """Write made-up runs of the cells: time at goal grows with a cell's place in the list, and speed is recorded."""
    kept_cells(folder, depth_scaling.STUDY, found)
    for index, one in enumerate(found):
        for seed in range(2):
            run = folder / depth_scaling.STUDY / f"{one.name}-s{seed}"
            logger = JsonlLogger(run)
            for turn in range(8):
                steps = 1_000_000 + turn * 1000
                logger.log({"eval/time_at_goal": min(50.0, turn + index + seed)}, steps)
                timed = {"time/env_steps_per_s": 1.0, "time/seconds": 500.0 + turn, "updates": 10_000 + 10 * turn}
                logger.log(timed, steps)
            logger.close()


def test_every_number_of_the_report_is_a_run_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(study, "RESULTS", tmp_path / "results")
    with pytest.raises(ConfigError, match="no kept runs under"):
        depth_scaling.report(out=tmp_path / "out")
    found = cells(("point_U",), tuple(CPU.grids))
    made_up(tmp_path / "results", found)
    assert depth_scaling.report(out=tmp_path / "out") == 0
    out, told = tmp_path / "out", capsys.readouterr().out
    files = {"depth.png", "baselines.png", "width.png", "methods.png", "point_U-batch.png", "point_U-apart.png"}
    assert files | {"report.html", "numbers.json", "tables.md"} <= {path.name for path in out.iterdir()}
    numbers = json.loads((out / "numbers.json").read_text())
    for name, of_runs in numbers.items():
        for run, one in of_runs.items():
            records = [json.loads(line) for line in (tmp_path / "results/depth_scaling" / run / "metrics.jsonl").open()]
            values = [record["eval/time_at_goal"] for record in records if "eval/time_at_goal" in record]
            assert one["last_time_at_goal"] == pytest.approx(np.mean(values[-5:])) and run.startswith(name)
            assert one["ms_per_update"] == pytest.approx(1000 / 10)
    table = {line.split("|")[1].strip(): line for line in (out / "tables.md").read_text().splitlines() if "|" in line}
    for name, of_runs in numbers.items():
        wanted = study.spread([one["last_time_at_goal"] for one in of_runs.values()], "{:.1f}")
        assert table[name].split("|")[3].strip() == wanted and table[name] in told
    assert "649 ± 27" in table["humanoid, published"] and "[" in table["point_U"]
    assert "| point_U, depth 64 | 2 |" in depth_scaling.section()


def test_grids_compare_what_they_are_named_for(tmp_path: Path) -> None:
    scores = {one.name: [float(index)] for index, one in enumerate(cells(("point_U",), tuple(CPU.grids)))}
    sizes = {
        one.name: float(depth_scaling.parameters(one.config("x"))) for one in cells(("point_U",), ("depth", "width"))
    }
    series = depth_scaling.deep_or_wide(scores, sizes, CPU, "point_U")
    assert series["deeper"][0] == series["wider"][0], "both begin at the same network"
    for points in series.values():
        assert [size for size, _ in points] == sorted(size for size, _ in points)
    methods = depth_scaling.by_method(scores, CPU, "point_U")
    assert {method: [depth for depth, _ in points] for method, points in methods.items()} == {
        method: [4, 16] for method in ("crl", "sac", "td3")
    }
    made_up(tmp_path, cells(("point_U",), ("apart",)))
    kept = study.kept_runs(depth_scaling.STUDY, cells(("point_U",), ("apart",)), tmp_path)
    labels = {f"critic {critic}, actor {actor}" for critic in (4, 16) for actor in (4, 16)}
    assert set(groups_of(kept, CPU, "point_U", "apart")) == labels
    assert (horizon(CPU, "point_U"), horizon(FULL, "arm_push_easy")) == (50, 1000)
