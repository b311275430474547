"""Tasks x presets x seeds on a Slurm cluster: `python -m experiments.slurm --tasks push --seeds 0 1 2`.

Each run is one job of a job array. A job that is preempted or nears its time limit saves its run, and submitit requeues
the job. The run's folder has a fixed name (<task>-<preset>-s<seed>), so that the next job finds it and continues.
Submitting the same command again continues unfinished runs. `--executor local` runs the same jobs on this machine, one
after another. `--dry-run` prints the sbatch script; it needs no Slurm on the machine.
"""

from __future__ import annotations

import importlib
import itertools
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from configs import PRESETS
from crl_jax import runs
from crl_jax.cli.options import call
from crl_jax.config import Config, ConfigError, differences, nearest, with_overrides
from crl_jax.runs import checkpoint
from crl_jax.scale import hosts
from envs_mjx.base import EnvError

_RESOLVED = ("physics", "horizon")
"""Fields that training fills in when the config leaves them open."""


@dataclass(frozen=True)
class Cluster:
    """Resources that each job requests from Slurm."""

    partition: str | None = None
    """Partition; the cluster's default when None."""
    account: str | None = None
    """Account to charge."""
    minutes: int = 240
    """Time limit of one job; a run that needs longer is requeued."""
    nodes: int = 1
    """Hosts of one run."""
    tasks_per_node: int = 1
    """Processes per host: 1, or one per GPU. All processes of a run train together (`--devices` counts all)."""
    gpus_per_node: int = 0
    """GPUs per host."""
    cpus_per_task: int = 8
    """Cores per process."""
    mem_gb: int | None = None
    """Host memory per node; the cluster's default when None."""
    parallel: int = 256
    """Jobs of the array that run at once."""
    requeues: int = 20
    """How often a job is requeued after its time limit; preemptions are not counted."""
    signal_delay_s: int = 120
    """Seconds before the time limit at which a job is signalled to save. A round and a checkpoint must fit in."""


@dataclass(frozen=True)
class TrainJob:
    """One run, started or continued: the callable that submitit runs on the cluster."""

    config: Config

    def __call__(self) -> dict[str, Any]:
        """Train to the end.

        Returns:
            folder, env_steps, updates and the last evaluation of the run.
        """
        with hosts.joined():
            from crl_jax.sequence import train_any

            result = train_any(*resumed(self.config), console=False)
        if result.stopped_by in ("SIGTERM", "SIGUSR2"):
            # The run is saved. submitit's handler of this signal requeues the job and does not return.
            signal.raise_signal(signal.SIGUSR2)
        counters = result.counters
        done = {"folder": str(result.folder), "env_steps": counters.env_steps, "updates": counters.updates}
        return done | {f"eval/{name}": value for name, value in result.evaluation.items()}

    def checkpoint(self) -> Any:
        """The job that submitit requeues when this job is stopped: the same job, which finds its run's folder."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def resumed(config: Config) -> tuple[Config, Path | None]:
    """The config and the folder to resume from; (config, None) when the run has no checkpoint yet.

    Raises:
        ConfigError: the folder holds a run of other settings.
    """
    found = hosts.from_leader(lambda: _found(config))  # Process 0 alone: `_found` also deletes a config.
    if not found:
        return config, None
    known = runs.load(Path(found))
    wanted = with_overrides(config, physics=known.env.physics, horizon=known.env.horizon)
    return runs.resume(Path(found), wanted), Path(found)


def _found(config: Config) -> str:
    """The run's folder if it holds a checkpoint. Else "", and the folder's config.json is deleted."""
    folder = Path(config.run.runs) / config.run.name
    refuse_another(config)
    if checkpoint.latest(folder / runs.CHECKPOINTS) is not None:
        return str(folder)
    (folder / runs.CONFIG).unlink(missing_ok=True)  # Stopped before its first checkpoint: start anew.
    return ""


def refuse_another(config: Config) -> None:
    """Refuse a folder that holds a run of other settings.

    Raises:
        ConfigError: the fields that differ.
    """
    folder = Path(config.run.runs) / config.run.name
    if (folder / runs.CONFIG).exists():
        changed = differences(runs.load(folder), config, (*runs.MAY_CHANGE, *_RESOLVED))
        if changed:
            raise ConfigError(f"{folder} holds another run ({'; '.join(changed)}): choose another --runs-folder")


def plan(
    tasks: tuple[str, ...],
    presets: tuple[str, ...],
    seeds: tuple[int, ...],
    folder: Path,
    total_env_steps: int | None = None,
    devices: int = 1,
) -> list[TrainJob]:
    """One validated job per task, preset and seed. These three alone determine the run's name and folder.

    Raises:
        ConfigError: an unknown preset, a bad setting, or a folder that holds a run of other settings.
    """
    jobs = []
    for task, preset, seed in itertools.product(tasks, presets, seeds):
        if preset not in PRESETS:
            raise ConfigError(f"preset={preset!r}: no such preset; nearest: {nearest(preset, PRESETS)}")
        steps = total_env_steps or PRESETS[preset].train.total_env_steps
        run = {"runs": str(folder.absolute()), "name": f"{task}-{preset}-s{seed}", "seed": seed, "video": False}
        config = with_overrides(PRESETS[preset], task=task, total_env_steps=steps, devices=devices, **run).validate()
        refuse_another(config)
        jobs.append(TrainJob(config))
    return jobs


def _submitit() -> Any:
    """The package submitit.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return importlib.import_module("submitit")
    except ImportError:
        raise ConfigError("slurm: needs submitit (pip install -e '.[cluster]')") from None


def slurm_executor(folder: Path, cluster: Cluster) -> Any:
    """submitit's executor with the cluster's settings. Slurm is needed only when a job is submitted."""
    submitit = _submitit()

    class Executor(submitit.SlurmExecutor):  # type: ignore[name-defined]
        @classmethod
        def affinity(cls) -> int:
            return 1

    executor = Executor(folder, max_num_timeout=cluster.requeues)
    asked = {
        "job_name": "crl",
        "time": cluster.minutes,
        "nodes": cluster.nodes,
        "ntasks_per_node": cluster.tasks_per_node,
        "gpus_per_node": cluster.gpus_per_node or None,
        "cpus_per_task": cluster.cpus_per_task,
        "mem": cluster.mem_gb and f"{cluster.mem_gb}GB",
        "partition": cluster.partition,
        "account": cluster.account,
        "array_parallelism": cluster.parallel,
        "signal_delay_s": cluster.signal_delay_s,
        "additional_parameters": {"requeue": True},
    }
    executor.update_parameters(**{name: value for name, value in asked.items() if value is not None})
    return executor


def sbatch_script(executor: Any, count: int) -> str:
    """The script that sbatch receives when `count` jobs are submitted."""
    if count > 1:
        executor.parameters["map_count"] = count
    return executor._make_submission_file_text(executor._submitit_command_str, "")


def local_executor(folder: Path, cluster: Cluster) -> Any:
    """submitit's executor that runs jobs as processes on this machine, with the same time limit and requeueing."""
    submitit = _submitit()

    executor = submitit.LocalExecutor(folder, max_num_timeout=cluster.requeues)
    gpus = {"gpus_per_node": cluster.gpus_per_node}
    executor.update_parameters(timeout_min=cluster.minutes, signal_delay_s=cluster.signal_delay_s, **gpus)
    return executor


def main(
    tasks: tuple[str, ...],
    seeds: tuple[int, ...] = (0, 1, 2),
    presets: tuple[str, ...] = ("metaworld_gpu",),
    runs_folder: Path = Path("runs/slurm"),
    total_env_steps: int | None = None,
    devices: int = 1,
    executor: Literal["slurm", "local"] = "slurm",
    dry_run: bool = False,
    cluster: Cluster = Cluster(),
) -> int:
    """Train every task with every preset and seed as jobs of a cluster.

    Args:
        tasks: Tasks of `crl envs`.
        seeds: Seeds.
        presets: Presets of `configs`.
        runs_folder: Folder of the runs, visible to all hosts; submitit's own files go into its subfolder `jobs`.
        total_env_steps: Env steps of each run; the preset's by default.
        devices: Devices of one run, over all its hosts.
        executor: slurm; or local, which runs the jobs on this machine, one after another.
        dry_run: Print the sbatch script and submit nothing.
        cluster: Resources that each job requests from Slurm.
    """
    jobs = plan(tasks, presets, seeds, runs_folder, total_env_steps, devices)
    folder = runs_folder.absolute() / "jobs" / "%j"
    if executor == "local":
        for job in jobs:
            told = "not run" if dry_run else local_executor(folder, cluster).submit(job).result()
            print(f"{job.config.run.name}: {told}")
        return 0
    submitter = slurm_executor(folder, cluster)
    if dry_run:
        print(sbatch_script(submitter, len(jobs)))
        return 0
    for job in submitter.submit_array(jobs):
        print(job.job_id)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(call(main, None, config=(tyro.conf.OmitArgPrefixes,)))
    except (ConfigError, EnvError, RuntimeError, ImportError) as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
