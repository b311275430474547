"""Settings of several tasks learned at once by one policy: each task has equally many environments."""

from __future__ import annotations

from crl_jax.config.checks import nearest_multiples, require
from crl_jax.config.run import Config, with_overrides


def check_shared(config: Config, tasks: int) -> None:
    """Refuse numbers that so many tasks cannot share, before other settings are held against them.

    Raises:
        ConfigError: num_envs or eval_episodes is no multiple of the number of tasks.
    """
    for name, value in (("num_envs", config.env.num_envs), ("eval_episodes", config.evaluation.eval_episodes)):
        told = f"{tasks} tasks take a multiple of that; nearest: {nearest_multiples(value, tasks)}"
        require(value % tasks == 0, name, value, told)


def shared(config: Config, tasks: int) -> Config:
    """The config with `num_envs` and `eval_episodes` raised to the next multiple of the number of tasks.

    The ring holds about as many transitions as before, and there are as many updates for an env step.
    """
    before, rows = config.env.num_envs, config.train.unroll_length
    envs, episodes = (-(-value // tasks) * tasks for value in (before, config.evaluation.eval_episodes))
    if envs == before:
        return with_overrides(config, eval_episodes=episodes)
    return with_overrides(
        config,
        num_envs=envs,
        eval_episodes=episodes,
        updates_per_iteration=round(config.train.updates_per_iteration * envs / before),
        min_replay=-(-config.train.min_replay * envs // before),
        replay_capacity=max(1, config.train.replay_capacity // (envs * rows)) * envs * rows,
    )
