"""Loggers: records survive a kill and a resume, and contain only values that were computed."""

from __future__ import annotations

import io
import json
import re
import struct
import sys
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from crl_jax.config import ConfigError
from crl_jax.runs import loggers
from crl_jax.runs.loggers import ConsoleLogger, JsonlLogger, make_loggers, read_metrics
from tests import ROOT


def test_jsonl_writes_plain_finite_numbers(tmp_path):
    logger = JsonlLogger(tmp_path)
    metrics = {
        "eval/success_any": np.float32(0.5),
        "updates": np.int64(3),
        "train/alpha": jnp.float32(0.25),
        "train/steps": jnp.int32(4),
        "zero": 0,
        "nan": float("nan"),
        "inf": jnp.inf,
    }
    logger.log(metrics, 2**40)
    line = (tmp_path / "metrics.jsonl").read_text()
    assert line.endswith("}\n"), "flushed before close"
    assert json.loads(line) == {
        "env_steps": 2**40, "eval/success_any": 0.5, "updates": 3, "train/alpha": 0.25, "train/steps": 4, "zero": 0,
    }  # fmt: skip
    assert '"updates": 3,' in line and "null" not in line and "NaN" not in line
    logger.close()


def test_resume_drops_what_came_after_the_checkpoint(tmp_path):
    logger = JsonlLogger(tmp_path)
    for step in (0, 100, 200, 300):
        logger.log({"train/a": step}, step)
        logger.log({"eval/a": step}, step)
    logger.close()
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"env_steps": 400, "train/a')
    assert [record["env_steps"] for record in read_metrics(tmp_path)] == [0, 0, 100, 100, 200, 200, 300, 300]
    logger = JsonlLogger(tmp_path, resume_env_steps=200)
    logger.log({"train/a": -1}, 300)
    logger.close()
    records = read_metrics(tmp_path)
    assert [record["env_steps"] for record in records] == [0, 0, 100, 100, 200, 200, 300]
    assert records[-1]["train/a"] == -1
    JsonlLogger(tmp_path).close()
    assert read_metrics(tmp_path) == []


def test_reading_tolerates_a_torn_last_line_only(tmp_path):
    assert read_metrics(tmp_path / "nowhere") == []
    path = tmp_path / "metrics.jsonl"
    for torn in ('{"env_st', "5", '{"a": 1}\x00'):
        path.write_text('{"env_steps": 1}\n' + torn)
        assert read_metrics(tmp_path) == [{"env_steps": 1}]
    path.write_text('{"env_st\n{"env_steps": 1}\n')
    with pytest.raises(ValueError, match=r"metrics.jsonl:1: not a JSON record"):
        read_metrics(tmp_path)


def test_plain_console_is_sparse_and_shows_the_end():
    now = [0.0]
    output = io.StringIO()
    logger = ConsoleLogger(1_000_000, console=Console(file=output), clock=lambda: now[0])
    for tick in range(25):
        now[0] = float(tick)
        speeds = {"time/env_steps_per_s": 2000.0, "time/updates_per_s": 50.0}
        logger.log(
            speeds | ({"eval/success_any": 0.5, "eval/success_final": 0.25} if tick == 15 else {}), (tick + 1) * 10_000
        )
    logger.close()
    first, *lines = output.getvalue().splitlines()
    assert first.startswith("compiling") and len(lines) == 4
    assert lines[0] == "10,000/1,000,000 env steps | 0:08:15 left | 2,000 env steps/s | 50 updates/s"
    assert "success" not in lines[1] and "success 25%" in lines[2]
    assert lines[-1].startswith("250,000/1,000,000")


def test_progress_bar_on_a_terminal():
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=150)
    logger = ConsoleLogger(1000, resume_env_steps=100, console=console)
    logger.log({"time/env_steps_per_s": 10.0, "eval/success_any": 1.0, "eval/success_final": 1.0}, 500)
    logger.close()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output.getvalue())
    assert "500/1,000 env steps" in text and "success 100%" in text


def test_tensorboard(tmp_path):
    made = make_loggers(tmp_path, 100, tensorboard=True, console=False)
    with loggers.closing(made):
        for logger in made:
            logger.log({"train/a": 1.0}, 10)
    assert len(made) == 2 and list((tmp_path / "tensorboard").glob("events.out.tfevents*"))
    assert read_metrics(tmp_path) == [{"env_steps": 10, "train/a": 1.0}]


@pytest.mark.parametrize(("package", "field"), [("tensorboardX", "tensorboard"), ("wandb", "wandb")])
def test_a_missing_package_is_one_line_and_touches_nothing(tmp_path, monkeypatch, package, field):
    JsonlLogger(tmp_path).log({"a": 1}, 5)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=f"^{field}=True: needs the package {package}") as caught:
        make_loggers(tmp_path, 100, console=False, **{field: True})
    assert "\n" not in str(caught.value)
    assert read_metrics(tmp_path) == [{"env_steps": 5, "a": 1}]


def history(path):
    """The rows that `wandb sync` would send from an offline run's file: a LevelDB log of protobuf records."""
    from wandb.proto import wandb_internal_pb2

    data, at, whole = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            record = wandb_internal_pb2.Record.FromString(whole)
            whole = b""
            if record.WhichOneof("record_type") == "history":
                yield {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}


def written(folder, count):
    """The runs' files, once they hold `count` rows: offline, `finish` does not wait for wandb's own process."""
    end = time.monotonic() + 30
    while True:
        runs = sorted((folder / "wandb").glob("offline-run-*/*.wandb"))
        if sum(len(list(history(run))) for run in runs) >= count or time.monotonic() > end:
            return runs
        time.sleep(0.2)


@pytest.mark.slow
def test_wandb_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    for resume in (0, 10):
        made = make_loggers(
            tmp_path, 100, wandb=True, console=False, resume_env_steps=resume, config={"a": 1}, name="x"
        )
        with loggers.closing(made):
            for logger in made:
                logger.log({"train/a": 1.0}, resume + 10)
        identity = Path(tmp_path / "wandb_id.txt").read_text().strip()
    runs = written(tmp_path, 2)
    assert len(runs) == 2 and all(run.stem == f"run-{identity}" for run in runs)
    assert [[row["_step"] for row in history(run)] for run in runs] == [[10], [20]], (
        "segments do not lie over each other"
    )
    assert [row["env_steps"] for run in runs for row in history(run)] == [10, 20]
    assert [record["env_steps"] for record in read_metrics(tmp_path)] == [10, 20]


def test_importing_needs_no_optional_package_and_no_device():
    import subprocess

    code = (
        "import sys, crl_jax.runs.loggers, crl_jax.report.page, crl_jax.runs.checkpoint, crl_jax.play.video;"
        "late = {'matplotlib', 'wandb', 'tensorboardX', 'imageio_ffmpeg'} & set(sys.modules); assert not late, late;"
        "from jax._src import xla_bridge; assert not xla_bridge._backends"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
