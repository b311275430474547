"""A signal is answered at once, also while a compiled program runs; a second one ends the process."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time

import pytest

from crl_jax import runs
from tests import ROOT

BUSY = """
import sys, time
import jax, jax.numpy as jnp
from crl_jax import runs
with runs.stop_on_signals() as stop:
    stop.under_way = "round (40 s)"
    print("busy", flush=True)
    work = jax.jit(lambda x: jax.lax.fori_loop(0, 2 * 10**9, lambda i, x: x * 1.0001 + 1, x))
    work(jnp.ones(64)).block_until_ready()
"""


def started(code: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "busy\n"
    time.sleep(0.5)
    return process


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_answered_while_a_program_runs_and_a_second_one_stops_it(which: signal.Signals) -> None:
    process = started(BUSY)
    process.send_signal(which)
    assert process.stderr is not None
    process.stderr.readline()
    line = process.stderr.readline()
    told = f"{which.name}: the run stops after its round (40 s), and saves. A second signal stops it at once."
    assert line == told + "\n"
    assert process.poll() is None, "still at work"
    process.send_signal(which)
    _, rest = process.communicate(timeout=20)
    assert process.returncode == 128 + which
    assert rest.strip() == f"{which.name}: stopped at once. The last checkpoint is whole."


def test_handlers_are_as_before_after_the_block() -> None:
    before = [signal.getsignal(which) for which in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)]
    with runs.stop_on_signals() as stop:
        signal.raise_signal(signal.SIGUSR2)
        deadline = time.monotonic() + 10
        while stop.signal is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert stop.signal == "SIGUSR2" and stop.agreed()
    assert before == [signal.getsignal(which) for which in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)]
    assert not [thread for thread in threading.enumerate() if thread.name == "signals"]
