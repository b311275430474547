"""Several processes as one program: `jax.distributed` joins them, and process 0 leads.

Every process runs the same compiled program over the mesh of all devices, each on its own devices. Only process 0
decides names, logs, prints, films and writes files, except each process's share of a checkpoint. Each decision of the
host loop is either a function of what all processes know, or is agreed on with the functions here.

When a process is lost, the others end. On a CPU the next collective fails at once; on other devices JAX's heartbeat
notices the loss within HEARTBEAT_SECONDS and aborts the process. Both cases print one line and exit with code 2;
`--resume` continues the run.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from crl_jax.config import Config, ConfigError, TrainingError

JOIN_SECONDS, HEARTBEAT_SECONDS, LEADER_SECONDS = 300, 30, 2
LOST = "a process of this run was lost, so this one stops; continue with --resume"

_TEXT_BYTES = 1024
_LOST_WORDS = re.compile(r"gloo \w+ failed|nccl|(closed|reset) by peer|coordination service|heartbeat", re.IGNORECASE)
_SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")


class HostError(RuntimeError):
    """The processes cannot join or cannot go on together; the message is one line."""


def count() -> int:
    """Number of processes that run this program; with a single process, no device is initialised."""
    return jax.process_count() if jax.distributed.is_initialized() else 1


def is_leader() -> bool:
    """Whether this is process 0, or the only one."""
    return count() == 1 or jax.process_index() == 0


@contextlib.contextmanager
def joined(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    join_seconds: int = JOIN_SECONDS,
) -> Iterator[None]:
    """Make this process one of several inside the block; enter the block before JAX computes anything.

    Without arguments, the tasks of a Slurm step join if there are several; else the block runs as a single process, as
    with `num_processes=1`. With several processes, an error inside the block, or a process that does not join in time,
    ends this process at once with one line and exit code 2: at an ordinary exit it would wait for the others, which
    wait for it.

    Args:
        coordinator: HOST:PORT of process 0, the same for all; the port must be free there.
        num_processes: number of processes that join. process_id: number of this process, from 0.
        join_seconds: longest wait for the other processes, in seconds.

    Raises:
        ConfigError: invalid or missing arguments.
    """
    check(coordinator, num_processes, process_id)
    if num_processes == 1 or (coordinator is None and _slurm_tasks() <= 1):
        yield
        return
    if coordinator is not None and process_id is not None:
        _check_reachable(coordinator, process_id)
    _start(coordinator, num_processes, process_id, join_seconds)
    try:
        yield
        jax.distributed.shutdown()
        signal.signal(signal.SIGABRT, signal.SIG_DFL)
    except BaseException as error:
        _leave(error)


def check(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Refuse invalid arguments of `joined`.

    Raises:
        ConfigError: names the argument and a valid choice.
    """
    if num_processes is not None and num_processes < 1:
        raise ConfigError(f"num_processes={num_processes}: must be at least 1")
    if num_processes == 1:
        return
    given = {"coordinator": coordinator, "num_processes": num_processes, "process_id": process_id}
    missing = [name for name, value in given.items() if value is None]
    if missing and len(missing) < len(given):
        raise ConfigError(f"{missing[0]} is missing: give coordinator, num_processes and process_id, or none (Slurm)")
    if coordinator is None or num_processes is None or process_id is None:
        return
    found = re.fullmatch(r"(\S+):(\d+)", coordinator)
    if not found:
        raise ConfigError(f"coordinator={coordinator!r}: must be HOST:PORT, e.g. {coordinator.split(':')[0]}:12345")
    if not 1 <= int(found[2]) <= 65535:
        raise ConfigError(f"coordinator={coordinator!r}: the port must lie in 1 ... 65535, e.g. {found[1]}:12345")
    if not 0 <= process_id < num_processes:
        raise ConfigError(f"process_id={process_id}: must lie in 0 ... {num_processes - 1} (num_processes - 1)")


def _check_reachable(coordinator: str, process_id: int) -> None:
    """Refuse a coordinator whose host has no address, or, in process 0, whose port is taken here.

    Raises:
        ConfigError: either.
    """
    host, port = coordinator.rsplit(":", 1)
    try:
        socket.getaddrinfo(host.strip("[]"), int(port))
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"coordinator={coordinator!r}: no such host ({error})") from None
    if process_id == 0:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("", int(port)))
            except OSError as error:
                raise ConfigError(f"coordinator={coordinator!r}: port {port} is not free here ({error})") from None


def check_devices(config: Config) -> None:
    """Refuse a run that would leave a process without work.

    Raises:
        ConfigError: several processes, and `devices` is not the number of all their devices.
    """
    wanted = config.train.devices
    if count() > 1 and wanted != jax.device_count():
        every = jax.device_count()
        raise ConfigError(f"devices={wanted}: the {count()} processes have {every} in all, and use all; set {every}")


def largest(value: int) -> int:
    """The largest of the processes' values, returned in every process."""
    if count() == 1:
        return value
    from jax.experimental import multihost_utils

    return int(np.max(multihost_utils.process_allgather(np.int32(value))))


def from_leader(make: Callable[[], Any]) -> str:
    """The text of what `make` returns in process 0, returned in every process.

    Raises:
        HostError: `make` failed in process 0. Process 0 itself raises the cause.
    """
    if count() == 1:
        return str(make())
    failure: Exception | None = None
    text = ""
    if is_leader():
        try:
            text = str(make())
        except Exception as error:
            failure, text = error, " ".join(str(error).split())
    failed = largest(int(failure is not None))
    text = _broadcast(text)
    if failure is not None:
        raise failure
    if failed:
        raise HostError(f"process 0: {text}")
    return text


def _broadcast(text: str) -> str:
    from jax.experimental import multihost_utils

    data = text.encode()[:_TEXT_BYTES].ljust(_TEXT_BYTES, b"\0")
    told = multihost_utils.broadcast_one_to_all(np.frombuffer(data, np.uint8))
    return bytes(np.asarray(told, np.uint8)).rstrip(b"\0").decode(errors="replace")


def _slurm_tasks() -> int:
    """Number of tasks in the Slurm step that this process belongs to; 1 outside Slurm."""
    return int(os.environ["SLURM_NTASKS"]) if all(name in os.environ for name in _SLURM) else 1


def _local_devices() -> list[int] | None:
    # Under Slurm, JAX gives each task the GPU of its local id. [] makes no such choice: the task takes all GPUs that it
    # sees. This is right for a single task per host, and for a task that sees only the one GPU that Slurm has bound.
    alone = _slurm_tasks() > 1 and os.environ["SLURM_NTASKS"] == os.environ.get("SLURM_STEP_NUM_NODES")
    bound = len(os.environ.get("CUDA_VISIBLE_DEVICES", ",").split(",")) == 1
    return [] if alone or bound else None


def _start(coordinator: str | None, num_processes: int | None, process_id: int | None, join_seconds: int) -> None:
    # JAX's own handler would swallow SIGTERM. Here `runs.stop_on_signals` catches it, and `largest` agrees on a stop.
    jax.config.update("jax_enable_preemption_service", False)
    where = coordinator or "the first host of the Slurm step"
    late = f"not all processes joined at {where} within {join_seconds} s"
    _last_words(late)
    print(f"waiting up to {join_seconds} s for the other processes at {where}", file=sys.stderr, flush=True)
    try:
        jax.distributed.initialize(
            coordinator,
            num_processes,
            process_id,
            local_device_ids=_local_devices(),
            initialization_timeout=join_seconds,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=join_seconds,
        )
    except (RuntimeError, ValueError) as error:
        _leave(HostError(f"{late} ({' '.join(str(error).split())[:160]})"))
    _last_words(LOST)


def _last_words(told: str) -> None:
    """Print one plain line when JAX's C++ aborts the process; a C handler, because Python's no longer run then."""
    line = f"crl: error: {told}\n".encode()

    def say(_signal: int) -> None:
        os.write(2, line)
        os._exit(2)

    global _handler
    _handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(say)
    ctypes.CDLL(None).signal(int(signal.SIGABRT), _handler)


_handler: Any = None
"""Kept alive for as long as C may call it."""


def _leave(error: BaseException) -> None:
    told = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, RuntimeError | ValueError) and not isinstance(error, HostError) and _LOST_WORDS.search(told):
        told = LOST  # JAX raises either type.
    elif not isinstance(error, HostError | ConfigError | TrainingError | SystemExit | KeyboardInterrupt):
        traceback.print_exception(error)
    print(f"crl: error: {told}", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    if is_leader():
        time.sleep(LEADER_SECONDS)  # The leader's end ends the others: let them print first.
    os._exit(2)
