"""Checks of settings. An error is one line with the field, its value and the nearest valid values."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

FEW = 15
"""Most choices that an error message lists whole."""


class ConfigError(ValueError):
    """A bad setting, described in one line."""


class TrainingError(RuntimeError):
    """Training cannot go on, for a reason that is described in one line."""


def require(ok: bool, name: str, value: object, wanted: str) -> None:
    """Refuse `name=value` unless `ok`.

    Raises:
        ConfigError: `name=value`, followed by the text `wanted`.
    """
    if not ok:
        raise ConfigError(f"{name}={value!r}: {wanted}")


def nearest(name: str, choices: Iterable[str]) -> str:
    """The `choices` most similar to a mistyped `name`, for an error message; a few choices whole if none is similar."""
    choices = list(choices)
    close = difflib.get_close_matches(name, choices, n=3, cutoff=0.4 if len(choices) <= FEW else 0.0)
    return ", ".join(close or choices)


def nearest_multiples(value: int, base: int) -> str:
    """The multiples of `base` just below and above `value`, for an error message."""
    low = max(base, value // base * base)
    return f"{low} or {low + base}" if low != value else f"{low}"


def nearest_divisors(value: int, number: int) -> str:
    """The divisors of `number` just below and above `value`, for an error message; "" if `value` is a divisor."""
    divisors = [divisor for divisor in range(1, number + 1) if number % divisor == 0]
    near = {
        max((d for d in divisors if d <= value), default=1),
        min((d for d in divisors if d >= value), default=number),
    }
    return "" if value in near else " or ".join(map(str, sorted(near)))


_LONGEST_NAME = 200
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def not_a_folder(name: str) -> str:
    """What keeps `name` from being a folder's name on every system; "" if nothing does."""
    if "/" in name or "\\" in name or name in (".", ".."):
        return ", not a path"
    if not name.isprintable():
        return ", of printable characters"
    if name != name.strip() or name.startswith("~"):
        return ", without a blank at its ends and without ~ at its start"
    if _RESERVED.fullmatch(name):
        return "; Windows reserves this one"
    if len(name.encode()) > _LONGEST_NAME:
        return f" of at most {_LONGEST_NAME} bytes; this one has {len(name.encode())}"
    return ""
