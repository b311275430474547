"""Shortest paths through a maze, by breadth-first search on a grid that is finer than the maze's cells.

The point of a point maze moves along both axes at once, by up to one cell per axis and env step. A diagonal step thus
costs as much as a straight one. A distance is the number of env steps of the shortest path at full speed.

Axis letters: H rows and W columns of the fine grid, S free places of the fine grid.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from crl_jax.report.stats import rank_correlation

STEPS = tuple((row, column) for row in (-1, 0, 1) for column in (-1, 0, 1) if row or column)


class Grid:
    """The free places of a maze, with `per_cell` places along each side of a cell.

    Attributes:
        free: (H, W) bool. places: (S, 2) int, row and column of each free place on the fine grid.
        positions: (S, 2) middle of each free place, in cells.
    """

    def __init__(self, walls: np.ndarray, per_cell: int = 1) -> None:
        """walls: (rows, columns) bool. per_cell: at least 1; odd, if the middle of a cell is to be a place."""
        self.per_cell = per_cell
        self.free = ~np.kron(walls, np.ones((per_cell, per_cell), bool))
        self.places = np.argwhere(self.free)
        self.positions = (self.places + 0.5) / per_cell

    def nearest(self, position: np.ndarray) -> int:
        """Index of the free place nearest to a position (2,), in cells."""
        return int(np.argmin(np.sum((self.positions - position) ** 2, axis=1)))

    def distances(self, goal: int) -> np.ndarray:
        """(S,) env steps of the shortest path from every free place to place `goal`; infinite without a path."""
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
        """(S,) Euclidean distance from every free place to place `goal`, in cells, ignoring walls."""
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
    """Start and goal (2,), (2,): middles of the two cells whose path exceeds their Euclidean distance the most.

    Of the two cells, the goal is the one for which Euclidean distances predict the order of the path lengths worse.
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
