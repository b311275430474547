"""Tests of every task: `make test-all` runs all. The quick suite runs a few, which change daily: all in two weeks."""

from __future__ import annotations

import datetime
from collections.abc import Iterable

import pytest


def rotating(names: Iterable[str], count: int = 4, day: int | None = None) -> list:
    """Parameters for pytest: `count` names, chosen by the day of the year, stay quick; the others are marked slow.

    Args:
        day: day of the year; None: today (UTC).
    """
    names = list(names)
    if day is None:
        day = datetime.datetime.now(datetime.UTC).timetuple().tm_yday
    quick = {names[(day * count + place) % len(names)] for place in range(count)}
    return [pytest.param(name, marks=() if name in quick else pytest.mark.slow) for name in names]
