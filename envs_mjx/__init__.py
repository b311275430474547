"""Meta-World and other goal-conditioned environments on MuJoCo's batched engines: `make("push", num_envs=512)`."""

from envs_mjx.adaptors.gym import register
from envs_mjx.base import EnvError, EnvSpec, GoalEnv, State, check_buffers
from envs_mjx.metaworld import official, splits
from envs_mjx.registry import (
    GROUPS,
    SPLITS,
    Description,
    audit,
    camera_of,
    check,
    check_task,
    contract_of,
    control_of,
    describe,
    engine_of,
    horizon_of,
    in_jax,
    make,
    names,
    needs_engine,
    require_one,
    score_official,
    tasks_of,
)

register()

__all__ = [
    "GROUPS",
    "SPLITS",
    "Description",
    "EnvError",
    "EnvSpec",
    "GoalEnv",
    "State",
    "audit",
    "camera_of",
    "check",
    "check_buffers",
    "check_task",
    "contract_of",
    "control_of",
    "describe",
    "engine_of",
    "horizon_of",
    "in_jax",
    "make",
    "names",
    "needs_engine",
    "official",
    "require_one",
    "score_official",
    "splits",
    "tasks_of",
]
