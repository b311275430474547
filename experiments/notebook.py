"""Runs docs/notebook.py and writes docs/notebook.ipynb with what it gave: `python -m experiments.notebook` (minutes).

The two are a jupytext pair: edit the first, and run this module.
"""

from __future__ import annotations

import tempfile

from experiments.study import ROOT

SCRIPT = ROOT / "docs" / "notebook.py"


def execute() -> None:
    """Run every cell in a folder of its own; nothing is written unless all succeed."""
    import jupytext
    from nbclient import NotebookClient

    book = jupytext.read(SCRIPT)
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(book, timeout=3600, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()
    for cell in (cell for cell in book.cells if cell.cell_type == "code"):
        cell["outputs"] = [output for output in cell.outputs if output.get("name") != "stderr"]
        cell.metadata.pop("execution", None)  # When each cell ran: another time in every execution.
    jupytext.write(book, SCRIPT.with_suffix(".ipynb"))


if __name__ == "__main__":
    print("Running the notebook: it trains three policies (ten minutes or so) ...")
    execute()
