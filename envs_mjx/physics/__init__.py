"""Batched rigid-body physics: one interface (`base.py`), three engines.

`c.py` is engine `c` (MuJoCo's own C engine on host threads), `mjx.py` the engines `warp` and `jax`, which simulate by
`warp_stepper.py` and `mjx_stepper.py`. `cores.py` counts the usable cores, `quiet.py` starts Warp without its messages,
`tracing.py` sets how MJX is traced. `make_physics` makes an engine, or says why it cannot run here and what to use
instead.
"""

from __future__ import annotations

import difflib
import importlib.util

from envs_mjx.base import EnvError
from envs_mjx.physics.base import Physics, Scene
from envs_mjx.physics.cores import cores, spare_thread

__all__ = ["ENGINES", "has_cuda", "make_physics", "resolve"]

ENGINES = ("c", "warp", "jax")


def has_cuda() -> bool:
    """Whether JAX sees an NVIDIA GPU (initialises JAX's devices)."""
    import jax

    spare_thread()
    return any(device.platform == "gpu" and "NVIDIA" in device.device_kind.upper() for device in jax.local_devices())


def resolve(engine: str) -> str:
    """`auto` -> `warp` on CUDA, else `c`; any other name is checked against this machine.

    Raises:
        EnvError: no such engine, its package is not installed, or Warp cannot use the GPU that JAX sees; in one line.
    """
    if engine == "auto":
        if not has_cuda():
            return "c"
        engine = "warp"
    if engine not in ENGINES:
        near = ", ".join(difflib.get_close_matches(engine, (*ENGINES, "auto"), n=2, cutoff=0.1)) or "auto"
        raise EnvError(f"physics={engine!r}: no such engine; nearest: {near} (of auto, c, warp, jax)")
    if engine == "c" and importlib.util.find_spec("mujoco.batch") is None:
        raise EnvError("physics='c': this MuJoCo has no mujoco.batch; install mujoco==3.17.0, or take physics='warp'")
    if engine == "warp" and importlib.util.find_spec("warp") is None:
        raise EnvError("physics='warp': warp-lang is not installed; pip install warp-lang==1.18.0, or take physics='c'")
    if engine == "warp" and has_cuda():
        _require_warp_cuda()
    return engine


def _require_warp_cuda() -> None:
    """Refuse a GPU that JAX sees and Warp does not: Warp would simulate on the CPU, slower than engine `c`."""
    from envs_mjx.physics.quiet import quiet_warp

    quiet_warp()
    import warp

    if warp.is_cuda_available():
        return
    built, driver = warp.get_cuda_toolkit_version(), warp.get_cuda_driver_version()
    offered = f"the driver is for {_dotted(driver)}" if driver else "it finds no driver"
    raise EnvError(
        f"physics='warp': JAX sees an NVIDIA GPU, Warp does not: warp-lang {warp.__version__} is built for CUDA"
        f" {_dotted(built)}, {offered}; install a newer driver or warp-lang's +cu12 wheel, or take physics='c'"
    )


def _dotted(version: tuple[int, int] | None) -> str:
    return "?" if version is None else ".".join(map(str, version))


def make_physics(
    engine: str, scene: Scene, num_envs: int, threads: int = 0, naconmax: int = 0, njmax: int = 0
) -> Physics:
    """Engine `engine` (a name that `resolve` returned) for `num_envs` copies of `scene`.

    Args:
        threads: number of threads of engine `c`; 0 takes every core.
        naconmax, njmax: sizes of engine `warp`'s buffers, see `MjxPhysics`; 0 takes the default.

    Raises:
        EnvError: the engine does not take this scene or these numbers, with the reason and the alternative.
    """
    for name, size in (("naconmax", naconmax), ("njmax", njmax)):
        if size < 0 or (size and engine != "warp"):
            cure = "0 (the default) or more wanted" if size < 0 else f"engine {engine!r} has no such buffer; leave it 0"
            raise EnvError(f"{name}={size}: {cure}")
    if engine == "c":
        from envs_mjx.physics.c import CPhysics

        most = 8 * cores()
        if threads > most:
            raise EnvError(f"threads={threads}: there are {cores()} cores for this; take 0 (every core) to {most}")
        return CPhysics(scene, num_envs, threads)
    from envs_mjx.physics.mjx import MjxPhysics

    return MjxPhysics(scene, num_envs, engine, naconmax, njmax)
