"""Shortest paths: compared with mazes solved by hand, and properties that hold in any maze."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from crl_jax.report.stats import rank_correlation
from envs_mjx.mazes.point import MAZES
from experiments.maze_paths import Grid, deceptive_pair, middles


def walls_of(plan: str) -> np.ndarray:
    return np.array([[cell == "#" for cell in row] for row in plan.split()])


HAND_MADE = {
    # goal is the upper left cell; a dot's digit is its distance, "x" a place without a path
    "a corridor": ("....", "0123"),
    "a room, diagonals as short as straight steps": ("... ... ...", "012 112 222"),
    "a corner is not cut": (".# ..", "0# 12"),
    "around a wall": ("..... .###. .#...", "01234 1###5 2#876"),
    "a pocket": ("..# ### ..#", "01# ### xx#"),
    "a U": ("... .#. .#.", "012 1#3 2#4"),
}


@pytest.mark.parametrize("name", HAND_MADE)
def test_distances_are_those_counted_by_hand(name: str) -> None:
    plan, solved = HAND_MADE[name]
    expected = [np.inf if mark == "x" else float(mark) for mark in solved.replace(" ", "") if mark != "#"]
    np.testing.assert_array_equal(Grid(walls_of(plan)).distances(0), expected)


@given(st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=3, max_size=5), st.integers(0, 10**6))
def test_distances_are_a_metric_beyond_the_straight_line(rows: list[list[bool]], draw: int) -> None:
    walls = np.array(rows)
    if walls.all():
        return
    grid = Grid(walls)
    count = len(grid.places)
    table = np.stack([grid.distances(goal) for goal in range(count)])
    np.testing.assert_array_equal(table, table.T)
    assert (np.diag(table) == 0).all()
    middle = draw % count
    assert (table <= table[:, middle][:, None] + table[middle][None]).all(), "the triangle inequality"
    apart = np.abs(grid.places[:, None] - grid.places[None]).max(axis=-1)
    assert (table >= apart).all(), "a step is one cell along either axis"


@pytest.mark.parametrize(("name", "turns"), [("a corridor", 0), ("around a wall", 2)])
def test_a_finer_grid_has_the_same_paths_but_rounds_their_turns(name: str, turns: int) -> None:
    walls = walls_of(HAND_MADE[name][0])
    coarse, fine = Grid(walls), Grid(walls, 3)
    assert len(fine.places) == 9 * len(coarse.places)
    at = [fine.nearest(position) for position in coarse.positions]
    np.testing.assert_allclose(fine.positions[at], coarse.positions)
    shorter = coarse.distances(0) - fine.distances(at[0])[at]
    assert shorter.min() > -1e-9 and shorter.max() == pytest.approx(turns * 2 / 3), "a third of a cell off either side"


def test_the_deceptive_pair_lies_at_a_wall() -> None:
    start, goal = deceptive_pair(MAZES["point_U"].walls)
    assert {tuple(start), tuple(goal)} == {(3.5, 0.5), (5.5, 0.5)}, "either side of the wall between the arms"
    start, goal = deceptive_pair(MAZES["point_Maze11x11"].walls)
    assert (tuple(start), tuple(goal)) == ((0.5, 0.5), (0.5, 10.5)), "the other goal lies at the end of a corridor"
    assert len(middles(MAZES["point_U"].walls)) == 19


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=2, max_size=30))
def test_rank_correlation_is_scipys(pairs: list[tuple[int, int]]) -> None:
    left, right = (np.array(one, float) for one in zip(*pairs, strict=True))
    found = rank_correlation(left, right)
    if len(set(left)) == 1 or len(set(right)) == 1:
        assert np.isnan(found)
    else:
        assert found == pytest.approx(spearmanr(left, right).statistic, abs=1e-12)
        assert rank_correlation(-left, right) == pytest.approx(-found) and -1 - 1e-12 <= found <= 1 + 1e-12


def test_rank_correlation_refuses_what_has_no_ranks() -> None:
    for bad in (([], []), ([1.0, np.nan], [1.0, 2.0]), ([1.0], [1.0, 2.0])):
        with pytest.raises(ValueError):
            rank_correlation(*bad)
