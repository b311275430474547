"""Gymnasium-Robotics on our engines: Fetch (`tasks.py`, `scenes.py`, `fetch.py`) and PointMaze (`maze.py`)."""

from envs_mjx.robotics.maze import MAZES, PointMaze
from envs_mjx.robotics.tasks import TASKS, FetchTask

__all__ = ["MAZES", "TASKS", "FetchTask", "PointMaze"]
