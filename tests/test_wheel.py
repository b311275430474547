"""The wheel: what it puts into site-packages, and that `crl` works from there, far from any checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests import ROOT
from tests.crl_jax.test_train import flags

PARTS = ("crl_jax", "envs_mjx", "configs", "setup.py", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, built from a copy of the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, folder / part)  # type: ignore[operator]
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder / "made"), "."]
    subprocess.run(command, cwd=folder, check=True)
    (made,) = (folder / "made").glob("*.whl")
    return made


@pytest.fixture(scope="module")
def crl(wheel: Path) -> Path:
    """The `crl` of a fresh environment with the wheel, and with the packages that it needs from this one."""
    folder = wheel.parent / "environment"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "base.pth").write_text(sysconfig.get_path("purelib") + "\n")
    subprocess.run([folder / "bin" / "pip", "install", "--quiet", "--no-deps", str(wheel)], check=True)
    return folder / "bin" / "crl"


@pytest.mark.slow
def test_only_our_two_packages_are_at_the_top(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"crl_jax", "envs_mjx"}
    assert "crl_jax/configs/main.py" in names and "crl_jax/cli/commands.py" in names
    sources = {path.relative_to(ROOT).as_posix() for top in tops for path in (ROOT / top).rglob("*.py")}
    assert sources <= set(names)


@pytest.mark.slow
def test_every_command_works_from_another_folder(crl: Path, tmp_path: Path) -> None:
    def run(*words: str, code: int = 0) -> str:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run([crl, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    where = run("train", "faucet-close", *flags(total_env_steps=160, name="one"))
    assert "runs/one" in where and (tmp_path / "runs" / "one" / "report.html").exists()
    assert "success_any" in run("eval", "runs/one", "--episodes", "4")
    assert "report.html" in run("report", "runs/one")
    assert "policy.mp4" in run("render", "runs/one", "--episodes", "1", "--width", "64", "--height", "48")
    assert "faucet-close" in run("envs")
    assert "faucet-close" in run("audit", "faucet-close")
    for command in ("bench", "fidelity", "profile"):
        assert "come with a checkout" in run(command, code=2)
