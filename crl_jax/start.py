"""What must hold before a run begins: settings, devices, memory, disk, and the run's folder for this process alone."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

import jax

import envs_mjx
from crl_jax import loop, runs
from crl_jax.config import AnyConfig, Config, require, with_overrides
from crl_jax.runs import checkpoint
from crl_jax.scale import hosts
from crl_jax.scale.machine import check_jax, run_cpu_programs_where_called
from crl_jax.scale.memory import check_memory

_log = logging.getLogger(__name__)


def ready(config: AnyConfig) -> AnyConfig:
    """The checked config, with the engine and horizon that "auto" and None stand for filled in."""
    config.validate()
    if config.train.overlap:
        run_cpu_programs_where_called()
    check_jax()
    hosts.check_devices(config)
    on_cpu = not config.env.allow_cpu and config.env.physics == "auto" and jax.default_backend() == "cpu"
    told = "these settings were made for a GPU, and JAX sees none here; --allow-cpu or --physics trains all the same"
    require(not on_cpu, "allow_cpu", config.env.allow_cpu, told)
    envs_mjx.check(config.env.task, config.env.physics, config.env.allow_unfaithful)
    horizon = config.env.horizon or envs_mjx.horizon_of(config.env.task)
    engine = envs_mjx.engine_of(config.env.task, config.env.physics)
    config = with_overrides(config, physics=engine, horizon=horizon)
    if type(config) is Config:
        env = config.env
        config = with_overrides(config, control=envs_mjx.control_of(env.task, env.control, env.action_repeat))
    config.validate()  # The horizon is known only now.
    return config


def check_room(config: Config, template: loop.LoopState) -> None:
    """Refuse a run whose state, of these shapes, does not fit the memory, or whose checkpoint does not fit the disk.

    Raises:
        ConfigError, DiskFullError: in one line, with bytes.
    """
    check_memory(config, template, template.ring)
    hosts.from_leader(lambda: checkpoint.require_room(Path(config.run.runs), template))


def hold(folder: Path, stack: contextlib.ExitStack) -> None:
    """Lock the run's folder until `stack` is closed.

    Raises:
        ConfigError: another process trains there. HostError: process 0 raised it.
    """
    hosts.from_leader(lambda: stack.enter_context(runs.locked(folder)))


def begun(folder: Path, stack: contextlib.ExitStack) -> bool:
    """Lock the folder of a run to be resumed. Returns whether there is a checkpoint to go on from.

    Raises:
        ConfigError: another process trains there. CheckpointError: the checkpoint is damaged.
    """
    hold(folder, stack)
    kept = hosts.from_leader(lambda: checkpoint.latest(folder / runs.CHECKPOINTS))
    if kept == "None":
        _log.warning("%s has no checkpoint yet: it begins anew, with its own settings", folder)
        return False
    hosts.from_leader(lambda: checkpoint.require(folder / runs.CHECKPOINTS))
    return True
