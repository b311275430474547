"""`crl doctor`: what this machine has, and what works on it."""

from __future__ import annotations

import os
from collections.abc import Callable
from json import dumps
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from crl_jax.cli.progress import doing
from crl_jax.scale.memory import gib


def doctor(json: bool = False) -> int:
    """Versions, devices, engines, renderer, caches, cores and memory of this machine. Always exits with 0.

    Args:
        json: Print JSON.
    """
    with doing("Looking at this machine (a few seconds) ..."):
        told = findings()
    if json:
        print(dumps(told, indent=1))
        return 0
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for name, value in told.items():
        lines = value if isinstance(value, dict) else {"": value}
        for index, (part, text) in enumerate(lines.items()):
            table.add_row(name if index == 0 else "", f"{part}: {text}" if part else str(text))
    Console().print(table)
    return 0


def findings() -> dict[str, Any]:
    """Topic -> what was found, as text or as part -> text."""
    from crl_jax.scale import machine, memory

    about = _tried(machine.machine)
    known = about if isinstance(about, dict) else {"jax": about}
    free = _tried(memory.available)
    return {
        "python": known.get("python", about),
        "system": known.get("system", "-"),
        "processor": f"{known.get('processor', '-')}, {_cores()} of {os.cpu_count()} cores for this process",
        "free memory": gib(free) if isinstance(free, int) else str(free),
        "versions": known.get("versions", {}),
        "devices": ", ".join(known.get("devices", [str(about)])),
        "engines": {name: _tried(lambda name=name: _engine(name)) for name in ("c", "warp", "jax")},  # type: ignore[misc]
        "films": _tried(_renderer),
        "cache": {str(folder): _size(folder) for folder in _caches()},
        "settings": {name: value for name, value in os.environ.items() if name.startswith(_SETTINGS)} or "none",
    }


_SETTINGS = ("JAX_", "XLA_", "MUJOCO_GL", "CUDA_VISIBLE", "WANDB_MODE", "SLURM_JOB_ID")
"""Beginnings of the names of environment variables that change what happens here."""


def _tried(find: Callable[[], Any]) -> Any:
    """What `find` returns, or its error in one line."""
    try:
        return find()
    except Exception as error:
        return f"does not work: {' '.join(str(error).split())[:200] or type(error).__name__}"


def _cores() -> int:
    from envs_mjx.physics.cores import cores

    return cores()


def _engine(name: str) -> str:
    """Whether an engine works here, and where `auto` takes it."""
    import jax

    import envs_mjx

    cuda = any(device.platform == "gpu" for device in jax.devices())
    if name == "warp":
        from envs_mjx.physics.quiet import quiet_warp

        quiet_warp()
        import warp

        if not warp.is_cuda_available():
            return "works on this CPU, slowly; Warp finds no CUDA driver"
        if not cuda:
            return "Warp finds CUDA, JAX does not (make install ACCELERATOR=cuda13)"
        return "works; `auto` takes it"
    if name == "c":
        envs_mjx.make("reach", 1, physics="c", threads=1)
        return "works" + ("" if cuda else "; `auto` takes it")
    import mujoco.mjx  # noqa: F401

    return "works (compiles for minutes)"


def _renderer() -> str:
    """The renderer, by drawing a picture with it."""
    import jax
    import numpy as np

    import envs_mjx
    from envs_mjx.pictures import render

    name = render.backend()
    env = envs_mjx.make("reach", 1, physics="c", threads=1)
    state = jax.jit(env.reset)(jax.random.PRNGKey(0))
    env.frames([(state.physics, np.asarray(state.target), 0)], 32, 24, "corner")
    return {"warp": "by Warp's ray tracer, slowly (install EGL or OSMesa: apt install libosmesa6)"}.get(
        name, f"by {name}"
    )


def _caches() -> list[Path]:
    from crl_jax.scale.compilation_cache import default_folder

    home = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    return [default_folder(), *sorted(home.glob("warp"))]


def _size(folder: Path) -> str:
    if not folder.is_dir():
        return "empty"
    return gib(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()))
