"""The worked examples of docs/extend.md: each diff applies, and its command trains."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT

PAGE = ROOT / "docs" / "extend.md"
EXAMPLES: dict[str, str] = dict(
    re.findall(r"literalinclude} extend/(\w+)\.diff.*?\$ crl (.*?)\n", PAGE.read_text(), re.S)
)
"""Name of the diff -> the command shown below it, without `crl`."""
SMALL = "--num-envs 64 --width 32 --eval-episodes 8 --no-video --runs runs"
SHORT = {
    "task": "--total-env-steps 40000 --min-replay 5000 --replay-capacity 12288",
    "body": "--total-env-steps 12000 --min-replay 5000 --replay-capacity 11904 --horizon 150",
    "loss": "--total-env-steps 12000 --min-replay 5000 --replay-capacity 11904",
    "agent": "--total-env-steps 20000 --min-replay 1000 --replay-capacity 15872 --batch-size 64",
    "continual": "--steps-per-task 45000 --min-replay 5000 --replay-capacity 12288",
}
"""Sizes with which a command ends within a minute."""
CRL = (sys.executable, "-P", "-c", "import sys; sys.path.insert(0, '.'); from configs import main; main.main()")
"""The command `crl` of the packages in the working directory."""


def test_each_diff_is_on_the_page() -> None:
    assert set(EXAMPLES) == set(SHORT) == {path.stem for path in (ROOT / "docs" / "extend").iterdir()}


def _apply(name: str, folder: Path) -> None:
    diff = ROOT / "docs" / "extend" / f"{name}.diff"
    done = subprocess.run(["git", "apply", str(diff)], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _copy(folder: Path) -> Path:
    for package in ("crl_jax", "envs_mjx", "configs"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def test_the_diffs_apply_one_after_another(tmp_path: Path) -> None:
    folder = _copy(tmp_path)
    for name in EXAMPLES:
        _apply(name, folder)
    for words in (["envs", "push-left", "swimmer"], ["train", "--help"]):
        command = [*CRL, *words]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "swimmer" in done.stdout if words[0] == "envs" else "gcsl" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_trains(name: str, tmp_path: Path) -> None:
    _apply(name, _copy(tmp_path))
    words = shlex.split(f"{EXAMPLES[name]} {SMALL} {SHORT[name]}")
    command = [*CRL, *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert "success at the last step" in done.stdout, done.stdout
    assert len(list((tmp_path / "runs").glob("*/metrics.jsonl"))) == 1
