"""Point mazes in pure jnp: `point.py`. `planar.py` is what they share with bodies in mazes (`envs_mjx.locomotion`)."""

from envs_mjx.mazes.point import MAZES, Maze, PointMaze

__all__ = ["MAZES", "Maze", "PointMaze"]
