"""A line for everything that takes more than two seconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

FILMING = "Filming (the first film on a machine without OpenGL takes minutes: Warp compiles its ray tracer)"


@contextmanager
def doing(what: str, console: Console | None = None) -> Iterator[None]:
    """Tell what is being done inside the block: a spinner on a terminal, a line elsewhere (a file, a job's log)."""
    console = console or Console(stderr=True)
    if console.is_terminal:
        with console.status(what):
            yield
        return
    console.print(what, highlight=False, markup=False, soft_wrap=True)
    yield
