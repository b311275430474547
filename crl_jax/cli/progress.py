"""A line for everything that takes more than two seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console


@contextmanager
def doing(what: str, console: Console | None = None) -> Iterator[Callable[[str], None]]:
    """Tell what is being done inside the block: a spinner on a terminal, a line elsewhere (a file, a job's log).

    Yields:
        a function that tells how far it is; only a terminal shows that.
    """
    console = console or Console(stderr=True)
    if console.is_terminal:
        with console.status(what) as status:
            yield lambda now: status.update(f"{what} {now}")
        return
    console.print(what, highlight=False, markup=False, soft_wrap=True)
    yield lambda now: None


@contextmanager
def filming(console: Console, hint: str = "") -> Iterator[Callable[[int, int], None]]:
    """As `doing`, for a film: how it is drawn, why that may take long, and which frame it is at."""
    from envs_mjx.pictures.render import backend

    why = "without OpenGL, Warp's ray tracer draws; it compiles for minutes the first time"
    with doing("Looking for a renderer ...", console):
        way = why if backend() == "warp" else f"drawn by {backend()}"
    with doing(f"Filming ({way}{hint}) ...", console) as now:
        yield lambda done, frames: now(f"{done} of {frames} frames")
