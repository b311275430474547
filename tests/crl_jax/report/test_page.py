"""Statistics with known answers; reports and videos from made-up runs."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from scipy.stats import trim_mean

from crl_jax import report
from crl_jax.config import ConfigError
from crl_jax.play.video import write_video
from crl_jax.report import figures, stats
from crl_jax.runs import recorded
from crl_jax.runs.loggers import JsonlLogger

SCORES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40)


@given(SCORES)
def test_iqm_is_the_trimmed_mean(scores):
    assert stats.iqm(scores) == pytest.approx(trim_mean(scores, 0.25), rel=1e-9, abs=1e-6)


def test_iqm_pools_runs_and_tasks():
    assert stats.iqm(np.arange(8).reshape(2, 4)) == 3.5
    assert stats.iqm([0, 1, 1, 1, 1, 1, 1, 1000]) == 1.0


def test_bootstrap_is_stratified_over_tasks():
    constant = np.tile([0.0, 10.0, 5.0], (4, 1))
    mean = lambda table: float(table.mean())  # noqa: E731
    assert stats.bootstrap_interval(constant, mean, 200) == (5.0, 5.0), "only rows within a task are exchanged"
    scores = np.random.default_rng(0).normal(size=(40, 5))
    low, high = stats.bootstrap_interval(scores, mean)
    assert (high - low) == pytest.approx(2 * 1.96 / np.sqrt(200), rel=0.15)
    assert low < scores.mean() < high
    assert stats.bootstrap_interval(scores, mean) == (low, high), "the same draw every time"
    assert stats.bootstrap_interval([0.2, 0.4, 0.6])[0] >= 0.2


def test_area_best_and_last():
    assert stats.area_under_curve([0, 10, 20], [0, 1, 1]) == pytest.approx(0.75)
    assert stats.area_under_curve([5], [0.3]) == pytest.approx(0.3)
    assert stats.best_and_last([0.1, 0.9, 0.4]) == (0.9, 0.4)
    for bad in (lambda: stats.iqm([]), lambda: stats.iqm([np.nan]), lambda: stats.area_under_curve([1, 0], [0, 0])):
        with pytest.raises(ValueError):
            bad()


def make_run(
    folder: Path, seed: int, task: str = "reach", evaluations: int = 6, delay: float = 0.0, **config: object
) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"env": {"task": task}, "seed": seed, **config}))
    logger = JsonlLogger(folder)
    for index in range(evaluations):
        steps = index * 100_000 + seed * 1000
        training = {"updates": index * 100, "train/alpha": 0.9**index, "train/logits_pos": -index}
        logger.log(training | {"time/seconds": delay + index * 30.0}, steps)
        success = min(1.0, index / 5 + 0.02 * seed)
        logger.log({"eval/success_any": success, "eval/success_final": success / 2}, steps)
    logger.close()
    return folder


def test_summary_and_table(tmp_path):
    run = make_run(tmp_path / "a", seed=0)
    found = report.summary(run)
    assert found["task"] == "reach" and found["seed"] == 0 and found["env_steps"] == 500_000
    assert found["seconds"] == 150.0 and found["env_steps_per_s"] == pytest.approx(500_000 / 150)
    assert (found["best_success_any"], found["last_success_any"]) == (1.0, 1.0)
    assert found["auc_success_any"] == pytest.approx(0.5) and found["last_success_final"] == 0.5
    assert "compile_seconds" not in found, "not recorded means absent"
    output = io.StringIO()
    Console(file=output, width=150).print(report.table([run, make_run(tmp_path / "b", seed=1)]))
    assert "500,000" in output.getvalue() and "100%" in output.getvalue()


def test_report_of_one_run_is_self_contained(tmp_path):
    run = make_run(tmp_path / "a <b>", seed=0, command=["crl", "train", "reach", "--name", "a <b>"])
    write_video(_frames(4), run / "videos" / "last.mp4", fps=10)
    page = report.write_report(run)
    text = page.read_text()
    assert page == run / "report.html" and (run / "learning_curve.png").stat().st_size > 10_000
    assert (run / "diagnostics.png").exists()
    assert set(re.findall(r'src="(.{22})', text)) == {"data:image/png;base64,", "data:video/mp4;base64,"}
    assert "http" not in text and "crl train reach --name &#x27;a &lt;b&gt;&#x27;" in text and "<b>" not in text


def test_report_of_seeds_and_tasks(tmp_path):
    runs = [make_run(tmp_path / f"{task}{seed}", seed, task) for task in ("reach", "push") for seed in range(3)]
    page = report.write_report(tmp_path, tmp_path / "both")
    text = page.read_text()
    assert text.count("data:image/png") == 3 + len(runs), "by task, all tasks, side by side, and each run's own"
    assert "http" not in text and all(f"<td>{name}</td>" in text for name in ("push", "reach", "all tasks"))
    for band in ("range", "bootstrap"):
        path = figures.curve_figure({"reach": runs[:3], "push": runs[3:]}, tmp_path / f"{band}.png", band)
        assert path.stat().st_size > 10_000
    # One took far longer: no minutes in common, and a line for each.
    late = make_run(tmp_path / "late", 3, delay=10_000.0)
    assert figures.tasks_figure({"reach": runs[:3], "push": runs[3:]}, tmp_path / "tasks.png").stat().st_size > 10_000
    assert figures.curve_figure({"reach": [runs[0], late]}, tmp_path / "late.png").stat().st_size > 10_000
    with pytest.raises(ConfigError, match="6 runs need a folder"):
        report.write_report(runs)


@given(st.lists(st.lists(st.floats(-10, 10), min_size=1, max_size=4), min_size=1, max_size=3))
def test_the_interval_of_ragged_tasks_holds_what_was_seen(strata):
    low, high = stats.iqm_interval(strata, repetitions=50)
    pooled = [score for scores in strata for score in scores]
    assert min(pooled) - 1e-9 <= low <= high <= max(pooled) + 1e-9
    assert stats.iqm_curve(strata) == pytest.approx(stats.iqm(pooled), abs=1e-9)


def test_the_interval_of_a_curve_is_that_of_each_point():
    curves = np.random.default_rng(0).normal(size=(5, 2, 7))  # runs, tasks, points
    low, high = stats.iqm_interval([curves[:, 0], curves[:, 1]])
    for point in range(7):
        assert stats.bootstrap_interval(curves[..., point]) == pytest.approx((low[point], high[point]))


def test_runs_are_grouped_by_what_differs_but_the_seed(tmp_path):
    for seed in range(2):
        make_run(tmp_path / f"a{seed}", seed, "push", agent={"discount": 0.99}, run={"name": f"a{seed}"})
        make_run(tmp_path / f"b{seed}", seed, "push", agent={"discount": 0.9}, network={"width": 256})
        make_run(tmp_path / "deeper" / f"c{seed}", seed, "reach")  # an older config.json: what it lacks has its default
    runs = recorded.find_runs([tmp_path])
    assert [run.name for run in runs] == ["a0", "a1", "b0", "b1", "c0", "c1"]
    assert recorded.find_runs([tmp_path / "a0", tmp_path]) == runs, "none twice"
    names = {label: [run.name for run in group] for label, group in recorded.groups_of(runs).items()}
    assert names == {
        "push, discount 0.99": ["a0", "a1"],
        "push, discount 0.9": ["b0", "b1"],
        "reach, discount 0.99": ["c0", "c1"],
    }
    pooled = recorded.groups_of(runs, apart=False)
    assert {label: len(group) for label, group in pooled.items()} == {"discount 0.99": 4, "discount 0.9": 2}
    assert list(recorded.groups_of(runs[:2])) == ["push"]
    with pytest.raises(ConfigError, match="nothing_here is no run folder"):
        recorded.find_runs([tmp_path / "nothing_here"])


def test_groups_that_differ_in_many_fields_keep_apart(tmp_path):
    for index in range(2):
        agent = {name: index + 1 for name in ("discount", "critic_lr", "actor_lr", "alpha_lr", "max_grad_norm")}
        make_run(tmp_path / f"r{index}", 0, agent=agent)
    make_run(tmp_path / "r2", 0, agent=agent | {"max_grad_norm": 9})
    assert len(recorded.groups_of(recorded.find_runs([tmp_path]))) == 3


def test_aggregates_are_those_of_the_summaries(tmp_path):
    runs = [make_run(tmp_path / f"{task}{seed}", seed, task) for task in ("reach", "push") for seed in range(4)]
    (row,) = report.aggregate({"all": runs})
    assert (row["runs"], row["tasks"]) == (8, 2)
    scores = np.array([report.summary(run)["auc_success_any"] for run in runs]).reshape(2, 4)
    assert row["auc_success_any"] == pytest.approx((stats.iqm(scores), *stats.bootstrap_interval(scores.T)))
    assert report.interval(row["best_success_any"]) == "1.00 [1.00, 1.00]" and report.interval(None) == "-"


def test_the_seconds_of_a_run_are_split(tmp_path):
    run = tmp_path / "a"
    run.mkdir()
    (run / "config.json").write_text("{}")
    logger = JsonlLogger(run)
    logger.log({"time/compile_seconds": 7.0, "time/seconds": 0.0}, 0)
    seconds = 5.0  # of the warm-up
    for index in range(4):
        seconds += 2.0
        speed = {"time/env_steps_per_s": 50.0, "updates": 10 * (index + 1)}
        logger.log(speed | {"time/seconds": seconds}, 1000 + 100 * (index + 1))
        if index % 2:
            seconds += 0.5
            logger.log({"eval/success_any": 0.0, "time/seconds": seconds}, 1000 + 100 * (index + 1))
    logger.close()
    assert recorded.throughput(run) == {
        "compile_seconds": 7.0,
        "warm_up_seconds": 5.0,
        "training_seconds": 8.0,
        "evaluation_seconds": 1.0,
        "env_steps_per_s": 50.0,
        "updates_per_s": 5.0,
    }
    page = report.write_report(run)
    assert "warm up seconds" in page.read_text()


def test_runs_that_cannot_be_reported(tmp_path):
    with pytest.raises(ConfigError, match="is no run folder"):
        report.summary(tmp_path)
    run = make_run(tmp_path / "a", seed=0, evaluations=0)
    with pytest.raises(ConfigError, match="no metrics under"):
        report.summary(run)
    logger = JsonlLogger(run)
    logger.log({"updates": 1}, 10)
    logger.close()
    assert report.summary(run) == {"name": "a", "task": "reach", "seed": 0, "env_steps": 10, "updates": 1}
    assert figures.diagnostics_figure(run, tmp_path / "none.png") is None
    with pytest.raises(ConfigError, match="no evaluation recorded yet"):
        report.write_report(run)


def _frames(count: int, height: int = 64, width: int = 48) -> np.ndarray:
    frames = np.zeros((count, height, width, 3), np.uint8)
    for index in range(count):
        frames[index, :, index * 2 : index * 2 + 8] = (255, 128, 0)
    return frames


@pytest.mark.parametrize(("height", "width"), [(64, 48), (63, 47)])
def test_video_frames_come_back(tmp_path, height, width):
    import imageio.v3

    path = write_video(_frames(12, height, width), tmp_path / "videos" / "a.mp4", fps=10)
    read = imageio.v3.imread(path, plugin="FFMPEG")
    assert read.shape == (12, 64, 48, 3)
    for index in (0, 6, 11):
        assert abs(int(read[index, 32, :, 0].argmax()) - index * 2) <= 7, "the stripe moves"
    for bad in (np.zeros((0, 4, 4, 3), np.uint8), np.zeros((2, 4, 4, 3)), np.zeros((2, 4, 4), np.uint8)):
        with pytest.raises(ValueError, match="wanted"):
            write_video(bad, path, fps=10)
