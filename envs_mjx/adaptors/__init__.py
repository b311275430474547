"""Our environments for other frameworks: `gym.py` (a Gymnasium `VectorEnv`) and `brax.py` (a Brax `Env`).

`common.py` holds what both share. Brax is imported only with `envs_mjx.adaptors.brax`.
"""

from envs_mjx.adaptors.gym import GoalVectorEnv, register

__all__ = ["GoalVectorEnv", "register"]
