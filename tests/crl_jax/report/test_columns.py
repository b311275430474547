"""Tables fit the terminal: columns are left out, cells are never cut."""

from __future__ import annotations

import io

import hypothesis.strategies as st
import pytest
from hypothesis import given
from rich.console import Console

from configs import PRESETS
from crl_jax import cli
from crl_jax.report.columns import Column, fitted


def printed(columns: list[Column], width: int) -> str:
    output = io.StringIO()
    Console(file=output, width=width).print(fitted(columns, width))
    return output.getvalue()


COLUMNS = [
    Column("name", ["button-press-topdown-wall", "reach"], right=False),
    Column("kept", ["1.00", "0.95"]),
    Column("first to go", ["123,456", "7"], 2),
    Column("second to go", ["abc", "de"], 1),
]


@given(st.integers(min_value=40, max_value=120))
def test_no_cell_is_cut_and_the_least_important_columns_go_first(width: int) -> None:
    text = printed(COLUMNS, width)
    assert all(len(line) <= width for line in text.splitlines())
    assert "button-press-topdown-wall" in text and "1.00" in text and "\u2026" not in text
    assert ("first to go" not in text) or "second to go" in text
    for column in COLUMNS:
        if column.title in text:
            assert all(cell in text for cell in column.cells)


def test_a_wide_terminal_shows_every_column() -> None:
    assert all(column.title in printed(COLUMNS, 100) for column in COLUMNS)


def test_envs_fits_80_columns_and_is_filtered(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.main(PRESETS, ["envs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80 and any("success (native)" in line for line in lines) and len(lines) < 125
    assert cli.main(PRESETS, ["envs", "push*", "--group", "metaworld"]) == 0
    out = capsys.readouterr().out
    assert "push-wall" in out and "pusher" not in out and "reach" not in out
    assert cli.main(PRESETS, ["envs", "reach", "--json"]) == 0
    assert '"success": "distance <= 0.05"' in capsys.readouterr().out
    assert cli.main(PRESETS, ["envs", "nope"]) == 2
