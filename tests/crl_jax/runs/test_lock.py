"""One process at a time writes into a run's folder."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from crl_jax import runs
from crl_jax.config import Config, ConfigError, RunConfig
from crl_jax.runs import lock
from tests import ROOT

HOLDER = """
import sys, time
from pathlib import Path
from crl_jax.runs.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


STARTER = """
import sys
from crl_jax import runs
from crl_jax.config import Config, ConfigError, RunConfig
config = Config(run=RunConfig(runs=sys.argv[1], name="one"))
print("ready", flush=True)
sys.stdin.readline()
try:
    runs.create(config)
    print("mine")
except ConfigError as error:
    print(error)
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    """A process that holds the folder's lock."""
    command = [sys.executable, "-c", HOLDER, str(folder)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_the_second_process_is_told_who_holds_the_folder_and_a_killed_one_holds_nothing(tmp_path: Path) -> None:
    process = holder(tmp_path)
    with pytest.raises(ConfigError) as caught, runs.locked(tmp_path):
        pass
    who = f"process {process.pid} on {socket.gethostname()}"
    assert str(caught.value) == f"{tmp_path}: {who} trains here; wait for it, or stop it"
    process.send_signal(signal.SIGKILL)
    process.wait()
    with runs.locked(tmp_path):
        assert (tmp_path / lock.LOCK).read_text() == f"process {os.getpid()} on {socket.gethostname()}\n"
    assert not list(tmp_path.iterdir()), "no file stays"


def test_a_lock_is_free_again_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError), runs.locked(tmp_path):
        raise ValueError
    with runs.locked(tmp_path):
        pass


def test_of_two_starts_under_one_name_one_gets_the_folder(tmp_path: Path) -> None:
    config = Config(run=RunConfig(runs=str(tmp_path), name="one"))
    command = [sys.executable, "-c", STARTER, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    both = [subprocess.Popen(command, cwd=ROOT, **pipes) for _ in range(2)]  # type: ignore[call-overload]
    for process in both:
        assert process.stdout.readline() == "ready\n"
    for process in both:
        process.stdin.write("\n")
        process.stdin.flush()
    told = sorted(process.communicate()[0].strip() for process in both)
    assert told[0] == "mine", told
    assert told[1] == (
        f"name='one': {tmp_path}/one holds a run already; go on with it (--resume {tmp_path}/one), or take another"
        " name (--name)"
    )
    assert runs.load(tmp_path / "one") == config and [path.name for path in (tmp_path / "one").iterdir()] == [
        runs.CONFIG
    ]
