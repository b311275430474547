"""The training loop: rounds of compiled iterations, evaluation, logs, checkpoints.

    reset -> [ collect(unroll) -> insert(ring) -> sample(rows) -> relabel(future goals) -> scan(update) ] x iterations
                                                                         |
                                       evaluate (fresh keys, native success) -> log -> checkpoint

`loop.make_round` makes the bracket: one jitted function whose argument is donated. The host sees only its metrics. The
loop is the same for every algorithm: `agents.make` returns the agent.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

import envs_mjx
from crl_jax import loop, runs
from crl_jax.config import Config, ConfigError, TrainingError, with_overrides
from crl_jax.data import Recorded, described, filled, recorded_data
from crl_jax.runs import checkpoint
from crl_jax.runs.loggers import Logger, closing, make_loggers
from crl_jax.scale import compilation_cache, hosts
from crl_jax.start import begun, check_room, hold, ready
from crl_jax.trainer import EVAL_STREAM, Setup, Trainer, build, compile_all
from envs_mjx.base import EnvError, GoalEnv, check_buffers

_log = logging.getLogger(__name__)
SOLVED = 2
"""Evaluations in a row that must reach the config's `until` for a run to end."""


@dataclass
class Counters:
    """Host counters of a run: Python ints, which never overflow. `seconds` is wall-clock without compilation."""

    env_steps: int = 0
    updates: int = 0
    seconds: float = 0.0
    next_eval: int = 0
    next_checkpoint: int = 0
    solved: int = 0
    """Evaluations in a row, up to the last one, that reached the config's `until`."""
    task: int = 0
    """Finished tasks of a sequence."""


@dataclass
class Result:
    """What `train` returns: the run's folder, its last evaluation, and the signal that stopped it early, if any."""

    folder: Path
    config: Config
    counters: Counters
    evaluation: dict[str, float] = field(default_factory=dict)
    stopped_by: str | None = None
    trained: bool = True
    """False: the run that was to be resumed had already ended."""


@dataclass(frozen=True)
class Lane:
    """One seed's run: its folder, its config and its loggers."""

    folder: Path
    config: Config
    loggers: list[Logger]


@dataclass
class Run:
    """A run in progress, or several runs that differ only in their seed and share one program.

    Attributes:
        trainer: the compiled programs.
        state: the whole state on the device; replaced by every round.
        lanes: one for each seed.
        evaluations: the last evaluation of each lane.
    """

    trainer: Trainer
    state: loop.LoopState
    counters: Counters
    lanes: list[Lane]
    stop: runs.StopRequest
    evaluations: list[dict[str, float]] = field(default_factory=list)

    @property
    def setup(self) -> Setup:
        return self.trainer.setup

    @property
    def folder(self) -> Path:
        """The folder of the first lane."""
        return self.lanes[0].folder

    def each_lane(self, tree: Any) -> list[Any]:
        """The part of `tree` that belongs to each lane, copied to the host."""
        tree = jax.tree.map(np.asarray, tree)
        return [self.setup.lane(tree, index) for index in range(len(self.lanes))]

    def results(self) -> list[Result]:
        """The `Result` of each lane."""
        evaluations = self.evaluations or [{} for _ in self.lanes]
        return [
            Result(lane.folder, lane.config, self.counters, evaluation, self.stop.signal)
            for lane, evaluation in zip(self.lanes, evaluations, strict=True)
        ]


def train(config: Config, resume: Path | None = None, console: bool = True) -> Result:
    """Train, from the start or from the last checkpoint of a run folder.

    With several processes (`hosts.joined`), each calls this function with the same arguments; process 0 writes the
    run's files.

    Args:
        config: settings of the run; to resume, the stored settings (see `runs.resume`).
        resume: folder of the run to continue.
        console: show a progress bar.

    Raises:
        ConfigError, EnvError, CheckpointError: one line, before anything is compiled.
        DiskFullError: while saving a checkpoint; the previous checkpoint stays intact.
        TrainingError: a loss or another metric of the updates is not finite.
        HostError: process 0 raised one of these.
    """
    config, resume = ready(config), None if resume is None else Path(resume)
    with contextlib.ExitStack() as stack:
        goes_on = resume is not None and begun(resume, stack)
        compilation_cache.enable()
        setup, counters, state = build(config), Counters(), None
        check_room(config, setup.template)
        recorded = None if goes_on else recorded_data(config, setup.env)
        if recorded is not None and console and hosts.is_leader():
            print(described(config, recorded), flush=True)
        if resume is None:
            config = with_overrides(config, name=hosts.from_leader(lambda: runs.create(config).run.name))
            folder = Path(config.run.runs) / config.run.name
            if hosts.is_leader():
                stack.push(lambda kind, *_: runs.discard(folder) if kind and issubclass(kind, ConfigError) else None)
            runs.check_shared(folder)
            hold(folder, stack)
        else:
            folder = resume
        if goes_on:
            state, host = checkpoint.restore(folder / runs.CHECKPOINTS, setup.template)
            counters = Counters(**host["counters"])
            _note_until(config, counters, host["config"]["evaluation"].get("until", 0.0))
            if counters.solved >= SOLVED or counters.env_steps >= config.train.total_env_steps:
                return Result(folder, config, counters, trained=False)
        loggers = open_loggers(folder, config, counters, console) if hosts.is_leader() else []
        stack.enter_context(closing(loggers))
        stop = stack.enter_context(runs.stop_on_signals())
        return _run(compile_all(setup), state, counters, [Lane(folder, config, loggers)], stop, recorded)[0]


def _note_until(config: Config, counters: Counters, before: float) -> None:
    """Forget evaluations that were counted for another `until`."""
    if before != config.evaluation.until:
        counters.solved = 0


def train_seeds(config: Config, seeds: Sequence[int], console: bool = True) -> list[Result]:
    """Train one run per seed, all in one program on one device (`jax.vmap`). Each run has a folder of its own.

    Every run draws the same random numbers as `train` with its seed, and can be resumed by itself.

    Raises:
        ConfigError, EnvError: as `train`; or seeds that are not distinct, several devices, an engine outside JAX.
    """
    if config.train.overlap:
        raise ConfigError("overlap=True: several seeds in one program collect in it; leave it out, or a run per seed")
    config, seeds = ready(config), tuple(seeds)
    if len(set(seeds)) < max(2, len(seeds)):
        raise ConfigError(f"seeds={list(seeds)}: at least 2 wanted, all different")
    if config.train.data:
        raise ConfigError(f"data={config.train.data}: several seeds in one program collect their own; a run per seed")
    if config.train.devices > 1 or hosts.count() > 1:
        raise ConfigError(f"devices={config.train.devices}: several seeds in one program take one device; set 1")
    if not envs_mjx.in_jax(config.env.task, config.env.physics):
        raise ConfigError(
            f"physics={config.env.physics!r}: several seeds in one program need an engine in JAX; take physics='jax'"
            " (bodies with motors: 'spring'), a maze, or a job for each seed (python -m experiments.slurm)"
        )
    compilation_cache.enable()
    setup, counters = build(config, seeds), Counters()
    check_room(config, setup.template)
    with contextlib.ExitStack() as stack:
        lanes: list[Lane] = []
        for seed in seeds:
            name = config.run.name and f"{config.run.name}-s{seed}"
            mine = runs.create(with_overrides(config, seed=seed, name=name))
            folder = Path(mine.run.runs) / mine.run.name
            hold(folder, stack)
            loggers = open_loggers(folder, mine, counters, console and not lanes)
            stack.enter_context(closing(loggers))
            lanes.append(Lane(folder, mine, loggers))
        stop = stack.enter_context(runs.stop_on_signals())
        return _run(compile_all(setup), None, counters, lanes, stop)


def open_loggers(folder: Path, config: Config, counters: Counters, console: bool) -> list[Logger]:
    """Write the run's config and command, and open its loggers. Only one process may call this."""
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
    lanes: list[Lane],
    stop: runs.StopRequest,
    recorded: Recorded | None = None,
) -> list[Result]:
    """Train to the end, from `state`; or from a fresh state, whose ring `recorded` or the warm-up fills."""
    fresh = state is None
    state = trainer.setup.init(trainer.setup.key()) if state is None else state
    run = Run(trainer, state, counters, lanes, stop)
    tell(run, {"time/compile_seconds": trainer.compile_seconds})
    if fresh and recorded is not None:
        run.state = filled(run.state, trainer.setup.config, trainer.setup.env, recorded)
        _schedule(run)
    elif fresh:
        warm_up(run)
    rounds(run)
    return run.results()


def warm_up(run: Run) -> None:
    """Fill the empty ring with random actions."""
    config, counters = run.setup.config, run.counters
    run.stop.under_way = "warm-up and one round"
    started = time.perf_counter()
    run.state = jax.block_until_ready(run.trainer.warm_up(run.state))
    counters.env_steps += config.train.warm_up_unrolls(config.env.num_envs) * config.env_steps_per_iteration()
    counters.seconds += time.perf_counter() - started
    _schedule(run)
    _check_buffers(run, run.setup.env, run.trainer.buffers_used(run.state.env.metrics))


def _schedule(run: Run) -> None:
    """Set when the first evaluation and the first checkpoint are due."""
    config, counters = run.setup.config, run.counters
    counters.next_eval = counters.next_eval or config.evaluation.eval_every
    counters.next_checkpoint = counters.next_checkpoint or config.run.checkpoint_every


def rounds(run: Run) -> None:
    """Run rounds until `total_env_steps` or a signal, with evaluations, logs and checkpoints on the way.

    The last state is always saved.
    """
    config, counters = run.setup.config, run.counters
    run.evaluations = [{} for _ in run.lanes]
    saved_at = -1
    while counters.env_steps < config.train.total_env_steps and counters.solved < SOLVED and not run.stop.agreed():
        _round(run)
        if counters.env_steps >= min(counters.next_eval, config.train.total_env_steps):
            evaluate(run)
        if counters.env_steps >= counters.next_checkpoint:
            saved_at = _checkpoint(run)
    if saved_at != counters.env_steps:
        _checkpoint(run)


def _round(run: Run) -> None:
    """Call the compiled round once, count its steps and log its metrics."""
    config, counters = run.setup.config, run.counters
    env_steps = config.train.iterations_per_round * config.env_steps_per_iteration()
    updates = config.train.iterations_per_round * config.train.updates_per_iteration
    started = time.perf_counter()
    run.state, metrics, episodes = run.trainer.round(run.state)
    used = run.trainer.buffers_used(run.state.env.metrics)
    shared = {f"train/{name}": float(value) for name, value in used.items()}
    records = [
        {f"train/{name}": float(value) for name, value in one.items()} | _episode_metrics(ended) | shared
        for one, ended in run.each_lane((metrics, episodes))
    ]
    seconds = time.perf_counter() - started
    run.stop.under_way = f"round ({seconds:.0f} s)" if seconds >= 1 else "round"
    counters.env_steps += env_steps
    counters.updates += updates
    counters.seconds += seconds
    speed = {"time/env_steps_per_s": env_steps / seconds, "time/updates_per_s": updates / seconds}
    tell(run, *(record | speed | _device_memory() for record in records))
    _check_finite(run, records)
    _check_buffers(run, run.setup.env, used)


def evaluate(run: Run) -> None:
    """Score each lane's policy on fresh episodes. Logs the metrics and stores them in `run.evaluations`."""
    setup, counters = run.setup, run.counters
    started = time.perf_counter()
    # The key depends on the position in training, so that a resumed run evaluates on the same episodes.
    position = counters.env_steps // setup.config.env_steps_per_iteration()
    metrics = run.trainer.evaluate(run.state.agent, setup.key(EVAL_STREAM, position))
    run.evaluations = [{name: float(value) for name, value in one.items()} for one in run.each_lane(metrics)]
    counters.seconds += time.perf_counter() - started
    every = setup.config.evaluation.eval_every
    counters.next_eval = (counters.env_steps // every + 1) * every
    until = setup.config.evaluation.until
    reached = until > 0 and all(one["success_final"] >= until for one in run.evaluations)
    counters.solved = counters.solved + 1 if reached else 0
    tell(run, *({f"eval/{name}": value for name, value in one.items()} for one in run.evaluations))
    for evaluation in run.evaluations:
        _check_buffers(run, setup.eval_env, evaluation)


def _check_finite(run: Run, records: Sequence[Mapping[str, float]]) -> None:
    """Stop the run if a loss or another metric of the round's updates is not finite, before a checkpoint keeps it.

    Raises:
        TrainingError: with the iterations in which it happened, the last good checkpoint, and what to try.
    """
    for lane, record in zip(run.lanes, records, strict=True):
        lost = [name.removeprefix("train/") for name, value in record.items() if not math.isfinite(value)]
        lost.sort(key=lambda name: not name.endswith("_loss"))
        if not lost:
            continue
        train, kept = run.setup.config.train, checkpoint.steps(lane.folder / runs.CHECKPOINTS)
        last = run.counters.updates // train.updates_per_iteration
        good = f"the last checkpoint, at {kept[-1]:,} env steps, is good" if kept else "there is no checkpoint yet"
        more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
        raise TrainingError(
            f"{lane.folder}: training is lost: {', '.join(lost[:3])}{more} not finite in iterations"
            f" {last - train.iterations_per_round + 1} to {last}; {good}; start a run with a smaller --critic-lr and"
            " --actor-lr, or with --max-grad-norm 1"
        )


def _check_buffers(run: Run, env: GoalEnv, metrics: Mapping[str, Any]) -> None:
    """Stop the run if an engine buffer overflowed, before the spoiled state reaches a checkpoint.

    Raises:
        EnvError: with the buffer size to set, and how to continue.
    """
    try:
        check_buffers(env.spec, metrics)
    except EnvError as error:
        kept = checkpoint.steps(run.folder / runs.CHECKPOINTS)
        raise EnvError(f"{error} and {f'--resume {run.folder}' if kept else 'start again'}") from None


def _checkpoint(run: Run) -> int:
    """Save a checkpoint of each lane. Returns the current env steps."""
    counters, every = run.counters, run.setup.config.run.checkpoint_every
    counters.next_checkpoint = (counters.env_steps // every + 1) * every
    for index, lane in enumerate(run.lanes):
        if hosts.is_leader() and not (lane.folder / runs.CONFIG).exists():
            raise TrainingError(f"{lane.folder}: the folder was deleted while it trained; nothing can be saved there")
        host = {"counters": dataclasses.asdict(counters), "config": lane.config.to_dict()}
        folder, state = lane.folder / runs.CHECKPOINTS, run.setup.lane(run.state, index)
        checkpoint.save(folder, counters.env_steps, state, host, lane.config.run.keep)
    return counters.env_steps


def tell(run: Run, *records: dict[str, float]) -> None:
    """Log one record per lane, or one record for all lanes, together with the run's counters."""
    counters = run.counters
    for lane, record in zip(run.lanes, records * len(run.lanes) if len(records) == 1 else records, strict=True):
        told = record | {"updates": counters.updates, "time/seconds": counters.seconds}
        for logger in lane.loggers:
            logger.log(told, counters.env_steps)


def _episode_metrics(episodes: loop.EpisodeSums) -> dict[str, float]:
    """Divergences, and the share of the round's ended episodes with the object moved (absent if none ended)."""
    metrics = {"train/diverged": float(episodes.diverged)}
    if episodes.object_moved is not None and episodes.count > 0:
        metrics["train/object_moved"] = float(episodes.object_moved) / float(episodes.count)
    return metrics


def _device_memory() -> dict[str, float]:
    """Peak bytes in use on the first local device; empty if the backend does not report them."""
    stats = jax.local_devices()[0].memory_stats() or {}
    return {"device/peak_bytes": stats["peak_bytes_in_use"]} if "peak_bytes_in_use" in stats else {}
