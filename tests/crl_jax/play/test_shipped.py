"""Policies that ship: small files that act as they did when they were written."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest

from configs import PRESETS
from crl_jax import cli
from crl_jax.config import ConfigError
from crl_jax.play import policy, shipped
from tests.support.rotation import rotating


def test_there_are_many_and_they_are_small() -> None:
    sizes = [path.stat().st_size for path in shipped.FOLDER.glob("*.npz")]
    assert len(sizes) == len(shipped.names()) >= 19 and max(sizes) < 250_000 and sum(sizes) < 10_000_000
    for name in shipped.names():
        about = shipped.about(name)
        assert about.task == name and about.success >= 0.9 and about.env_steps > 0
        assert about.command.startswith(f"crl train {name} --preset metaworld_cpu") and len(about.commit) >= 7


@pytest.mark.parametrize("name", rotating(shipped.names(), count=1))
def test_a_shipped_policy_acts_as_well_as_it_says(name: str) -> None:
    told = shipped.about(name)
    found = policy.score(shipped.load(name), 128, seed=77)
    assert found["success_final"] >= told.success - 0.1, "128 episodes: four standard errors at most"


def test_what_is_written_is_read_back_in_float16(tmp_path: Path) -> None:
    name = shipped.names()[0]
    trained = shipped.load(name)
    again = shipped.save(trained, shipped.about(name), tmp_path)
    assert again == tmp_path / f"{name}.npz"
    back = shipped.load(name, tmp_path)
    jax.tree.map(np.testing.assert_array_equal, back.state.average, trained.state.average)
    assert back.config == trained.config and shipped.about(name, tmp_path) == shipped.about(name)


def test_the_command_lists_them_and_refuses_others(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(PRESETS, ["demo", "--list"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in shipped.names())
    assert cli.main(PRESETS, ["demo", "hamer"]) == 2
    assert "demo='hamer': no such task; nearest: hammer" in capsys.readouterr().err
    assert cli.main(PRESETS, ["demo", "hammer", "--episodes", "0"]) == 2
    with pytest.raises(ConfigError, match="this version ships none"):
        shipped.about("hammer", Path("nowhere"))


@pytest.mark.slow
def test_a_demo_is_scored_and_filmed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "film.mp4"
    words = ["demo", "hammer", "--episodes", "1", "--width", "64", "--height", "48", "--out", str(out)]
    assert cli.main(PRESETS, words) == 0
    told = capsys.readouterr().out
    assert "success at the last step of 128 fresh episodes" in told and out.stat().st_size > 1000
