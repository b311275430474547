"""Tables for a terminal: on a narrow one the least important columns are left out, and no cell is cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from rich import box
from rich.table import Table

_PADDING = 2
_GAP = _PADDING + 1
"""Characters between two columns: padding, and the box's own."""


class Column(NamedTuple):
    """A column of texts. Columns of the highest `rank` go first where there is no room; rank 0 always stays."""

    title: str
    cells: Sequence[str]
    rank: int = 0
    right: bool = True
    folds: bool = False
    """Whether its cells may be broken into several lines."""

    @property
    def width(self) -> int:
        """Characters of its widest cell."""
        return max(map(len, (self.title, *self.cells)))


def fitted(columns: Sequence[Column], width: int, title: str = "") -> Table:
    """A table with as many of the columns as fit into `width` characters."""
    kept = list(columns)
    while 1 + sum(column.width + _GAP for column in kept) > width and any(column.rank for column in kept):
        kept.remove(max(kept, key=lambda column: column.rank))
    table = Table(
        title=title or None, box=box.SIMPLE_HEAD, padding=(0, _PADDING, 0, 0), pad_edge=False, title_justify="left"
    )
    for column in kept:
        justify: Literal["left", "right"] = "right" if column.right else "left"
        table.add_column(column.title, justify=justify, no_wrap=not column.folds, overflow="fold")
    for row in zip(*(column.cells for column in kept), strict=True):
        table.add_row(*row)
    return table
