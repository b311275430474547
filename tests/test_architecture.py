"""Structure of the code: imports point one way, functions stay short, importing initialises nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT

PACKAGES = {
    "envs_mjx": {"envs_mjx"},
    "crl_jax": {"crl_jax", "envs_mjx"},
    "configs": {"configs", "crl_jax", "envs_mjx"},
    "experiments": {"experiments", "configs", "crl_jax", "envs_mjx"},
    "benchmarks": {"benchmarks", "configs", "crl_jax", "envs_mjx"},
}
"""Package -> packages that it may import."""

FLOORS: dict[str, list[str]] = {
    "crl_jax": [
        "config types",
        "experience networks scale",
        "continual contrastive evaluate loop runs",
        "agents data overlap report start",
        "trainer",
        "stages train",
        "play stage_programs",
        "sequence",
        "cli",
    ],
    "envs_mjx": [
        "base",
        "aligned mazes physics",
        "control pictures together",
        "locomotion metaworld repeated robotics",
        "registry",
        "adaptors film",
        "brax_env",
    ],
}
"""Package -> its wings and files by floor. A floor may import only from lower floors (CONTRIBUTING.md)."""

KNOW_METAWORLD = {"__init__", "film", "metaworld", "registry"}
"""Parts of `envs_mjx` that may import Meta-World. `__init__` only re-exports `official` and `splits`."""

FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
MAX_LINES = 50


def imported(path: Path) -> set[str]:
    """Dotted names that a file imports; `from a import b` gives `a.b`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room_of(path: Path) -> tuple[str, str]:
    """The package, and the wing or file in it: crl_jax/runs/folder.py -> crl_jax, runs."""
    package, room, *_ = path.relative_to(ROOT).with_suffix("").parts
    return package, room


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    package = room_of(path)[0]
    wrong = ({name.split(".")[0] for name in imported(path)} & PACKAGES.keys()) - PACKAGES[package]
    assert not wrong, f"{path} imports {wrong}"


@pytest.mark.parametrize("package", FLOORS)
def test_every_wing_has_a_floor_and_a_docstring(package: str) -> None:
    rooms = [room for floor in FLOORS[package] for room in floor.split()]
    there = {room_of(path)[1] for path in (ROOT / package).rglob("*.py")} - {"__init__"}
    assert len(rooms) == len(set(rooms)) and set(rooms) == there
    for init in (ROOT / package).glob("*/__init__.py"):
        assert ast.get_docstring(ast.parse(init.read_text())), f"{init} does not say what lives there"
        assert "__all__" in init.read_text(), init


@pytest.mark.parametrize("package", FLOORS)
def test_imports_never_run_up_the_floors(package: str) -> None:
    floor = {room: level for level, rooms in enumerate(FLOORS[package]) for room in rooms.split()}
    for path in sorted((ROOT / package).rglob("*.py")):
        room = room_of(path)[1]
        for name in imported(path):
            parts = name.split(".")
            if parts[0] == package and room in floor and parts[1] not in (room, "__init__"):
                assert parts[1] in floor, f"{path} imports {name} through {package}/__init__.py"
                assert floor[parts[1]] < floor[room], f"{path} ({room}) imports {name}, which lives no lower"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_metaworld_is_one_world_among_others(path: Path) -> None:
    """In crl_jax and envs_mjx, only KNOW_METAWORLD imports Meta-World; the rest of envs_mjx names none of its tasks."""
    package, room = room_of(path)
    if package not in FLOORS or (package == "envs_mjx" and room in KNOW_METAWORLD):
        return
    behind = ("envs_mjx.metaworld", "envs_mjx.official", "envs_mjx.splits")
    assert not [name for name in imported(path) if name.startswith(behind)], path
    if package == "envs_mjx":
        from envs_mjx.metaworld import SINGLE_GOAL, TASKS

        said = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
        assert not said & {name for name in (*TASKS, *SINGLE_GOAL) if "-" in name or "_" in name}, path


def test_the_loop_knows_no_algorithm() -> None:
    for name in ("train.py", "loop.py", "evaluate.py", "experience/rollout.py", "experience/buffer.py"):
        source = (ROOT / "crl_jax" / name).read_text()
        assert "agents.crl" not in source and "infonce" not in source.lower()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_function_is_long(path: Path) -> None:
    """A function has at most MAX_LINES lines without its docstring."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            docstring = first.end_lineno - first.lineno + 1 if ast.get_docstring(node, clean=False) else 0
            lines = node.end_lineno - node.lineno + 1 - docstring
            assert lines <= MAX_LINES, f"{path}:{node.lineno} {node.name} has {lines} lines"


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
        tree, is_config = ast.parse(path.read_text()), path.parent.name == "config"
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
