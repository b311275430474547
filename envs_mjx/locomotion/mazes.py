"""Mazes as strings, and the boxes of their walls: one generator for every body.

"#" wall, "." free, "r" a start, "g" a goal, "b" a place where the object starts. Row i, column j of a plan is the
square around (i, j) times the length of a cell. Plans are from JaxGCRL (arXiv:2408.11052, envs/ant_maze.py,
envs/ant_ball_maze.py). Plans u4 and u5 are from "1000 Layer Networks" (arXiv:2503.14858, envs/ant_maze.py). Plan "push"
is the arrangement of JaxGCRL's assets/ant_push.xml.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

HEIGHT = 0.5
"""Height of the walls, in cell lengths."""

PLANS: dict[str, str] = {
    "u_maze": "##### #rgg# ###g# #ggg# #####",
    "u_maze_eval": "##### #r..# ###.# #ggg# #####",
    "u4_maze": "##### #ggg# #r#g# ###g# #g#g# #ggg# #####",
    "u4_maze_eval": "##### #...# #r#.# ###.# #g#.# #ggg# #####",
    "u5_maze": "######## #gggggg# #r####g# ######g# #g####g# #gggggg# ########",
    "u5_maze_eval": "######## #......# #r####.# ######.# #g####g# #gggggg# ########",
    "big_maze": "######## #rg##gg# #gg#ggg# ##ggg### #gg#ggg# #g#gg#g# #ggg#gg# ########",
    "big_maze_eval": "######## #r.##gg# #..#.gg# ##...### #..#...# #.#g.#g# #.gg#gg# ########",
    "hardest_maze": """
        ############ #rggg#ggggg# #g##g#g#g#g# #gggggg#ggg# #g####g###g# #gg#g#ggggg# ##g#g#g#g### #gg#ggg#ggg#
        ############""",
    "ball_u_maze": "##### #rgb# ###g# #ggg# #####",
    "ball_big_maze": "######## #r.##gg# #..#ggg# ##bgb### #gg#ggg# #g#gg#g# #ggg#gg# ########",
    "push": "##### #..## #.bg# ##g## #####",
}


@dataclass(frozen=True)
class Maze:
    """A plan laid out on the ground.

    Attributes:
        plan: name of `PLANS`.
        cell: metres, side of a cell.
        origin: the cell whose middle is the world's origin.
    """

    plan: str
    cell: float
    origin: tuple[int, int] = (0, 0)

    @property
    def rows(self) -> tuple[str, ...]:
        return tuple(PLANS[self.plan].split())

    def at(self, mark: str) -> np.ndarray:
        """(N, 2) float32 metres: middles of the cells marked `mark`."""
        cells = [(i, j) for i, row in enumerate(self.rows) for j, own in enumerate(row) if own == mark]
        return ((np.array(cells, np.float32).reshape(-1, 2) - self.origin) * self.cell).astype(np.float32)

    def extent(self) -> tuple[np.ndarray, float]:
        """Middle (2,) of the maze and half of its longer side, metres."""
        size = np.array([len(self.rows), len(self.rows[0])])
        return ((size - 1) / 2 - self.origin) * self.cell, float(size.max()) * self.cell / 2


def boxes(maze: Maze) -> list[tuple[np.ndarray, np.ndarray]]:
    """Middles (3,) and half sides (3,) of boxes that together fill the wall cells, standing on the ground; metres.

    The sources have one box per cell. A few large boxes that fill the same cells have fewer pairs that may collide, and
    no seams for a foot to catch on.
    """
    open_ = np.array([[cell == "#" for cell in row] for row in maze.rows])
    filled = []
    for i, j in np.argwhere(open_):
        if not open_[i, j]:
            continue
        columns = int(np.argmin(np.append(open_[i, j:], False)))
        full = np.append(open_[i:, j : j + columns].all(axis=1), False)
        rows = int(np.argmin(full))
        open_[i : i + rows, j : j + columns] = False
        middle = (np.array([i + (rows - 1) / 2, j + (columns - 1) / 2]) - maze.origin) * maze.cell
        half = np.array([rows, columns, HEIGHT]) * maze.cell / 2
        filled.append((np.append(middle, half[2]), half))
    return filled
