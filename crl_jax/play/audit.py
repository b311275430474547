"""The goal audit as a table and a page: what `crl audit` prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

TITLES = ("task", "contract", "script any", "script final", "first step", "object", "tool", "hand", "opening", "remark")
_PAGE = """# Goal audit

Made by `crl audit --page docs/goal_audit.md`. For each task of Meta-World the official scripted policy ran in our
environment: 16 episodes of 150 env steps on engine `c`, goal contract `auto`. Script any and final are its success at
any and at the last env step; first step is the median env step of its first success. The other columns are distances
between the commanded goal and the goal achieved at the successful env step nearest to it: position of the object, of a
tool's working end and of the hand in metres, and the gripper's opening (0 to 1). Medians over the successful episodes.
A remark stands where a distance exceeds 2.5 cm (object, tool), 5 cm (hand) or 0.15 (opening).

"""


def rows(found: Sequence[Any]) -> list[list[str]]:
    """A row of texts under `TITLES` for each `envs_mjx.metaworld.audit.Audited`."""
    return [
        [
            one.task,
            one.contract,
            f"{one.script_any:.2f}",
            f"{one.script_final:.2f}",
            f"{one.first:.0f}",
            *(
                f"{one.far(kind):.3f}" if any(name.startswith(kind) for name in one.names) else ""
                for kind in ("object", "tool", "hand", "opening")
            ),
            one.reason if one.beyond else "",
        ]
        for one in found
    ]


def page(table: Sequence[Sequence[str]]) -> str:
    """The Markdown page of the table."""
    lines = ["| " + " | ".join(TITLES) + " |", "|---" * len(TITLES) + "|"]
    return _PAGE + "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in table)]) + "\n"
