"""The notebook: its two forms hold the same cells, and it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import ROOT

SCRIPT, NOTEBOOK = ROOT / "docs" / "notebook.py", ROOT / "docs" / "notebook.ipynb"
jupytext = pytest.importorskip("jupytext")


def _cells(path: Path) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source.strip()) for cell in jupytext.read(path).cells]


def test_both_forms_hold_the_same_cells() -> None:
    assert _cells(SCRIPT) == _cells(NOTEBOOK), "run `python -m experiments.notebook`"


def test_the_notebook_shows_what_a_real_run_gave() -> None:
    cells = [cell for cell in jupytext.read(NOTEBOOK).cells if cell.cell_type == "code"]
    pictures = [output for cell in cells for output in cell.outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 4
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), "run once, from top to bottom"
    assert float(cells[1].outputs[-1]["data"]["text/plain"]) >= 0.8, "the arm has learned to push"
    assert NOTEBOOK.stat().st_size < 3e6


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = pytest.importorskip("nbclient").NotebookClient
    monkeypatch.chdir(tmp_path)
    book = jupytext.read(SCRIPT)
    for cell in book.cells:
        cell.source = cell.source.replace("STEPS = 600_000", "STEPS = 30_000")
        cell.source = cell.source.replace("COMPARED = 200_000", "COMPARED = 30_000")
    assert sum("30_000" in cell.source for cell in book.cells) == 1, "both sizes are in one cell"
    client(book, timeout=900, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert len(list((tmp_path / "runs").iterdir())) == 3
