"""The README's Python examples run unchanged, and everything that the pages name exists."""

from __future__ import annotations

import importlib
import importlib.util
import re
import shlex
import types
from pathlib import Path

import pytest

from configs import PRESETS
from crl_jax.cli import commands, options, train
from tests import ROOT

PAGES = sorted(
    path
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))
    if path.name != "CHANGELOG.md" and "_build" not in path.parts
)
BLOCKS = {
    block: page
    for page in reversed(PAGES)
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.S | re.M)
}
"""Python example -> the page that shows it; the same example on two pages runs once."""


def test_the_pages_have_examples() -> None:
    assert any("gymnasium.make_vec" in block for block in BLOCKS)


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def _case(block: str) -> object:
    marks = [pytest.mark.slow] if "train(" in block else []
    return pytest.param(block, marks=marks, id=block.split("\n")[0][:40])


@pytest.mark.parametrize("block", [_case(block) for block in BLOCKS])
def test_an_example_runs(block: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {"__name__": "readme"})


FOLDERS = ("crl_jax", "envs_mjx", "configs", "experiments", "benchmarks", "tests", "docs")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    missing = [link for link in links if not link.startswith("http") and not (page.parent / link).exists()]
    assert not missing, missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
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


def shown_commands() -> list[str]:
    """Every `crl` command in the console blocks of the pages, without its comment; test_extend.py has extend.md's."""
    pages = [page.read_text() for page in PAGES if page.name != "extend.md"]
    blocks = [block for text in pages for block in re.findall(r"^```console\n(.*?)^```", text, re.S | re.M)]
    lines = [line for block in blocks for line in block.splitlines() if re.match(r"\$ (\.venv/bin/)?crl ", line)]
    commands = [re.sub(r"\s+(#.*|&\s*)$", "", line.split("crl ", 1)[1]) for line in lines]
    return sorted(set(commands))


JOINING = ("--coordinator", "--num-processes", "--process-id", "--seeds")
"""Options that `crl train` takes before the others."""


@pytest.mark.parametrize("command", shown_commands())
def test_a_shown_command_is_understood(command: str) -> None:
    name, *words = shlex.split(command)
    assert name in commands.COMMANDS
    if name in commands.HANDLERS and not (name == "bench" and words):
        options.parse(options.later(commands.HANDLERS[name]), words, f"crl {name}")
    elif name == "bench":
        assert words[0] in commands._benchmarks()
    elif name == "train" and "--resume" not in words:
        cut = min((words.index(one) for one in JOINING if one in words), default=len(words))
        train.settings(PRESETS, words[:cut], "train", "")[0].validate()
