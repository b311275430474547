"""The persistent compilation cache: which folder is used, and that a run with cached programs gives equal results."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests import ROOT

_CHOOSE = "import jax; {}; from crl_jax.scale import compilation_cache; print(compilation_cache.enable())"
_RUN = """
import json, sys
import jax
from configs import PRESETS
from crl_jax.config import with_overrides
from crl_jax.train import train
from tests.crl_jax.test_train import SMALL

hits = []
jax.monitoring.register_event_listener(lambda name, **_: hits.append(name.endswith("cache_hits")))
config = with_overrides(PRESETS["reach_cpu"], **{**SMALL, "task": "point_U", "runs": sys.argv[1], "name": sys.argv[2]})
if len(sys.argv) > 3:
    config = with_overrides(config, total_env_steps=int(sys.argv[3]))
resume = sys.argv[1] + "/" + sys.argv[2] if len(sys.argv) > 4 else None
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
result = train(config, resume, console=False)
print(json.dumps({"evaluation": result.evaluation, "hits": sum(hits)}))
"""


def run(code: str, *arguments: str, **environment: str) -> str:
    """The last line that a fresh process prints. There, the test suite's switch does not disable the cache."""
    known = {key: value for key, value in os.environ.items() if key != "JAX_ENABLE_COMPILATION_CACHE"}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env=known | environment, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("statement", "environment", "wanted"),
    [
        ("pass", {}, "{tmp}/crl_jax/xla"),
        ("pass", {"JAX_COMPILATION_CACHE_DIR": "/elsewhere"}, "/elsewhere"),
        ("jax.config.update('jax_compilation_cache_dir', '/mine')", {}, "/mine"),
        ("pass", {"JAX_ENABLE_COMPILATION_CACHE": "false"}, "None"),
        ("pass", {"XDG_CACHE_HOME": "/proc/no-folder-can-be-made-here"}, "None"),
    ],
    ids=["default", "environment", "config", "off", "unwritable"],
)
def test_whose_folder_is_taken(statement: str, environment: dict, wanted: str, tmp_path) -> None:
    chosen = run(_CHOOSE.format(statement), **{"XDG_CACHE_HOME": str(tmp_path)} | environment)
    assert chosen == wanted.format(tmp=tmp_path)
    assert list(tmp_path.iterdir()) == ([tmp_path / "crl_jax"] if wanted.startswith("{tmp}") else [])


@pytest.mark.slow
def test_a_second_process_compiles_less_and_computes_the_same(tmp_path) -> None:
    environment = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    first = json.loads(run(_RUN, str(tmp_path), "first", **environment))
    run(_RUN, str(tmp_path), "second", "400", **environment)
    again = json.loads(run(_RUN, str(tmp_path), "second", "880", "resume", **environment))
    assert first["hits"] == 0 < again["hits"]
    assert again["evaluation"] == first["evaluation"], "resumed with cached programs: the same to the last bit"
