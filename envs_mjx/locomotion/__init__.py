"""Goal-conditioned tasks of bodies with motors, on open ground or in mazes: the table `TASKS` and one class."""

from envs_mjx.locomotion.tasks import TASKS, LocomotionTask

__all__ = ["TASKS", "LocomotionTask"]
