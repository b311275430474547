"""The page that follows running jobs: what it tells of a run, what it serves, and how it looks in a browser."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from configs import PRESETS
from crl_jax.config import ConfigError, with_overrides
from crl_jax.report import live, page
from crl_jax.runs.lock import locked
from tests.support.browser import needs_chromium, opened


def _record(folder: Path, steps: int, seconds: float, **more: float) -> None:
    with open(folder / "metrics.jsonl", "a") as file:
        file.write(json.dumps({"env_steps": steps, "time/seconds": seconds, **more}) + "\n")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "push-s0"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(PRESETS["reach_cpu"].to_dict()))
    return folder


def test_a_run_is_followed_from_its_start_to_its_end(run: Path) -> None:
    total = PRESETS["reach_cpu"].train.total_env_steps
    assert live.progress(run).status == "not begun"
    with locked(run):
        assert live.progress(run).status == "starting"
        _record(run, 1000, 10.0)
        _record(run, 3000, 14.0, **{"eval/success_any": 0.75, "eval/success_final": 0.5})
        row = live.progress(run)
        assert (row.status, row.env_steps, row.total_env_steps) == ("running", 3000, total)
        assert (row.success_any, row.success_final, row.env_steps_per_s) == (0.75, 0.5, 500.0)
        assert row.seconds_left == pytest.approx((total - 3000) / 500)
    row = live.progress(run)
    assert row.status == "stopped" and row.seconds_left is None
    _record(run, total, 20.0)
    assert live.progress(run).status == "ended"


def test_a_run_that_ended_early_has_reached_what_was_asked_for(run: Path) -> None:
    (run / "config.json").write_text(json.dumps(with_overrides(PRESETS["reach_cpu"], until=0.95).to_dict()))
    for steps, success in ((1000, 0.97), (2000, 0.9), (3000, 0.96)):
        _record(run, steps, 10.0, **{"eval/success_any": 1.0, "eval/success_final": success})
    assert live.progress(run).status == "stopped"
    _record(run, 4000, 20.0, **{"eval/success_any": 1.0, "eval/success_final": 0.95})
    assert live.progress(run).status == "reached 95%"


@pytest.mark.parametrize("damage", ["{", "null", '{"train": {"total_env_steps": "x"}}'])
def test_a_damaged_run_is_a_row_beside_the_others(run: Path, damage: str) -> None:
    _record(run, 1000, 10.0)
    other = run.parent / "other"
    other.mkdir()
    (other / "config.json").write_text(damage)
    watch = live.Watch([run.parent])
    table_ = watch.state()["table"]
    watch.close()
    assert "damaged" in table_ and "push-s0" in table_ and "1,000" in table_


def test_a_damaged_record_is_a_damaged_run(run: Path) -> None:
    (run / "metrics.jsonl").write_text('{"env_steps": 1}\ngarbage\n{"env_steps": 2}\n')
    assert live.progress_or_damaged(run).status == "damaged"


def test_a_killed_process_is_not_running(run: Path) -> None:
    _record(run, 1000, 10.0)
    child = subprocess.Popen(["true"])
    child.wait()
    (run / ".lock").write_text(f"process {child.pid} on {os.uname().nodename}\n")
    assert live.progress(run).status == "stopped"
    (run / ".lock").write_text("process 1 on another-host\n")
    assert live.progress(run).status == "running"


@pytest.mark.parametrize(("seconds", "told"), [(None, "-"), (40, "40 s"), (720, "12 min"), (12600, "3.5 h")])
def test_durations(seconds: float | None, told: str) -> None:
    assert page.duration(seconds) == told


def test_speed_is_that_of_the_last_records(run: Path) -> None:
    for number in range(30):
        _record(run, 100 * number, number if number < 20 else 20 + 10 * (number - 20))
    assert live.progress(run).env_steps_per_s == pytest.approx(10.0)


@pytest.fixture
def served(run: Path) -> Iterator[str]:
    stop = threading.Event()
    said: list[str] = []
    ready = threading.Event()

    def told(line: str) -> None:
        said.append(line)
        ready.set()

    page = threading.Thread(target=live.serve, args=([run.parent], "localhost", 0, 0.5, told, stop.is_set))
    page.start()
    assert ready.wait(10)
    yield said[0].split()[0]
    stop.set()
    page.join(10)
    assert not page.is_alive()


def _get(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=20) as answer:
        body: bytes = answer.read()
        return body


def test_the_page_follows_metrics_curves_films_and_new_runs(run: Path, served: str) -> None:
    assert b"state.json" in _get(f"{served}/")
    before = json.loads(_get(f"{served}/state.json"))
    assert before["said"] == "1 run, 0 running" and before["curves"] == "" and before["films"] == ""
    with pytest.raises(urllib.error.HTTPError, match="404"):
        _get(f"{served}/curves.png")
    _record(run, 1000, 10.0, **{"eval/success_any": 0.75, "eval/success_final": 0.5})
    (run / "videos").mkdir()
    (run / "videos" / "policy.mp4").write_bytes(b"a film")
    after = json.loads(_get(f"{served}/state.json"))
    assert "50%" in after["table"] and "1,000 of" in after["table"]
    assert _get(f"{served}/{after['curves']}").startswith(b"\x89PNG")
    assert _get(f"{served}/film?run=0") == b"a film" and "film?run=0" in after["films"]
    assert json.loads(_get(f"{served}/state.json"))["curves"] == after["curves"], "drawn once"
    _record(run, 1500, 15.0, **{"train/critic_loss": 1.0})
    assert json.loads(_get(f"{served}/state.json"))["curves"] == after["curves"], "no evaluation has come in"
    _record(run, 2000, 20.0, **{"eval/success_any": 1.0, "eval/success_final": 1.0})
    assert json.loads(_get(f"{served}/state.json"))["curves"] != after["curves"], "drawn anew"
    shutil.copytree(run, run.parent / "<second>")
    assert json.loads(_get(f"{served}/state.json"))["said"].startswith("2 runs")
    assert "&lt;second&gt;" in json.loads(_get(f"{served}/state.json"))["table"]
    for path in ("film?run=7", "film?run=..", "film", "config.json", "../config.json"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            _get(f"{served}/{path}")


def test_the_page_only_reads(run: Path, served: str) -> None:
    _record(run, 1000, 10.0, **{"eval/success_any": 0.75, "eval/success_final": 0.5})
    before = sorted((path, path.stat().st_mtime_ns) for path in run.parent.rglob("*"))
    _get(f"{served}/state.json")
    host, port = served.removeprefix("http://").split(":")
    with contextlib.closing(http.client.HTTPConnection(host, int(port), timeout=10)) as connection:
        connection.request("POST", "/state.json", body=b"{}")
        assert connection.getresponse().status == 501
    assert sorted((path, path.stat().st_mtime_ns) for path in run.parent.rglob("*")) == before


def test_what_cannot_be_followed_is_one_line(tmp_path: Path, served: str) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        live.Watch([tmp_path / "nothing"])
    port = int(served.rsplit(":", 1)[1])
    with pytest.raises(ConfigError, match=rf"port={port}: cannot serve at localhost"):
        live.serve([tmp_path], "localhost", port, 1.0, print, lambda: True)


@needs_chromium
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_follows_a_run(run: Path, served: str, tmp_path: Path, width: int) -> None:
    _record(run, 1000, 10.0, **{"eval/success_any": 0.75, "eval/success_final": 0.5})
    with opened(served, tmp_path / "browser", width) as tab:
        tab.wait("document.body.innerText.includes('50%')")
        assert "1 run, 0 running" in tab.text() and "push-s0" in tab.text()
        drawn = "document.querySelector('#curves').naturalWidth > 0"
        tab.wait(drawn)
        first = tab.js("document.querySelector('#curves').src")
        assert tab.js("document.documentElement.scrollWidth <= innerWidth"), "nothing is wider than the page"
        _record(run, 2000, 20.0, **{"eval/success_any": 1.0, "eval/success_final": 1.0})
        tab.wait("document.body.innerText.includes('100%')")
        tab.wait(f"document.querySelector('#curves').src !== {first!r} && {drawn}")
