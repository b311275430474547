"""The shape of the code itself: imports point one way, functions stay short, importing initialises nothing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT

MAY_IMPORT = {
    "envs_mjx": {"envs_mjx"},
    "crl_jax": {"crl_jax", "envs_mjx"},
    "configs": {"configs", "crl_jax", "envs_mjx"},
    "experiments": {"experiments", "configs", "crl_jax", "envs_mjx"},
    "benchmarks": {"benchmarks", "configs", "crl_jax", "envs_mjx"},
}
FILES = sorted(path for package in MAY_IMPORT for path in (ROOT / package).rglob("*.py"))


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path):
    package = path.relative_to(ROOT).parts[0]
    wrong = (imported(path) & MAY_IMPORT.keys()) - MAY_IMPORT[package]
    assert not wrong, f"{path} imports {wrong}"


def test_the_loop_knows_no_algorithm():
    for name in ("train.py", "loop.py", "rollout.py", "evaluate.py", "buffer.py"):
        source = (ROOT / "crl_jax" / name).read_text()
        assert "agents.crl" not in source and "infonce" not in source.lower()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_function_is_long(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = node.end_lineno - node.lineno + 1
            assert lines <= 60, f"{path}:{node.lineno} {node.name} has {lines} lines"


def test_importing_initialises_no_device():
    code = (
        "import crl_jax, envs_mjx, configs; from jax._src import xla_bridge;"
        "assert not xla_bridge._backends, xla_bridge._backends;"
        "import sys; assert 'warp' not in sys.modules and 'metaworld' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_every_config_field_is_read():
    """A flag that nothing reads is a defect (bug 4): each field is read somewhere besides its validation."""
    import dataclasses

    from crl_jax.config import Config

    read: set[str] = set()
    for path in FILES:
        tree, is_config = ast.parse(path.read_text()), path.name.startswith("config")
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.name == "validate":
                node.body = []
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                read.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and not is_config:
                read.add(node.value)
    for part in dataclasses.fields(Config):
        for field in dataclasses.fields(part.default_factory):
            assert field.name in read, field.name
