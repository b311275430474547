"""Gymnasium-Robotics: Fetch's four tasks (`fetch.py`, rows in `tasks.py`) and the point mazes (`maze.py`)."""
