"""Sections of settings hold plain values of the declared types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from crl_jax.config import AgentConfig, Config, ConfigError, EnvConfig, RunConfig, TrainConfig
from crl_jax.config.sequence import TasksConfig


@pytest.mark.parametrize("value", [np.int64(7), np.float32(7), 7.0, jnp.int32(7), np.array(7)])
def test_what_stands_for_a_count_becomes_an_int(value: Any) -> None:
    config = Config(train=TrainConfig(total_env_steps=value), env=EnvConfig(horizon=value))
    assert type(config.train.total_env_steps) is int and config.train.total_env_steps == 7
    assert config.env.horizon == 7
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_numbers_paths_and_lists_become_plain_values() -> None:
    assert type(AgentConfig(critic_lr=1).critic_lr) is float
    assert AgentConfig(critic_lr=np.float64(0.5)).critic_lr == 0.5
    assert RunConfig(runs=Path("a") / "b").runs == "a/b"  # type: ignore[arg-type]
    assert RunConfig(video=np.bool_(False)).video is False  # type: ignore[arg-type]
    assert TasksConfig(tasks=["push", "reach"]).tasks == ("push", "reach")  # type: ignore[arg-type]
    assert EnvConfig(horizon=None).horizon is None


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: TrainConfig(batch_size="5"), "batch_size='5': a whole number wanted"),
        (lambda: TrainConfig(batch_size=True), "batch_size=True: a whole number wanted"),
        (lambda: TrainConfig(batch_size=5.5), "batch_size=5.5: a whole number wanted"),
        (lambda: TrainConfig(batch_size=None), "batch_size=None: a whole number wanted"),
        (lambda: TrainConfig(batch_size=np.arange(3)), "batch_size=array([0, 1, 2]): a whole number wanted"),
        (lambda: AgentConfig(critic_lr=float("inf")), "critic_lr=inf: a finite number wanted"),
        (lambda: AgentConfig(critic_lr=float("nan")), "critic_lr=nan: a finite number wanted"),
        (lambda: AgentConfig(critic_lr=10**400), "critic_lr=inf: a finite number wanted"),
        (lambda: AgentConfig(critic_lr=True), "critic_lr=True: a finite number wanted"),
        (lambda: AgentConfig(twin=1), "twin=1: True or False wanted"),
        (lambda: EnvConfig(task=b"push"), "task=b'push': text wanted"),
        (lambda: EnvConfig(physics=3), "physics=3: text wanted"),
        (lambda: TasksConfig(tasks="push"), "tasks='push': a list wanted"),
        (lambda: TasksConfig(tasks=[1]), "tasks=1: text wanted"),
        (lambda: Config(env={"task": "push"}), "env={'task': 'push'}: EnvConfig wanted"),
        (lambda: Config(train=EnvConfig()), "train=EnvConfig("),
    ],
)
def test_other_values_are_refused_in_one_line(make: Any, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert str(caught.value).startswith(line) and "\n" not in str(caught.value)
