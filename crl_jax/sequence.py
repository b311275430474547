"""Continual learning: tasks one after another, in one process, in the one training loop (`train.rounds`).

    task 0: init -> rounds -> end     boundary     task 1: begin -> rounds -> end     boundary     ...

Every evaluation scores the tasks begun so far (`scored="seen"`) or all tasks. A task is scored with the policy that the
method provides for it (`Method.view`), on the same episodes every time: `eval/<number>/success_any` and
`.../success_final` are the rows of the matrix S[t, task]. A method may act at a task's end (`Method.end`); the task's
last evaluation comes after that. Env steps are counted over the whole sequence. A checkpoint stores the number of its
task, so that a resumed run continues in the middle of that task.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import jax

from crl_jax import loop, runs
from crl_jax.config import Config
from crl_jax.config.checks import require
from crl_jax.config.sequence import SequenceConfig, resolved
from crl_jax.runs import checkpoint
from crl_jax.runs.loggers import closing
from crl_jax.scale import compilation_cache, hosts
from crl_jax.scale.machine import check_jax
from crl_jax.stage_programs import StagePrograms
from crl_jax.stages import Stages
from crl_jax.start import begun, check_room, hold
from crl_jax.train import (
    Counters,
    Lane,
    Result,
    Run,
    evaluate,
    open_loggers,
    rounds,
    tell,
    train,
    warm_up,
)

ENDED = "sequence/ended"
"""Metric that is logged when a task ends; its value is the task's number."""


def train_any(config: Config, resume: Path | None = None, console: bool = True) -> Result:
    """Run `train_sequence` for a `SequenceConfig`, `train` for any other config."""
    if isinstance(config, SequenceConfig):
        return train_sequence(config, resume, console)
    return train(config, resume, console)


def train_sequence(config: SequenceConfig, resume: Path | None = None, console: bool = True) -> Result:
    """Train a sequence of tasks, from the start or from the last checkpoint of a run folder.

    Args:
        config: settings of the run; to resume, the stored settings (see `runs.resume`).
        resume: folder of the run to continue.
        console: show a progress bar.

    Raises:
        ConfigError, EnvError, CheckpointError: one line, before anything is compiled.
        DiskFullError: while saving a checkpoint; the previous checkpoint stays intact.
    """
    config = ready(config)
    folder, counters, state = None if resume is None else Path(resume), Counters(), None
    with contextlib.ExitStack() as stack:
        if folder is not None and begun(folder, stack):
            counters = Counters(**checkpoint.host_values(folder / runs.CHECKPOINTS)["counters"])
        compilation_cache.enable()
        stages = Stages.of(config)
        check_room(config, stages.template(counters.task))
        if folder is None:
            config = runs.create(config)
            folder = Path(config.run.runs) / config.run.name
            hold(folder, stack)
        if counters.env_steps:
            state, _ = checkpoint.restore(folder / runs.CHECKPOINTS, stages.template(counters.task))
        loggers = open_loggers(folder, config, counters, console)
        stack.enter_context(closing(loggers))
        stop = stack.enter_context(runs.stop_on_signals())
        return _run(stages, state, counters, [Lane(folder, config, loggers)], stop)


def ready(config: SequenceConfig) -> SequenceConfig:
    """The checked config, with the settings that follow from its tasks filled in.

    Raises:
        ConfigError: a bad setting, or several processes.
    """
    config.validate()
    check_jax()
    hosts.check_devices(config)
    require(hosts.count() == 1, "num_processes", hosts.count(), "a sequence of tasks takes one process; set 1")
    return resolved(config)


def _run(
    stages: Stages, state: loop.LoopState | None, counters: Counters, lanes: list[Lane], stop: runs.StopRequest
) -> Result:
    """Train the remaining tasks, starting from `state`, or from a fresh state if it is None."""
    programs, first = StagePrograms(stages), counters.task
    trainer = programs.trainer(first)
    begun = trainer.setup.init(trainer.setup.key()) if state is None else state
    run = Run(trainer, begun, counters, lanes, stop)
    for number in range(first, len(stages.tasks)):
        if number > first:
            run.trainer = programs.trainer(number)
        told = {
            "time/compile_seconds": run.trainer.compile_seconds,
            "sequence/task": float(number),
            "sequence/programs_asked": float(programs.compiler.asked),
            "sequence/programs_compiled": float(programs.compiler.compiled),
        }
        tell(run, told)
        if number > first:
            run.state = programs.begin(number, run.state)
        empty_ring = state is None if number == first else stages.config.boundary.replay_mode == "reset"
        if empty_ring:
            warm_up(run)
        rounds(run)
        if stop.signal or not _finish(run, programs, number):
            break
    return run.results()[0]


def _finish(run: Run, programs: StagePrograms, number: int) -> bool:
    """End task `number`: run the method's `end`, then evaluate once more. Returns False if a signal stopped it.

    The checkpoint of a stopped run is the one after the task's last round. A resumed run repeats this function.
    """
    started, compiling = time.perf_counter(), programs.compiler.seconds
    finished, updates = programs.finish(number, run.state, run.stop)
    if run.stop.signal:
        return False
    run.state = jax.block_until_ready(finished)
    run.counters.seconds += time.perf_counter() - started - (programs.compiler.seconds - compiling)
    run.counters.updates += updates
    if programs.stages.method.end is not None:
        evaluate(run)
    tell(run, {ENDED: float(number)})
    run.counters.task = number + 1
    return True
