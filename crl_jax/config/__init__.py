"""Every setting of a run, and the checks that refuse a bad setting before anything is compiled.

Read `run.py` first: `Config` and its sections. `learner.py` holds the sections of networks and agents. `sequence.py`
holds the extra settings of a run of several tasks. `continual.py` holds the settings of the continual methods and of
the boundary between two tasks, `together.py` what several tasks at once share. `checks.py` writes the one-line errors.
"""

from crl_jax.config.checks import ConfigError, TrainingError, nearest, nearest_divisors, nearest_multiples, require
from crl_jax.config.continual import Boundary, ContinualConfig
from crl_jax.config.learner import AgentConfig, BaselineConfig, NetworkConfig
from crl_jax.config.run import (
    AnyConfig,
    Config,
    EnvConfig,
    EvalConfig,
    ExploreConfig,
    RunConfig,
    TrainConfig,
    differences,
    with_overrides,
)
from crl_jax.config.sequence import SequenceConfig, TasksConfig, of_tasks, resolved
from crl_jax.config.together import check_shared, shared

__all__ = [
    "AgentConfig",
    "AnyConfig",
    "BaselineConfig",
    "Boundary",
    "Config",
    "ConfigError",
    "ContinualConfig",
    "EnvConfig",
    "EvalConfig",
    "ExploreConfig",
    "NetworkConfig",
    "RunConfig",
    "SequenceConfig",
    "TasksConfig",
    "TrainConfig",
    "TrainingError",
    "check_shared",
    "differences",
    "nearest",
    "nearest_divisors",
    "nearest_multiples",
    "of_tasks",
    "require",
    "resolved",
    "shared",
    "with_overrides",
]
