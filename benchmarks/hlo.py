"""What a compiled GPU program launches, counted in its text (HLO): one call, with the trips of its loops.

A fusion, a library call, a copy and a collective are one launch each. Names of parameters, tuples and bitcasts cost
nothing. Of a conditional, the branch with the most launches counts.
"""

from __future__ import annotations

import collections
import functools
import math
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

FREE = frozenset(
    (
        *("parameter", "constant", "tuple", "get-tuple-element", "bitcast"),
        *("after-all", "opt-barrier", "partition-id", "replica-id"),
    )
)
"""Operations that launch nothing."""
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{$")
_OPERATION = re.compile(r"^\s+(?:ROOT )?%?[\w.\-]+ = (.*)$")


class Operation(NamedTuple):
    """One line of a computation: the operation's name, and the line from there on."""

    name: str
    rest: str

    def called(self, role: str) -> str:
        """The computation that it calls as `role`, e.g. body; "" where there is none."""
        found = re.search(rf"{role}=%?([\w.\-]+)", self.rest)
        return found.group(1) if found else ""


class Launches(NamedTuple):
    """Launches of one call.

    Attributes:
        kinds: kind -> number.
        endless: loops whose number of trips the compiler does not know; each counts as one trip.
    """

    kinds: Mapping[str, int]
    endless: int

    @property
    def total(self) -> int:
        return sum(self.kinds.values())


def parsed(text: str) -> tuple[dict[str, list[Operation]], str]:
    """The operations of every computation, and the name of the entry."""
    found: dict[str, list[Operation]] = {}
    entry = now = ""
    for line in text.splitlines():
        head = _COMPUTATION.match(line)
        if head:
            now = head.group(2)
            found[now] = []
            entry = now if head.group(1) else entry
        elif line.startswith("}"):
            now = ""
        elif now and (body := _OPERATION.match(line)):
            rest = _after_type(body.group(1))
            found[now].append(Operation(rest.split("(")[0].strip(), rest))
    return found, entry


def _after_type(text: str) -> str:
    """What follows the type of the result, which may be a tuple in brackets."""
    if not text.startswith("("):
        return text.partition(" ")[2]
    depth = 0
    for index, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return text[index + 2 :]
    return ""


def collectives(text: str) -> list[tuple[str, int]]:
    """Name and bytes of each collective in a program's text, in its order; the bytes are those of its result."""
    found = []
    for line in text.splitlines():
        match = _COLLECTIVE.search(line)
        if match:
            result = match.group(1)
            if match.group(3) and result.startswith("(("):  # (operands, results)
                result = result[result.index("),") + 1 :]
            sizes = (_ITEM[kind] * math.prod(map(int, dims.split(","))) for kind, dims in _ARRAY.findall(result))
            found.append((match.group(2), sum(sizes)))
    return found


_COLLECTIVE = re.compile(r" = (\S.*?) (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(-start)?\(")
_ARRAY, _ITEM = re.compile(r"(f32|s32|u32|bf16|f16)\[([\d,]+)\]"), {"f32": 4, "s32": 4, "u32": 4, "bf16": 2, "f16": 2}


def launches(text: str) -> Launches:
    """Launches of one call of the program with this text."""
    computations, entry = parsed(text)

    @functools.cache
    def of(name: str) -> Launches:
        kinds: collections.Counter[str] = collections.Counter()
        endless = 0
        for operation in computations[name]:
            inner, trips = _inside(operation, of)
            if inner is None:
                kinds[_kind(operation)] += 1
                continue
            for kind, number in inner.kinds.items():
                kinds[kind] += number * max(trips, 1)
            endless += inner.endless + (trips == 0)
        return Launches(kinds, endless)

    return of(entry)


_NOTHING = Launches({}, 0)


def _inside(operation: Operation, of: Callable[[str], Launches]) -> tuple[Launches | None, int]:
    """What an operation launches by calling computations, and how often; (None, 1): it is one launch itself.

    0 trips: a loop without a known number.
    """
    name = operation.name
    if name in FREE or name.endswith(("-done", "-update")):
        return _NOTHING, 1
    if name == "while":
        trips = re.search(r'"known_trip_count":\{"n":"(\d+)"', operation.rest)
        return of(operation.called("body")), int(trips.group(1)) if trips else 0
    if name == "conditional":
        listed = re.search(r"branch_computations=\{([^}]*)\}", operation.rest)
        roles = ("true_computation", "false_computation")
        branches = listed.group(1).split(",") if listed else [operation.called(role) for role in roles]
        return max((of(branch.strip().lstrip("%")) for branch in branches), key=lambda one: one.total), 1
    if name == "call":
        return of(operation.called("to_apply")), 1
    if name in ("async-start", "fusion-start") and operation.called("calls"):
        return of(operation.called("calls")), 1
    return None, 1


def _kind(operation: Operation) -> str:
    """gemm, fusion, copy, ...: what a launch is."""
    if operation.name == "custom-call":
        found = re.search(r'custom_call_target="([^"]*)"', operation.rest)
        target = found.group(1) if found else "?"
        return "gemm" if "gemm" in target or "matmul" in target else f"call {target}"
    if operation.name == "fusion" and "gemm" in operation.rest:
        return "gemm"
    return operation.name
