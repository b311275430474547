"""Parses command lines: `tyro.cli` with numbers as people write them, and every error in one line."""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import math
import os
import re
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from crl_jax.config import ConfigError, TrainingError
from crl_jax.runs.checkpoint import CheckpointError
from crl_jax.scale import hosts
from envs_mjx.base import EnvError

USER_ERRORS = (ConfigError, EnvError, CheckpointError, TrainingError, hosts.HostError)
"""Errors that a user can cause; each message is one line."""
_UNITS = {"k": 10**3, "M": 10**6, "G": 10**9}
_FRAME = {ord(char): " " for char in "│╭╮╰╯┌┐└┘┃"} | {ord(char): "-" for char in "─━"}
"""Characters of a box; a terminal without them gets hyphens."""
_WHERE = re.compile(r"^Error parsing (\S+): ")
_INNER = re.compile(r"<class '(?:int|float)'>: (.*?)(?= - <class|$)")


class NotANumber(argparse.ArgumentTypeError, ValueError):
    """A text that is no number; the message is one line. Both argparse and tyro show it as it is."""


def count(text: str) -> int:
    """A whole number as people write counts: 2000, 2_000, 2e3, 2k, 2M.

    Raises:
        NotANumber: anything else.
    """
    digits, unit = (text[:-1], _UNITS[text[-1]]) if text[-1:] in _UNITS else (text, 1)
    with contextlib.suppress(ValueError):
        return int(digits) * unit
    with contextlib.suppress(ValueError, OverflowError):
        value = float(digits) * unit
        if value.is_integer():
            return int(value)
    raise NotANumber(f"{text}: a whole number wanted, e.g. 2000, 2_000, 2e3, 2k or 2M")


def number(text: str) -> float:
    """A finite number.

    Raises:
        NotANumber: anything else.
    """
    with contextlib.suppress(ValueError):
        value = float(text)
        if math.isfinite(value):
            return value
    raise NotANumber(f"{text}: a finite number wanted")


def path(text: str) -> Path:
    """A path; ~ is the home folder, also where the shell leaves it (--runs=~/x)."""
    return Path(text).expanduser()


_REGISTRY = ConstructorRegistry()


@_REGISTRY.primitive_rule
def _whole(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[int] | None:
    return _spec(info, int, "INT", count)


@_REGISTRY.primitive_rule
def _finite(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[float] | None:
    return _spec(info, float, "FLOAT", number)


@_REGISTRY.primitive_rule
def _home(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Path] | None:
    return _spec(info, Path, "PATH", path)


def _spec(
    info: PrimitiveTypeInfo, wanted: type, metavar: str, read: Callable[[str], Any]
) -> PrimitiveConstructorSpec[Any] | None:
    if info.type is not wanted:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=lambda words: read(words[0]),
        is_instance=lambda value: isinstance(value, wanted) and not isinstance(value, bool),
        str_from_instance=lambda value: [str(value)],
    )


def parse(function: Callable[..., Any], arguments: Sequence[str] | None, prog: str | None = None, **more: Any) -> Any:
    """`tyro.cli`, with its box of an error turned into one line.

    Args:
        function: what tyro builds from the arguments, e.g. a dataclass. It is called with stderr captured.
        arguments: command line; None: this process's. prog: the command in the help text. more: options of `tyro.cli`.

    Raises:
        ConfigError: a bad option. SystemExit: after `--help`.
    """
    return _told(lambda: tyro.cli(function, args=arguments, prog=prog, registry=_REGISTRY, **more), prog)


def call(function: Callable[..., Any], arguments: Sequence[str] | None, prog: str | None = None, **more: Any) -> Any:
    """Call `function` with the options that a command line gives for its parameters. Arguments as for `parse`.

    Raises:
        ConfigError: a bad option. SystemExit: after `--help`.
    """
    return parse(later(function), arguments, prog, **more)()


def call_one(functions: Mapping[str, Callable[..., Any]]) -> Any:
    """Call the function that this process's first argument names, with the options after it.

    Raises:
        ConfigError: no such name, or a bad option. SystemExit: after `--help`.
    """
    commands: dict[str, Any] = {name: later(function) for name, function in functions.items()}
    return _told(lambda: tyro.extras.subcommand_cli_from_dict(commands, registry=_REGISTRY), None)()


def check_host(host: str) -> None:
    """Refuse an address at which this machine cannot serve.

    Raises:
        ConfigError: in one line.
    """
    try:
        with socket.socket() as one:
            one.bind((host, 0))
    except OSError as error:
        raise ConfigError(f"host={host!r}: cannot serve there ({error.strerror}); nearest: localhost") from None


def shown(run: Callable[[], int]) -> int:
    """Run a command whose output may go anywhere: characters that the terminal lacks become "?", a closed pipe ends it.

    Returns:
        the command's exit code; 141, as after SIGPIPE, where the reader of the output has gone (`crl envs | head`).
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        code = run()
        sys.stdout.flush()
        return code
    except (BrokenPipeError, SystemExit) as error:
        # Rich turns a closed pipe into SystemExit(1).
        if isinstance(error, SystemExit) and not isinstance(error.__context__, BrokenPipeError):
            raise
        # The rest of the output goes nowhere, so that Python's own flush at its exit does not fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13


def script(main: Callable[..., Any], settings: type | None = None, about: str | None = None) -> None:
    """Run `main` with what this process's command line gives, and exit. A user's error is one line, and exit code 1.

    Args:
        main: takes an instance of `settings`; without settings, the command line gives its parameters.
    """

    def run() -> int:
        code = main(parse(settings, None, description=about)) if settings else call(main, None)
        return code if isinstance(code, int) else 0

    try:
        sys.exit(shown(run))
    except USER_ERRORS as error:
        sys.exit(f"error: {error}")


def later(function: Callable[..., Any]) -> Callable[..., Callable[[], Any]]:
    """A function of the same parameters that returns the call, so that it runs with the user's own stderr."""

    @functools.wraps(function)
    def bound(*given: Any, **named: Any) -> Callable[[], Any]:
        return functools.partial(function, *given, **named)

    return bound


def _told(read: Callable[[], Any], prog: str | None) -> Any:
    captured = io.StringIO()
    try:
        with contextlib.redirect_stderr(captured):
            return read()
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise ConfigError(_one_line(captured.getvalue(), prog)) from None


def _one_line(box: str, prog: str | None) -> str:
    """The message in tyro's box: what follows its title, which is in the upper border."""
    plain = " ".join(box.translate(_FRAME).split())
    parts = [part.strip() for part in re.split("-{3,}", plain) if part.strip()]
    text = parts[min(1, len(parts) - 1)]
    for tail in (" Argument helptext:", " For full helptext"):
        text = text.split(tail)[0]
    found, inner = _WHERE.match(text), _INNER.findall(text)
    if found:  # A section's own message names its field already.
        told = inner[-1] if inner else text[found.end() :]  # `inner`: neither None nor a number.
        return (f"{found[1]} " if found[1].startswith("-") else "") + told
    return f"{text} (`{prog.split(' TASK')[0]} --help` shows the options)" if prog else text
