"""The picture of where goals lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from crl_jax.config import ConfigError
from envs_mjx.metaworld.tasks import TASKS
from experiments import places


def test_points_are_where_goals_ask_for_object_and_hand() -> None:
    env, state, explored, commanded = places.episode("pick-place")
    start = np.asarray(state.start[0])
    assert np.ptp(np.asarray(state.start), axis=0).max() < 1e-6, "one start for all episodes"
    offset = np.asarray(TASKS["pick-place"].hand_offset)
    np.testing.assert_allclose(commanded["hand"] - commanded["object"], offset[None], atol=1e-6)
    np.testing.assert_allclose(commanded["object"], np.asarray(state.target[:1]), atol=1e-6)
    assert len(explored["object"]) == places.EPISODES * env.spec.horizon
    touching = np.linalg.norm(explored["object"] - start, axis=-1) < 1e-6
    assert 0.1 < touching.mean() < 0.7, "first the hand at the object where it lies"
    assert explored["object"][:, 2].max() > commanded["object"][0, 2] + 0.05, "then above its way"


def test_a_figure_has_a_panel_for_each_task(tmp_path: Path) -> None:
    assert places.figure(("stick-push",), tmp_path / "places.png").stat().st_size > 20_000
    with pytest.raises(ConfigError, match="task='nope'"):
        places.figure(("nope",))
