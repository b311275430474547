"""Gymnasium-Robotics on our engines: Fetch (`tasks.py`, `fetch.py`, its scenes in `scenes.py`), PointMaze (`maze.py`)."""

from envs_mjx.robotics.maze import MAZES, PointMaze
from envs_mjx.robotics.tasks import TASKS, FetchTask

__all__ = ["MAZES", "TASKS", "FetchTask", "PointMaze"]
