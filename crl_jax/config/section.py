"""The base of every section of settings: values have the type that their field declares, and floats are finite."""

from __future__ import annotations

import dataclasses
import math
import os
import types
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from crl_jax.config.checks import ConfigError

_NAMES = {int: "a whole number", float: "a finite number", bool: "True or False", str: "text"}


class Section:
    """A frozen dataclass of settings. It takes what stands for a value of a field's type, and stores that type.

    NumPy's and JAX's scalars become Python's, a whole float becomes an int where an int is meant, a path becomes text,
    a list a tuple. So `config.json` holds plain values.

    Raises:
        ConfigError: a value of another type, or a number that is not finite; one line with field and value.
    """

    def __post_init__(self) -> None:
        for name, hint in _hints(type(self)).items():
            object.__setattr__(self, name, _typed(name, getattr(self, name), hint))


def _hints(section: type) -> dict[str, Any]:
    """Field -> declared type."""
    hints = get_type_hints(section)
    return {leaf.name: hints[leaf.name] for leaf in dataclasses.fields(section)}


def _typed(name: str, value: Any, hint: Any) -> Any:
    """The value as the declared type, or ConfigError."""
    if get_origin(hint) in (Union, types.UnionType):  # X | None
        (inner,) = (part for part in get_args(hint) if part is not type(None))
        return None if value is None else _typed(name, value, inner)
    if get_origin(hint) is tuple:
        if isinstance(value, str) or not isinstance(value, list | tuple):
            raise ConfigError(f"{name}={value!r}: a list wanted")
        return tuple(_typed(name, part, get_args(hint)[0]) for part in value)
    if get_origin(hint) is Literal:
        hint = str  # The choices are checked by `validate`.
    return _scalar(name, value, hint)


def _scalar(name: str, value: Any, wanted: type) -> Any:
    """The value as an int, float, bool or str."""
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()  # A scalar of NumPy or JAX.
    if wanted is str and isinstance(value, os.PathLike):
        value = os.fspath(value)
    if wanted is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        value = _as_float(value)
    fits = isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool))
    if not fits or (wanted is float and not math.isfinite(value)):
        raise ConfigError(f"{name}={value!r}: {_NAMES[wanted]} wanted")
    return value


def _as_float(value: int) -> float:
    """The whole number as a float; infinity if it is too large for one."""
    try:
        return float(value)
    except OverflowError:
        return math.inf
