"""The splits equal those of the official package; those of Continual World equal its paper's."""

from __future__ import annotations

import pytest

from envs_mjx.metaworld import official, splits
from envs_mjx.metaworld.tasks import TASKS

_OFFICIAL = [
    ("MT50", "MT50_V3", ""),
    ("MT10", "MT10_V3", ""),
    ("MT25", "MT25_V3", ""),
    ("ML1", "ML1_V3", "train"),
    ("ML1", "ML1_V3", "test"),
    *[(f"ML{size}_{part.upper()}", f"ML{size}_V3", part) for size in (10, 25, 45) for part in ("train", "test")],
]


@pytest.mark.parametrize(("ours", "theirs", "part"), _OFFICIAL)
def test_splits_are_the_official_ones(ours: str, theirs: str, part: str) -> None:
    official.import_metaworld()
    from metaworld import env_dict

    dictionary = getattr(env_dict, theirs)
    tasks = dictionary[part] if part else dictionary
    assert [f"{name}-v3" for name in getattr(splits, ours)] == list(tasks)


def test_every_task_is_in_the_table_and_in_mt1() -> None:
    assert set(splits.MT50) == set(TASKS) and splits.MT1 == splits.MT50
    assert len(splits.MT50) == 50 == len(set(splits.ML45_TRAIN) | set(splits.ML45_TEST))


def test_continual_world_visits_ten_tasks_twice() -> None:
    assert len(set(splits.CW10)) == 10 and splits.CW20 == splits.CW10 + splits.CW10
    assert splits.CW10[0] == "hammer" and splits.CW10[-1] == "peg-unplug-side"
    assert set(splits.CW10) <= set(splits.MT50)
