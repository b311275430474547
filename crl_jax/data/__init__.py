"""Recorded trajectories: `episodes.py` writes and reads them, `fill.py` lays them out in a replay ring."""

from crl_jax.data.episodes import Episode, Recorded, check_new, read, settings, write
from crl_jax.data.fill import described, filled, recorded_data, rows_needed

__all__ = [
    "Episode",
    "Recorded",
    "check_new",
    "described",
    "filled",
    "read",
    "recorded_data",
    "rows_needed",
    "settings",
    "write",
]
