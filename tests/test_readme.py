"""The README's Python examples run as they stand."""

from __future__ import annotations

import re

import pytest

from tests import ROOT

BLOCKS = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.S | re.M)


def test_the_readme_has_examples() -> None:
    assert any("gymnasium.make_vec" in block for block in BLOCKS)


def _case(block: str) -> object:
    marks = [pytest.mark.slow] if "train(" in block else []
    return pytest.param(block, marks=marks, id=block.split("\n")[0][:40])


@pytest.mark.parametrize("block", [_case(block) for block in BLOCKS])
def test_an_example_runs(block: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {"__name__": "readme"})
