"""Checks of settings. An error is one line with the field, its value and the nearest valid values."""

from __future__ import annotations

import difflib
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
