"""Meta-World V3: the 50 tasks as rows of a table, and one environment class for all of them.

Read `tasks/spec.py` (what a row says) and `env.py` (the class) first. `scenes.py` compiles the official MJCF and
`layout.py` says what a task reads of it. `goals.py` says what a goal commands. `success.py` and `rewards/` hold the
official formulas.
`official.py` is the bridge to the official package. `single_goal.py` adds the tasks of "A Single Goal is All You Need",
`splits.py` the benchmarks as lists of names; `jax_scenes.py` and `faithful.py` are about the other engines.
"""

from envs_mjx.metaworld import splits
from envs_mjx.metaworld.single_goal import SINGLE_GOAL
from envs_mjx.metaworld.tasks import TASKS, TaskSpec

__all__ = ["SINGLE_GOAL", "TASKS", "TaskSpec", "splits"]
