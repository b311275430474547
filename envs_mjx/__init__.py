"""Meta-World and other goal-conditioned environments on MuJoCo's batched engines: `make("push", num_envs=512)`."""

from envs_mjx.base import EnvError, EnvSpec, GoalEnv, State, check_buffers
from envs_mjx.gym import register
from envs_mjx.registry import check, contract_of, describe, engine_of, horizon_of, in_jax, make, names, needs_engine

register()

__all__ = [
    "EnvError",
    "EnvSpec",
    "GoalEnv",
    "State",
    "check",
    "check_buffers",
    "contract_of",
    "describe",
    "engine_of",
    "horizon_of",
    "in_jax",
    "make",
    "names",
    "needs_engine",
]
