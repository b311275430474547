"""The studies: valid cells; a real run that is stopped, continued, kept and skipped; and their reports."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from configs import PRESETS
from crl_jax import runs
from crl_jax.config import ConfigError, differences, with_overrides
from crl_jax.config.continual import CRITIC_MODES
from crl_jax.runs.loggers import JsonlLogger, read_metrics
from crl_jax.train import train
from envs_mjx import EnvError
from experiments import (
    ablation,
    continual,
    continual_tables,
    depth_arms,
    diagnosis,
    lab_journal,
    locomotion,
    metaworld_suite,
    metaworld_tables,
    offline,
    pages,
    robotics,
    single_goal,
    study,
    topology,
)
from tests.crl_jax.report.test_page import make_run
from tests.crl_jax.test_train import SMALL

STUDIES = {
    "single_goal": lambda: single_goal.cells(tuple(single_goal.TASKS), single_goal.CRL_ARMS),
    "lab_journal": lambda: lab_journal.cells(lab_journal.TASKS),
    "ablation": lambda: ablation.cells(("reach", "point_U", "faucet-close")),
    "locomotion": lambda: locomotion.cells(("ant", "ant_u_maze")),
    "robotics": lambda: [*robotics.states(), *robotics.pixels()],
    "offline": offline.cells,
    "diagnosis": diagnosis.cells,
    "depth_arms": depth_arms.cells,
    "continual": lambda: continual.cells("cw10", continual.ROWS, CRITIC_MODES),
}


@pytest.mark.parametrize("name", STUDIES)
def test_every_cell_validates_under_a_name_of_its_own(name: str) -> None:
    cells = STUDIES[name]()
    configs = [cell.config(name, seed=3) for cell in cells]
    assert len({cell.name for cell in cells}) == len(cells)
    assert all(config.run.name == f"{cell.name}-s3" for config, cell in zip(configs, cells, strict=True))
    assert len({str(with_overrides(config, name="").to_dict()) for config in configs}) == len(cells), "two are the same"


def test_the_journal_varies_one_factor_at_a_time() -> None:
    cells = lab_journal.cells(("push-back",))
    assert len(cells) == 1 + sum(len(levels) - 1 for levels in lab_journal.LEVELS.values())
    centre = cells[0].config("x")
    assert centre.env.num_envs == 128 and centre.network.critic_depth == 4
    for cell in cells:
        config = cell.config("x")
        ratio = 40 if "-utd-" not in cell.name else int(cell.name.split("-")[-1])
        assert config.env_steps_per_iteration() == ratio * config.train.updates_per_iteration
        assert 0.98e6 < config.train.replay_capacity <= 1e6
    short = [cell.name for cell in cells if cell.changes["total_env_steps"] < lab_journal.STEPS]
    assert short == ["push-back-utd-1"], "the others are within the rule"


def test_rows_that_keep_all_tasks_have_room_for_all_of_their_steps() -> None:
    replay, together = (cell.config("x") for cell in continual.cells("cw10", ("replay", "multitask"), ("persistent",)))
    for config in (replay, together):
        rounded = config.train.total_env_steps + config.env_steps_per_iteration() * config.train.iterations_per_round
        assert config.train.replay_capacity * config.env.action_repeat >= rounded
    assert together.env.task.split("+") == list(continual.SEQUENCES["cw10"])
    updates = [one.env_steps_per_iteration() / one.train.updates_per_iteration for one in (replay, together)]
    assert updates[0] == updates[1] and replay.train.total_env_steps == together.train.total_env_steps


def test_unknown_rows_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="tasks='sawyer_bim': unknown; nearest: sawyer_bin"):
        single_goal.cells(("sawyer_bim",), ("single_goal",))
    with pytest.raises(ConfigError, match="preset='reach_cp': no such preset; nearest: reach_cpu"):
        study.Cell("a", "reach_cp").config("x")
    with pytest.raises(ConfigError, match="energies='nrm': unknown"):
        ablation.run(energies=("nrm",))


@pytest.mark.slow
def test_a_study_goes_on_where_it_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    changes = {**SMALL, "task": "point_U", "behaviour_goals": "mixed", "action_noise": "pink"}
    cell = study.Cell("tiny", "reach_cpu", changes)
    stopped = train(cell.config("tests", total_env_steps=160), console=False)  # as a kill leaves it: not kept
    results = tmp_path / "results"
    assert study.run_cells("tests", [cell], [0], results, dry_run=True) == 0 and not results.exists()
    assert study.run_cells("tests", [cell], [0], results) == 0
    kept = results / "tests" / "tiny-s0"
    assert sorted(path.name for path in kept.iterdir()) == ["config.json", "machine.json", "metrics.jsonl"]
    steps = [record["env_steps"] for record in read_metrics(kept)]
    assert steps == sorted(steps) and steps[-1] >= 880 and steps[0] == 0
    assert stopped.counters.env_steps in steps, "continued, not begun anew"
    before = read_metrics(kept)
    assert study.run_cells("tests", [cell], [0], results) == 0
    assert "kept already, skipped" in capsys.readouterr().out and read_metrics(kept) == before
    other = study.Cell("tiny", "reach_cpu", {**changes, "discount": 0.5})
    with pytest.raises(ConfigError, match=r"keeps another run \(discount: 0.99 -> 0.5"):
        study.run_cells("tests", [other], [0], results)
    assert study.kept_runs("tests", [cell], results) == {"tiny": [kept]}
    assert "| tiny | 1 |" in study.markdown_table({"tiny": [kept]})


_OVERLAPPED = """
import pathlib
from experiments import study
from tests.crl_jax.test_train import SMALL
cells = [study.Cell(f"tiny-{overlap}", "reach_cpu", {**SMALL, "overlap": overlap}) for overlap in (False, True)]
raise SystemExit(study.run_cells("tests", cells, [0], pathlib.Path("results")))
"""


@pytest.mark.slow
def test_a_study_makes_overlapped_cells_beside_others(tmp_path: Path) -> None:
    """In a process of its own, because the setting that they need must precede JAX's start."""
    code, paths = [sys.executable, "-c", _OVERLAPPED], {**os.environ, "PYTHONPATH": str(study.ROOT)}
    subprocess.run(code, cwd=tmp_path, env=paths, check=True)
    assert {path.name for path in (tmp_path / "results" / "tests").iterdir()} == {"tiny-False-s0", "tiny-True-s0"}


def test_a_core_that_is_not_there_is_refused() -> None:
    with pytest.raises(EnvError, match="core=999: this process may use"):
        study.run_cells("tests", [], [0], core=999)


def test_keeping_is_all_or_nothing(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 0)
    (tmp_path / "kept.partial").mkdir()
    study.keep(run, tmp_path / "kept")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "run"]
    (run / "metrics.jsonl").unlink()
    with pytest.raises(FileNotFoundError):
        study.keep(run, tmp_path / "other")
    assert not (tmp_path / "other").exists()
    assert not study.is_kept(tmp_path / "other", PRESETS["reach_cpu"])


def test_a_run_that_reached_until_is_kept_whatever_the_budget(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 0)
    ended = read_metrics(run)[-1]["env_steps"]
    config = with_overrides(PRESETS["reach_cpu"], total_env_steps=10**6, until=0.9)
    runs.write_json(run / "config.json", config.to_dict())
    assert study.is_kept(run, config) and study.is_kept(run, with_overrides(config, until=0.8))
    for more in (0.95, 0.0):
        assert not study.is_kept(run, with_overrides(config, until=more))
    longer = with_overrides(config, total_env_steps=2 * 10**6)
    assert study.is_kept(run, longer)
    assert study.is_kept(run, with_overrides(config, until=0.0, total_env_steps=1))
    spent = with_overrides(config, total_env_steps=ended)  # It ended because its budget did.
    runs.write_json(run / "config.json", spent.to_dict())
    assert study.is_kept(run, spent) and not study.is_kept(run, longer)
    with pytest.raises(EnvError, match="task='nope': no such task"):
        metaworld_suite.run(("nope",), dry_run=True)


def test_each_cell_of_the_diagnosis_leaves_one_ingredient_out() -> None:
    cells = diagnosis.cells(("push",))
    assert [cell.name for cell in cells] == [f"push-{name}" for name in diagnosis.LEFT_OUT]
    whole = cells[0].config("any")
    for cell, (_, changes) in zip(cells, diagnosis.LEFT_OUT.values(), strict=True):
        changed = differences(whole, cell.config("any"), ("name",))
        assert {line.split(":")[0] for line in changed} == set(changes), cell.name
    repeat, steps = cells[1].config("any"), PRESETS["metaworld_cpu_steps"]
    assert repeat.env_steps_per_iteration() == steps.env_steps_per_iteration()


def kept_cells(folder: Path, name: str, cells: list[study.Cell]) -> None:
    """Write made-up metrics under each cell's real config; later cells have more evaluations and higher success."""
    for index, cell in enumerate(cells):
        for seed in range(2):
            run = make_run(folder / name / f"{cell.name}-s{seed}", seed, evaluations=3 + index)
            runs.write_json(run / "config.json", cell.config(name, seed).to_dict())


REPORTS = {
    "single_goal": (single_goal, STUDIES["single_goal"], {"learning_curve.png", "all_tasks.png", "sawyer_bin.png"}),
    "lab_journal": (
        lab_journal,
        lambda: lab_journal.cells(("push",)),
        {
            "learning_curve.png",
            "overview.png",
            "push-goal.png",
            "push-envs.png",
            "push-utd.png",
            "push-depth.png",
            "push-behaviour.png",
        },
    ),
    "ablation": (ablation, lambda: ablation.cells(("reach",), energies=("norm", "dot")), {"reach.png"}),
}


@pytest.mark.parametrize("name", REPORTS)
def test_reports_of_kept_cells(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    module, cells, files = REPORTS[name]
    monkeypatch.setattr(study, "RESULTS", tmp_path / "results")
    with pytest.raises(ConfigError, match="no kept runs under"):
        module.report(out=tmp_path / "out")
    kept_cells(tmp_path / "results", name, cells())
    assert module.report(out=tmp_path / "out") == 0
    assert files | {"report.html"} <= {path.name for path in (tmp_path / "out").iterdir()}
    page, told = (tmp_path / "out" / "report.html").read_text(), capsys.readouterr().out
    assert f"python -m experiments.{name} run" in page and "http" not in page
    assert all(f"| {cell.name} | 2 |" in told for cell in cells())
    if name == "lab_journal":
        lines = lab_journal.five_lines(study.kept_runs(name, cells()), ("push",))
        assert len(lines) == 5 and all(line in told for line in lines)
        assert lines[3].startswith("depth: push: 16 ") and ", 4 " in lines[3], "the better level first"


def test_engines_stand_in_tables_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(study, "RESULTS", tmp_path / "results")
    with pytest.raises(ConfigError, match="engines='sprin': unknown; nearest: spring"):
        locomotion.run(engines=("sprin",), dry_run=True)
    kept_cells(tmp_path / "results", locomotion.STUDY, locomotion.cells())
    for run in (tmp_path / "results" / locomotion.STUDY).iterdir():
        logger = JsonlLogger(run)
        logger.log({"eval/time_at_goal": 7.0}, 1_000_000)
        logger.close()
    assert locomotion.report(out=tmp_path / "out") == 0 and (tmp_path / "out" / "locomotion.png").exists()
    tables = capsys.readouterr().out.split("\n\n")[:2]
    for engine, table in zip(("c", "spring"), tables, strict=True):
        assert f"| ant-{engine} | 2 |" in table and "| 7 | 7 |" in table and table.count("| ant-") == 1


def test_depths_are_compared_after_as_many_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shallow, deep = depth_arms.cells(("pick-place",), (4, 16))
    for cell, seconds in ((shallow, 60), (deep, 120)):
        run = tmp_path / depth_arms.STUDY / f"{cell.name}-s0"
        run.mkdir(parents=True)
        runs.write_json(run / "config.json", cell.config(depth_arms.STUDY).to_dict())
        logger = JsonlLogger(run)
        for number in (1, 2, 3, 4):
            told = {"eval/success_final": number / 10, "eval/success_any": 0.5, "time/seconds": number * seconds}
            logger.log(told, number * 1000)
        logger.close()
    monkeypatch.setattr(study, "RESULTS", tmp_path)
    monkeypatch.setattr(depth_arms, "metric_figure", lambda *given: given[3])
    rows = [row.split("|") for row in depth_arms.section().splitlines() if row.startswith("| pick-place")]
    assert [row[3].strip() for row in rows] == ["0.40", "0.40"], "as many env steps"
    assert [row[5].strip() for row in rows] == ["0.40", "0.20"], "as many minutes: half as far"


def test_sections_stand_between_their_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "README.md"
    page.write_text("a\n<!-- one:begin -->\nold\n<!-- one:end -->\nb\n")
    pages.write({page: {"one": lambda: r"new \1"}})
    assert page.read_text() == "a\n<!-- one:begin -->\nnew \\1\n<!-- one:end -->\nb\n"
    before = page.read_text()
    with pytest.raises(ConfigError, match="no marks <!-- two:begin"):
        pages.write({page: {"one": lambda: "newer", "two": lambda: ""}})
    assert page.read_text() == before
    # Pictures stay as they are.
    drawers = (
        (metaworld_tables, "tasks_figure"),
        *((module, "curve_figure") for module in (single_goal, robotics, offline)),
    )
    for module, drawn in drawers:
        monkeypatch.setattr(module, drawn, lambda groups, path, *_: path)
    monkeypatch.setattr(metaworld_tables, "film", lambda: metaworld_tables.ROOT / "docs" / "fifty.webp")
    monkeypatch.setattr(lab_journal, "levels_figure", lambda rows, label, path, marked: path)
    for module in (ablation, diagnosis):
        monkeypatch.setattr(module, "heat_map", lambda *given: given[4])
    monkeypatch.setattr(locomotion, "metric_figure", lambda *given: given[3])
    monkeypatch.setattr(topology, "topology_figure", lambda told, curves, path: path)
    monkeypatch.setattr(topology, "plan_figure", lambda told, path: path)
    monkeypatch.setattr(continual_tables, "sequence_figure", lambda *given: given[2])
    monkeypatch.setattr(continual_tables, "heat_maps", lambda *given: given[3])
    for path, sections in pages.PAGES.items():
        real = path.read_text()
        for mark, section in sections.items():
            between = real.split(f"<!-- {mark}:begin -->\n")[1].split(f"\n<!-- {mark}:end -->")[0]
            assert between == pages.placed(section(), path), f"{mark}: run `make results`"
        pictures = re.findall(r"!\[[^]]*\]\((?!http)([^)]+)\)", real)
        assert all((path.parent / picture).exists() for picture in pictures), path


def test_kept_runs_are_those_that_their_presets_would_make() -> None:
    """Fails if a preset has changed since its kept runs were made."""
    for preset in {*metaworld_tables.PRESETS, *metaworld_tables.BASELINES}:
        for kept in (study.RESULTS / preset).glob("*"):
            known = runs.load(kept)
            steps = {"total_env_steps": known.train.total_env_steps, "until": known.evaluation.until}
            cell = study.Cell(known.env.task, preset, {"task": known.env.task, **steps})
            assert kept.name == f"{cell.name}-s{known.run.seed}" and study.is_kept(
                kept, cell.config(preset, known.run.seed)
            )
