"""Meta-World V3: the 50 tasks as rows of a table, and one environment class for all of them.

Read `tasks/spec.py` (the fields of a row) and `env.py` (the class) first. `scenes.py` compiles the official MJCF, and
`layout.py` lists what a task reads from its scene. `goals.py` defines the goal contracts. `success.py` and `rewards/`
hold the official formulas. `official.py` is the bridge to the official package. `single_goal.py` adds the tasks of "A
Single Goal is All You Need". `splits.py` lists the tasks of each benchmark. `jax_scenes.py` simplifies the scenes for
engine "jax", and `faithful.py` lists the tasks that each engine simulates faithfully.
"""

from envs_mjx.metaworld import splits
from envs_mjx.metaworld.single_goal import SINGLE_GOAL
from envs_mjx.metaworld.tasks import TASKS, TaskSpec

__all__ = ["SINGLE_GOAL", "TASKS", "TaskSpec", "splits"]
