"""THE training loop: rounds of compiled iterations, evaluation, logs, checkpoints.

    reset -> [ collect(unroll) -> insert(ring) -> sample(rows) -> relabel(future goals) -> scan(update) ] x iterations
                                                                         |
                                       evaluate (fresh keys, native success) -> log -> checkpoint

The bracket is `loop.make_round`, one jitted, donated function; the host sees only its metrics. Nothing here knows an
algorithm: agents come as values from `agents.make`.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

import envs_mjx
from crl_jax import agents, checkpoint, compilation_cache, hosts, loop, parallel, runs
from crl_jax.config import Config, EnvConfig, with_overrides
from crl_jax.evaluate import buffers_used, evaluate
from crl_jax.loggers import Logger, closing, make_loggers
from crl_jax.rollout import agent_policy
from crl_jax.types import Agent, AgentState, Metrics
from envs_mjx.base import EnvError, GoalEnv, check_buffers
from envs_mjx.physics import resolve

_EVAL_STREAM = 7919
"""Separates evaluation keys from training keys of the same seed."""


@dataclass
class Counters:
    """Host counters of a run: Python ints, which never overflow. `seconds` is wall-clock without compilation."""

    env_steps: int = 0
    updates: int = 0
    seconds: float = 0.0
    next_eval: int = 0
    next_checkpoint: int = 0


@dataclass
class Result:
    """What `train` returns: the run's folder, its last evaluation, and the signal that stopped it early, if any."""

    folder: Path
    config: Config
    counters: Counters
    evaluation: dict[str, float] = field(default_factory=dict)
    stopped_by: str | None = None


@dataclass
class Trainer:
    """The environment, agent and compiled functions of one run."""

    config: Config
    env: GoalEnv
    eval_env: GoalEnv
    agent: Agent
    init: Callable[[jax.Array], loop.LoopState]
    mesh: Mesh | None = None
    warm_up: Any = None
    round: Any = None
    evaluate: Any = None
    buffers_used: Any = None
    compile_seconds: float = 0.0

    @property
    def template(self) -> loop.LoopState:
        """Shapes of the state, and how it is split over the devices; nothing allocated."""
        return parallel.shaped(jax.eval_shape(self.init, jax.random.PRNGKey(0)), loop.SPECS, self.mesh)


def build(config: Config) -> Trainer:
    """Environment and agent of `config`, nothing compiled yet.

    Raises:
        ConfigError, EnvError: a bad setting, in one line.
    """
    config = config.validate()
    mesh = parallel.make_mesh(config)
    axis, devices = parallel.axis_of(mesh), config.train.devices
    env = make_env(config.env, config.env.num_envs // devices)
    episodes = config.evaluation.eval_episodes // devices
    eval_env = env if episodes == env.num_envs else make_env(config.env, episodes)
    agent = agents.make(config, env.spec, axis)

    def init(key: jax.Array) -> loop.LoopState:
        return loop.init(env, agent, config.train, key, axis)

    return Trainer(config, env, eval_env, agent, parallel.jitted(init, mesh, P(), loop.SPECS), mesh)


def make_env(config: EnvConfig, num_envs: int) -> GoalEnv:
    """`num_envs` environments as a run's config has them; the pool of contacts grows with their number."""
    return envs_mjx.make(
        config.task,
        num_envs,
        physics=config.physics,
        goal=config.goal,
        horizon=config.horizon,
        threads=config.threads,
        naconmax=config.naconmax * max(1, -(-num_envs // config.num_envs)),
        njmax=config.njmax,
        allow_unfaithful=config.allow_unfaithful,
    )


def compile_all(trainer: Trainer) -> Trainer:
    """Compile warm-up, round and evaluation ahead of time, from shapes."""
    started = time.perf_counter()
    config, env, agent, mesh = trainer.config, trainer.env, trainer.agent, trainer.mesh
    axis = parallel.axis_of(mesh)
    state, key = trainer.template, jax.eval_shape(lambda: jax.random.PRNGKey(0))
    deterministic = not config.evaluation.stochastic_eval

    def evaluate_agent(agent_state: AgentState, key: jax.Array) -> Metrics:
        return evaluate(trainer.eval_env, agent_policy(agent, agent_state, deterministic), key, axis)

    split, copies, donated = loop.SPECS, P(), (0,)
    warm_up = parallel.jitted(loop.make_warm_up(env, config.train, axis), mesh, (split,), split, donated)
    round_ = loop.make_round(env, agent, config, axis)
    round_ = parallel.jitted(round_, mesh, (split,), (split, copies, copies), donated)
    trainer.warm_up = warm_up.lower(state).compile()
    trainer.round = round_.lower(state).compile()
    trainer.evaluate = parallel.jitted(evaluate_agent, mesh, copies, copies).lower(state.agent, key).compile()

    def used(metrics: Metrics) -> Metrics:
        return parallel.largest(buffers_used(env.spec, metrics), axis)

    used_by_all = parallel.jitted(used, mesh, (split.env,), copies)
    trainer.buffers_used = used_by_all if env.spec.buffers else lambda metrics: {}
    trainer.compile_seconds = time.perf_counter() - started
    return trainer


def train(config: Config, resume: Path | None = None, console: bool = True) -> Result:
    """Train, from the start or from the last checkpoint of a run folder.

    Of several processes (`hosts.joined`) each calls this with the same arguments; process 0 keeps the run's files.

    Args:
        config: the run's settings; with `resume`, those of the run (see `runs.resume`).
        resume: folder of the run to continue.
        console: show a progress bar.

    Raises:
        ConfigError, EnvError, CheckpointError: one line, before anything is compiled; DiskFullError at a checkpoint,
        with the previous checkpoint intact. HostError: process 0 raised one of these.
    """
    config, resume = config.validate(), None if resume is None else Path(resume)
    hosts.check_devices(config)
    envs_mjx.check(config.env.task, config.env.physics, config.env.allow_unfaithful)
    horizon = config.env.horizon or envs_mjx.horizon_of(config.env.task)
    config = with_overrides(config, physics=resolve(config.env.physics), horizon=horizon)
    if resume is not None:
        hosts.from_leader(lambda: checkpoint.require(resume / runs.CHECKPOINTS))
    compilation_cache.enable()
    trainer = build(config)
    counters = Counters()
    state = None
    if resume is None:
        config = with_overrides(config, name=hosts.from_leader(lambda: runs.create(config).run.name))
        folder = Path(config.run.runs) / config.run.name
        runs.check_shared(folder)
    else:
        folder = resume
        state, host = checkpoint.restore(folder / runs.CHECKPOINTS, trainer.template)
        counters = Counters(**host["counters"])
    trainer.config = config
    loggers = _open(folder, config, counters, console) if hosts.is_leader() else []
    with closing(loggers), runs.stop_on_signals() as stop:
        return _run(compile_all(trainer), state, counters, folder, loggers, stop)


def _open(folder: Path, config: Config, counters: Counters, console: bool) -> list[Logger]:
    """The run's files, for one process to write."""
    runs.write_json(folder / runs.CONFIG, config.to_dict())
    runs.note_command(folder)
    return make_loggers(
        folder,
        config.train.total_env_steps,
        tensorboard=config.run.tensorboard,
        wandb=config.run.wandb,
        resume_env_steps=counters.env_steps,
        console=console,
        config=config.to_dict(),
        name=config.run.name,
    )


def _run(
    trainer: Trainer,
    state: loop.LoopState | None,
    counters: Counters,
    folder: Path,
    loggers: list[Logger],
    stop: runs.StopRequest,
) -> Result:
    config = trainer.config
    result = Result(folder, config, counters)
    log(loggers, {"time/compile_seconds": trainer.compile_seconds}, counters)
    if state is None:
        state = _warm_up(trainer, counters)
        _check_buffers(trainer.env, trainer.buffers_used(state.env.metrics), folder)
    per_round = config.train.iterations_per_round * config.env_steps_per_iteration()
    updates_per_round = config.train.iterations_per_round * config.train.updates_per_iteration
    saved_at = -1
    while counters.env_steps < config.train.total_env_steps and not stop.agreed():
        started = time.perf_counter()
        state, metrics, episodes = trainer.round(state)
        used = trainer.buffers_used(state.env.metrics)
        metrics = {f"train/{name}": float(value) for name, value in (metrics | used).items()}
        metrics |= _episode_metrics(episodes)
        seconds = time.perf_counter() - started
        counters.env_steps += per_round
        counters.updates += updates_per_round
        counters.seconds += seconds
        speed = {"time/env_steps_per_s": per_round / seconds, "time/updates_per_s": updates_per_round / seconds}
        log(loggers, metrics | speed | _device_memory(), counters)
        _check_buffers(trainer.env, used, folder)
        if counters.env_steps >= min(counters.next_eval, config.train.total_env_steps):
            result.evaluation = _evaluate(trainer, state, counters, loggers)
            _check_buffers(trainer.eval_env, result.evaluation, folder)
        if counters.env_steps >= counters.next_checkpoint:
            saved_at = _checkpoint(folder, state, counters, config)
    if saved_at != counters.env_steps:
        _checkpoint(folder, state, counters, config)
    result.stopped_by = stop.signal
    return result


def _warm_up(trainer: Trainer, counters: Counters) -> loop.LoopState:
    config = trainer.config
    started = time.perf_counter()
    key = parallel.copied(jax.random.PRNGKey(config.run.seed), trainer.mesh)
    state = jax.block_until_ready(trainer.warm_up(trainer.init(key)))
    counters.env_steps = config.train.warm_up_unrolls(config.env.num_envs) * config.env_steps_per_iteration()
    counters.seconds = time.perf_counter() - started
    counters.next_eval = config.evaluation.eval_every
    counters.next_checkpoint = config.run.checkpoint_every
    return state


def _evaluate(trainer: Trainer, state: loop.LoopState, counters: Counters, loggers: list[Logger]) -> dict[str, float]:
    started = time.perf_counter()
    stream = jax.random.fold_in(jax.random.PRNGKey(trainer.config.run.seed), _EVAL_STREAM)
    # By position in training, so that a resumed run meets the same episodes as an uninterrupted one.
    position = counters.env_steps // trainer.config.env_steps_per_iteration()
    key = parallel.copied(jax.random.fold_in(stream, position), trainer.mesh)
    metrics = trainer.evaluate(state.agent, key)
    evaluation = {name: float(value) for name, value in metrics.items()}
    counters.seconds += time.perf_counter() - started
    every = trainer.config.evaluation.eval_every
    counters.next_eval = (counters.env_steps // every + 1) * every
    log(loggers, {f"eval/{name}": value for name, value in evaluation.items()}, counters)
    return evaluation


def _check_buffers(env: GoalEnv, metrics: Mapping[str, Any], folder: Path) -> None:
    """`check_buffers`, before what an overflow has spoiled is kept.

    Raises:
        EnvError: the size to set, and how to go on.
    """
    try:
        check_buffers(env.spec, metrics)
    except EnvError as error:
        kept = checkpoint.steps(folder / runs.CHECKPOINTS)
        raise EnvError(f"{error} and {f'--resume {folder}' if kept else 'start again'}") from None


def _checkpoint(folder: Path, state: loop.LoopState, counters: Counters, config: Config) -> int:
    every = config.run.checkpoint_every
    counters.next_checkpoint = (counters.env_steps // every + 1) * every
    host = {"counters": dataclasses.asdict(counters), "config": config.to_dict()}
    checkpoint.save(folder / runs.CHECKPOINTS, counters.env_steps, state, host, config.run.keep)
    return counters.env_steps


def log(loggers: list[Logger], metrics: dict[str, float], counters: Counters) -> None:
    """One record to every logger, with the run's counters."""
    record = metrics | {"updates": counters.updates, "time/seconds": counters.seconds}
    for logger in loggers:
        logger.log(record, counters.env_steps)


def _episode_metrics(episodes: loop.EpisodeSums) -> dict[str, float]:
    """Divergences, and the share of the episodes ended in this round whose object had moved; absent if none ended."""
    metrics = {"train/diverged": float(episodes.diverged)}
    if episodes.object_moved is not None and episodes.count > 0:
        metrics["train/object_moved"] = float(episodes.object_moved) / float(episodes.count)
    return metrics


def _device_memory() -> dict[str, float]:
    """Peak bytes in use, where the backend tells."""
    stats = jax.local_devices()[0].memory_stats() or {}
    return {"device/peak_bytes": stats["peak_bytes_in_use"]} if "peak_bytes_in_use" in stats else {}
