"""Compiles each program only once: functions with the same program share an executable."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax


class Programs:
    """Compiles functions ahead of time and remembers what it compiled by the program's text.

    A program that calls back into Python is never shared: its text does not say which function it calls.

    Attributes:
        asked: number of calls of `compile`. compiled: number of these that compiled. seconds: total time of the calls.
    """

    def __init__(self) -> None:
        self.asked, self.compiled, self.seconds = 0, 0, 0.0
        self._known: dict[str, Any] = {}

    def compile(self, function: Callable[..., Any], *arguments: Any, donate: tuple[int, ...] = ()) -> Any:
        """The executable of `function` for arguments of these shapes; `donate`: which arguments it may overwrite."""
        started = time.perf_counter()
        lowered = jax.jit(function, donate_argnums=donate).lower(*arguments)
        text = lowered.as_text()
        shared = "callback" not in text
        program = self._known.get(text) if shared else None
        if program is None:
            program = lowered.compile()
            self.compiled += 1
            if shared:
                self._known[text] = program
        self.asked += 1
        self.seconds += time.perf_counter() - started
        return program
