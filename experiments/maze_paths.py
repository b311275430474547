"""Shortest paths through a plan of walls, by breadth-first search on a grid finer than its cells.

A point of `envs_mjx.point` moves along both axes at once, each by up to one cell per env step: a diagonal step is as
short as a straight one. Distances are therefore the env steps that the shortest path takes at full speed.

Axis letters: H rows and W columns of the fine grid, S its free places.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from crl_jax.report.stats import rank_correlation

STEPS = tuple((row, column) for row in (-1, 0, 1) for column in (-1, 0, 1) if row or column)


class Grid:
    """The free places of a plan, `per_cell` along each side of a cell.

    Attributes:
        free: (H, W) bool. places: (S, 2) int, row and column of each free place on the fine grid.
        positions: (S, 2) their middles, in cells.
    """

    def __init__(self, walls: np.ndarray, per_cell: int = 1) -> None:
        """walls: (rows, columns) bool. per_cell: at least 1; odd, for the middle of a cell to be a place."""
        self.per_cell = per_cell
        self.free = ~np.kron(walls, np.ones((per_cell, per_cell), bool))
        self.places = np.argwhere(self.free)
        self.positions = (self.places + 0.5) / per_cell

    def nearest(self, position: np.ndarray) -> int:
        """Index of the free place nearest to a position (2,), in cells."""
        return int(np.argmin(np.sum((self.positions - position) ** 2, axis=1)))

    def distances(self, goal: int) -> np.ndarray:
        """(S,) env steps of the shortest path from every free place to place `goal`; infinite where there is none."""
        far = np.full(self.free.shape, np.inf)
        first = tuple(self.places[goal])
        far[first] = 0
        waiting = deque([first])
        while waiting:
            row, column = waiting.popleft()
            for down, right in STEPS:
                place = row + down, column + right
                # A diagonal step needs both of its corners: neither axis moves into a wall.
                passes = self._is_free(*place) and self._is_free(row + down, column) and self._is_free(row, place[1])
                if passes and np.isinf(far[place]):
                    far[place] = far[row, column] + 1
                    waiting.append(place)
        found: np.ndarray = far[self.free] / self.per_cell
        return found

    def straight(self, goal: int) -> np.ndarray:
        """(S,) Euclidean distance from every free place to place `goal`, in cells, through all walls."""
        found: np.ndarray = np.linalg.norm(self.positions - self.positions[goal], axis=1)
        return found

    def _is_free(self, row: int, column: int) -> bool:
        inside = 0 <= row < self.free.shape[0] and 0 <= column < self.free.shape[1]
        return inside and bool(self.free[row, column])


def middles(walls: np.ndarray) -> np.ndarray:
    """(N, 2) middles of the free cells, in cells."""
    found: np.ndarray = np.argwhere(~walls) + 0.5
    return found


def deceptive_pair(walls: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Middles (2,) of the two cells whose path is longest beyond their Euclidean distance: a start and a goal.

    The goal is that of the two from which Euclidean distances tell less of the order of the paths.
    """
    grid = Grid(walls)
    beyond = np.stack([grid.distances(goal) - grid.straight(goal) for goal in range(len(grid.places))])
    beyond[np.isinf(beyond)] = -np.inf
    ends = [int(end) for end in np.unravel_index(np.argmax(beyond), beyond.shape)]
    goal, start = sorted(ends, key=lambda end: _told_by_straight_lines(grid, end))
    return grid.positions[start], grid.positions[goal]


def _told_by_straight_lines(grid: Grid, goal: int) -> float:
    path = grid.distances(goal)
    there = np.isfinite(path)
    return rank_correlation(grid.straight(goal)[there], path[there])
