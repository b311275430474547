"""`crl doctor` tells what is there, and exits with 0 whatever is broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from configs import PRESETS
from crl_jax import cli
from tests import ROOT


def test_it_tells_versions_devices_and_engines(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(PRESETS, ["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["engines"]["c"].startswith("works") and told["engines"].keys() == {"c", "warp", "jax"}
    assert {"jax", "mujoco", "warp-lang"} <= told["versions"].keys()
    assert told["devices"] and told["films"].startswith("by ") and "GiB" in told["free memory"]


def test_what_is_broken_is_a_line_of_it() -> None:
    environment = {**os.environ, "JAX_PLATFORMS": "nope", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "configs.main", "doctor", "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    assert "does not work" in told["devices"] and "nope" in told["devices"]
    assert told["settings"]["JAX_PLATFORMS"] == "nope"
