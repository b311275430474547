"""Our environments for other frameworks: `gym.py` (a Gymnasium `VectorEnv`) and `brax.py` (a Brax `Env`).

`common.py` is what both share. Brax is imported only where `envs_mjx.adaptors.brax` is.
"""

from envs_mjx.adaptors.gym import GoalVectorEnv, register

__all__ = ["GoalVectorEnv", "register"]
