"""Signals that ask a run to stop: SIGTERM, SIGINT (Ctrl-C) and SIGUSR2 (submitit's)."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from crl_jax.scale import hosts

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)


class StopRequest:
    """Whether a signal has asked the run to stop.

    Attributes:
        signal: name of the first signal; None before it.
        under_way: what must end before the run can stop, for the line that answers a signal; None: nothing is saved.
    """

    def __init__(self) -> None:
        self.signal: str | None = None
        self.under_way: str | None = "compilation"

    def agreed(self) -> bool:
        """Whether any process was asked to stop. A collective call: all processes must make it equally often."""
        number = hosts.largest(int(signal.Signals[self.signal]) if self.signal else 0)
        if number:  # A signal that arrives during the collective counts at the next call.
            self.signal = signal.Signals(number).name
        return bool(number)

    def heard(self, number: int) -> None:
        """Answer a signal at once, in one line on stderr. The second one ends the process."""
        name = signal.Signals(number).name
        if self.signal is not None:
            _say(f"{name}: stopped at once." + (" The last checkpoint is whole." if self.under_way else ""))
            os._exit(128 + number)
        self.signal = name
        if self.under_way:
            _say(f"{name}: the run stops after its {self.under_way}, and saves. A second signal stops it at once.")


def _say(line: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        print(f"\n{line}", file=sys.stderr, flush=True)


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Inside the block, these signals become a `StopRequest`. Outside the main thread their handlers do not change.

    A thread reads the signals from a pipe, into which Python writes each at once. A handler alone would run only once
    the compiled program under way has ended.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    previous: dict[signal.Signals, Any] = {}
    for which in STOPPING:
        previous[which] = signal.signal(which, lambda number, frame: None)
    old = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    listener = threading.Thread(target=_listen, args=(reading, request), name="signals", daemon=True)
    listener.start()
    try:
        yield request
    finally:
        signal.set_wakeup_fd(old)
        for which, handler in previous.items():
            signal.signal(which, handler)
        os.close(writing)  # The listener reads the end of the file.
        listener.join()
        os.close(reading)


def _listen(reading: int, request: StopRequest) -> None:
    while numbers := os.read(reading, 64):
        for number in numbers:
            if number in STOPPING:
                request.heard(number)
