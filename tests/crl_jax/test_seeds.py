"""Several seeds in one program: each run equals a run with its seed only, and can be resumed by itself."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest

from configs import PRESETS
from crl_jax import cli, runs
from crl_jax.config import Config, ConfigError, with_overrides
from crl_jax.runs import checkpoint
from crl_jax.runs.loggers import read_metrics
from crl_jax.train import train, train_seeds
from crl_jax.trainer import build
from tests.crl_jax.test_train import SMALL


def small(folder: Path, **changes) -> Config:
    return with_overrides(
        PRESETS["reach_cpu"], **{**SMALL, "task": "point_U", "horizon": None, "runs": str(folder), **changes}
    )


@pytest.mark.slow
def test_each_seed_is_the_run_that_it_would_be_alone(tmp_path: Path) -> None:
    results = train_seeds(small(tmp_path, total_env_steps=480), (3, 5), console=False)
    assert [result.config.run.seed for result in results] == [3, 5]
    assert [result.folder.name for result in results] == ["point_U-s3", "point_U-s5"]
    for result in results:
        alone = train(small(tmp_path / "alone", seed=result.config.run.seed, total_env_steps=480), console=False)
        ours, theirs = read_metrics(result.folder), read_metrics(alone.folder)
        assert [row["env_steps"] for row in ours] == [row["env_steps"] for row in theirs]
        last, expected = ours[-1], theirs[-1]
        assert {name for name in last if "time" not in name} == {name for name in expected if "time" not in name}
        template = build(result.config).template
        state, host = checkpoint.restore(result.folder / runs.CHECKPOINTS, template)
        other, other_host = checkpoint.restore(alone.folder / runs.CHECKPOINTS, template)
        assert host["counters"]["updates"] == other_host["counters"]["updates"]
        # Sums run in another order under vmap, and what is drawn is the same.
        np.testing.assert_array_equal(state.key, other.key)
        for a, b in zip(jax.tree.leaves(state.agent), jax.tree.leaves(other.agent), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    resumed = train(with_overrides(results[0].config, total_env_steps=640), resume=results[0].folder, console=False)
    assert resumed.counters.env_steps == 640


@pytest.mark.parametrize(
    ("seeds", "changes", "words"),
    [
        ((1,), {}, "at least 2"),
        ((1, 1), {}, "all different"),
        ((0, 1), {"devices": 2}, "devices=2"),
        ((0, 1), {"task": "push", "physics": "c"}, "physics='c'.*experiments.slurm"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path: Path, seeds, changes, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        train_seeds(small(tmp_path, **changes), seeds)
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


def test_a_resumed_run_has_one_seed(tmp_path: Path, capsys) -> None:
    config = runs.create(small(tmp_path))
    folder = tmp_path / config.run.name
    assert cli.main(PRESETS, ["train", "--resume", str(folder), "--seeds", "1", "2"]) == 2
    assert "resumed alone" in capsys.readouterr().err
