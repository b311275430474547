"""The README's Python examples run unchanged, and everything that the pages name exists."""

from __future__ import annotations

import importlib
import importlib.util
import re
import types
from pathlib import Path

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


PAGES = sorted(path for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")) if path.name != "CHANGELOG.md")
FOLDERS = ("crl_jax", "envs_mjx", "configs", "experiments", "benchmarks", "tests", "docs")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    missing = [link for link in links if not link.startswith("http") and not (page.parent / link).exists()]
    assert not missing, missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_and_modules_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text()
    files = re.findall(rf"`((?:{'|'.join(FOLDERS)})/[\w/]*(?:\.\w+)?)`", text)
    assert not [file for file in files if not (ROOT / file).exists()]
    for module in re.findall(r"python -m (\w+(?:\.\w+)*)", text):
        assert importlib.util.find_spec(module), module
    for name in re.findall(r"`((?:crl_jax|envs_mjx)(?:\.\w+)+)", text):
        found: object = importlib.import_module(name.split(".")[0])
        for part in name.split(".")[1:]:
            if not hasattr(found, part) and isinstance(found, types.ModuleType):
                importlib.import_module(f"{found.__name__}.{part}")
            found = getattr(found, part)
