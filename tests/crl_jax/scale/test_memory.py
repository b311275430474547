"""A run that does not fit is refused from shapes, with bytes and what fits."""

from __future__ import annotations

import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from configs import PRESETS
from crl_jax import cli
from crl_jax.config import Config, ConfigError, with_overrides
from crl_jax.runs import checkpoint
from crl_jax.scale import memory
from crl_jax.trainer import build
from tests.crl_jax.test_train import SMALL, flags


def maze(**changes: object) -> Config:
    return with_overrides(PRESETS["metaworld_cpu"], **{**SMALL, "task": "point_Small", "near_height": 0.0, **changes})


def test_size_is_that_of_the_arrays() -> None:
    setup = build(maze())
    state = setup.init(setup.key())
    wanted = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    assert memory.size_of(state) == memory.size_of(setup.template) == wanted
    assert memory.size_of({"a": jax.ShapeDtypeStruct((2**20, 2**20), jnp.float32)}) == 2**42
    assert 2**20 < (memory.available() or 0) < 2**50


def test_the_capacity_that_is_named_as_nearest_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    config = maze(replay_capacity=400_000)
    template = build(config).template
    monkeypatch.setattr(memory, "available", lambda: memory.size_of(template) // 2)
    with pytest.raises(
        ConfigError, match=r"^replay_capacity=400000: the run needs .* are available; nearest: \d+$"
    ) as caught:
        memory.check_memory(config, template, template.ring)
    fits = int(str(caught.value).split()[-1])
    assert 100_000 < fits < 200_000
    smaller = maze(replay_capacity=fits)
    shapes = build(smaller).template
    memory.check_memory(smaller.validate(), shapes, shapes.ring)
    more = maze(replay_capacity=fits + 40)
    shapes = build(more).template
    with pytest.raises(ConfigError):
        memory.check_memory(more, shapes, shapes.ring)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"replay_capacity": 2**31 // 40 * 40 + 40}, "must be below 2147483648"),
        ({"replay_capacity": 2_000_000_000}, "replay_capacity=2000000000: the run needs "),
        (
            {"batch_size": 500_000, "min_replay": 500_000, "replay_capacity": 10**6, "total_env_steps": 10**6},
            "batch_size=500000: its logits take",
        ),
        ({"total_env_steps": 2**40}, "total_env_steps=1099511627776: rows are counted in int32; nearest: 8589934588"),
    ],
)
def test_what_is_too_large_is_one_line_before_anything_compiles(
    changes: dict, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = flags(**changes, near_height=0.0, runs=str(tmp_path))
    assert cli.main(PRESETS, ["train", "point_Small", *words]) == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert line in told and not list(tmp_path.iterdir())


def test_a_disk_that_cannot_hold_a_checkpoint_is_found_out_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    template = build(maze()).template
    checkpoint.require_room(tmp_path / "not" / "there", template)
    full = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: full)
    with pytest.raises(checkpoint.DiskFullError, match=r"no room for a checkpoint under .*: need .* MiB, free 0.0 MiB"):
        checkpoint.require_room(tmp_path / "not" / "there", template)
