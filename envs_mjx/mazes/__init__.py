"""Point mazes in pure jnp: `point.py`. `planar.py` holds what they share with `envs_mjx.locomotion`."""

from envs_mjx.mazes.point import MAZES, Maze, PointMaze

__all__ = ["MAZES", "Maze", "PointMaze"]
