"""Goal-conditioned bodies with motors at their joints, in the open or in mazes: a table, `TASKS`, and one class."""

from envs_mjx.locomotion.tasks import TASKS, LocomotionTask

__all__ = ["TASKS", "LocomotionTask"]
