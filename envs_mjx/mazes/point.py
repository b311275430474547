"""Point mazes of "A Single Goal is All You Need" (2408.05804): a point among walls, seen from above, in pure jnp.

Walls and dynamics are those of `point_env.py` in github.com/graliuce/sgcrl, adapted from google-research's
contrastive_rl. The latter differs: the last corner of FourRooms has no walls, Impossible and Wall11x11 are missing, and
success is a distance below 2. The last cells of FourRooms and Impossible cannot be reached; this is so in sgcrl, too.

Axis letters: E environments, T frames, H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from envs_mjx.base import EnvSpec, Snapshot, State
from envs_mjx.mazes.planar import Planar, lifted

RADIUS = 1.0
"""Success: distance to the goal below this, in cells."""
NOISE = 0.01
"""Standard deviation of the noise added to each action before it is clipped."""
SUBSTEPS = 10
_GREY, _FLOOR, _WALL, _GOAL, _POINT = (120,) * 3, (245,) * 3, (60, 60, 70), (40, 170, 80), (200, 40, 40)


@dataclass(frozen=True)
class Maze:
    """A floor plan: rows of cells, "#" (wall) or "." (free), of size 1. Positions are real-valued (row, column).

    Attributes:
        start, goal: fixed start and goal of every episode; None draws it in a free cell.
        horizon: env steps of an episode.
    """

    name: str
    plan: tuple[str, ...]
    horizon: int
    start: tuple[float, float] | None = None
    goal: tuple[float, float] | None = None

    @property
    def walls(self) -> np.ndarray:
        """(rows, columns) bool."""
        return np.array([[cell == "#" for cell in row] for row in self.plan])


_PLANS = {
    "Small": """.... .... .... ....""",
    "Cross": """....... ...#... ...#... .#####. ...#... ...#... .......""",
    "Impossible": """.#....... .#.#####. .#....#.. .####.#.# .#....#.. .#.#####. ...#...#. .#.#.#.## .#...#.#.""",
    "FourRooms": """
        .....#..... .....#..... ........... .....#..... .....#..... #.####..... .....###.## .....#..... .....#.....
        .........## .....#...#.""",
    "U": """... .#. .#. .#. ##. .#. .#. .#. ...""",
    "Spiral11x11": """
        ########### #.......... #.########. #.#......#. #.#.####.#. #.#.#..#.#. #.#.##.#.#. #.#....#.#. #.######.#.
        #........#. ##########.""",
    "Wall11x11": """
        ........... ##########. .........#. .........#. .........#. .........#. .........#. .........#. .........#.
        .........#. ...........""",
    "Maze11x11": """
        .#...#...#. .#.#.#.#.#. .#.#.#.#.#. .#.#.#.#.#. ...#...#.#. ########.#. ###...#..#. ###.#.#.##. ....#...##.
        .#########. ...........""",
}
_ENDS = {"Spiral11x11": ((5.0, 5.0), (10.0, 10.0))}

MAZES: dict[str, Maze] = {
    f"point_{name}": Maze(
        f"point_{name}", tuple(plan.split()), 100 if "11x11" in name else 50, *_ENDS.get(name, (None, None))
    )
    for name, plan in _PLANS.items()
}


class PointMaze(Planar):
    """`GoalEnv` over E points: obs and goal are positions (2,), in cells; the action (2,) in [-1, 1] is a velocity.

    Args:
        maze: row of `MAZES`.
        num_envs: E.
        horizon: env steps of an episode; None takes the maze's own.
        noise: standard deviation of the noise added to actions.
    """

    radius = RADIUS

    def __init__(self, maze: Maze, num_envs: int, horizon: int | None = None, noise: float = NOISE):
        self.maze, self.num_envs, self.noise = maze, num_envs, noise
        self.walls = maze.walls
        self._cells = np.argwhere(~self.walls).astype(np.float32)
        size = jnp.asarray(self.walls.shape, jnp.float32)
        self.spec = EnvSpec(
            obs_size=2,
            goal_size=2,
            action_size=2,
            horizon=maze.horizon if horizon is None else horizon,
            obs_shift=size / 2,
            obs_scale=size / 4,
            goal_shift=size / 2,
            goal_scale=size / 4,
        )

    def blocked(self, position: jax.Array) -> jax.Array:
        """(..., 2) -> (...,) bool: outside the plan, in a wall, or not a number (`_is_blocked`)."""
        size = jnp.asarray(self.walls.shape, jnp.float32)
        inside = ((position >= 0) & (position <= size)).all(axis=-1)
        cell = jnp.clip(jnp.floor(position), 0, size - 1).astype(jnp.int32)
        return ~inside | jnp.asarray(self.walls)[cell[..., 0], cell[..., 1]]

    def move(self, position: jax.Array, action: jax.Array) -> jax.Array:
        """(E, 2) positions after an action (E, 2) in [-1, 1]; a substep moves the axes in turn, never into a wall."""

        def substep(_: int, position: jax.Array) -> jax.Array:
            for axis in range(2):
                moved = position.at[:, axis].add(action[:, axis] / SUBSTEPS)
                position = jnp.where(self.blocked(moved)[:, None], position, moved)
            return position

        return jax.lax.fori_loop(0, SUBSTEPS, substep, position)

    def advance(self, state: State, action: jax.Array) -> State:
        """One env step without a restart: where `done`, the state is the last of its episode."""

        def draw(key: jax.Array, time: jax.Array) -> jax.Array:
            return jax.random.normal(jax.random.fold_in(jax.random.fold_in(key, 3), time), (2,))

        action = jnp.clip(action + self.noise * jax.vmap(draw)(state.key, state.time), -1, 1)
        position = self.move(state.obs, action)
        time = state.time + 1
        state = state.replace(physics=position, obs=position, time=time, done=time >= self.spec.horizon)
        return self._scored(state, jnp.zeros(self.num_envs, bool))

    def frames(self, snapshots: Iterable[Snapshot], width: int, height: int, camera: str) -> np.ndarray:
        """(T, H, W, 3) uint8 views from above, the point red and the goal green; `camera` is ignored."""
        rows, columns = self.walls.shape
        scale = min(width / columns, height / rows)
        row = ((np.arange(height) + 0.5 - height / 2) / scale + rows / 2)[:, None]
        column = ((np.arange(width) + 0.5 - width / 2) / scale + columns / 2)[None]
        inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        wall = self.walls[np.clip(row, 0, rows - 1).astype(int), np.clip(column, 0, columns - 1).astype(int)]
        plan = np.where(inside[..., None], np.where(wall[..., None], _WALL, _FLOOR), _GREY).astype(np.uint8)
        pictures = []
        for position, target, index in snapshots:
            picture = plan.copy()
            for point, radius, colour in ((target[index], 0.45, _GOAL), (np.asarray(position)[index], 0.3, _POINT)):
                picture[np.hypot(row - point[0], column - point[1]) <= radius] = colour
            pictures.append(picture)
        return np.stack(pictures)

    def _place(self, vector: jax.Array, running: State | None) -> tuple[jax.Array, jax.Array, jax.Array]:
        start = vector[:, :2]
        return start, start, lifted(start)

    def _draw(self, keys: jax.Array) -> jax.Array:
        """(E, 4) start and goal: the maze's own, or uniform over the free cells (`_sample_empty_state`)."""
        maze, cells = self.maze, jnp.asarray(self._cells)

        def free(key: jax.Array) -> jax.Array:
            cell_key, offset_key = jax.random.split(key)
            # Below 1, so that rounding never reaches the next cell.
            offset = jax.random.uniform(offset_key, (2,), maxval=1 - 1e-6)
            return cells[jax.random.randint(cell_key, (), 0, len(cells))] + offset

        def draw(key: jax.Array) -> jax.Array:
            start_key, goal_key = jax.random.split(jax.random.fold_in(key, 1))
            start = free(start_key) if maze.start is None else jnp.array(maze.start)
            return jnp.concatenate([start, free(goal_key) if maze.goal is None else jnp.array(maze.goal)])

        return jax.vmap(draw)(keys)
