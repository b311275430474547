"""Warp's kernels of an engine: which ones a step launches, and their compilation before the first step.

Warp compiles a module of kernels when it is first launched, one after another: some 180 CPU seconds for a Sawyer scene
on a GPU. Here they are compiled side by side, and also on a machine without a GPU. Warp keeps them on disk.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np

from envs_mjx.base import EnvError
from envs_mjx.physics.base import Physics

Modules = dict[Any, set[int]]
"""Module of kernels (`warp.Module`) -> sizes of a block of threads that it is launched with."""


@contextmanager
def instead_of_launches(launch: Callable[..., None]) -> Iterator[None]:
    """While it is open, Warp calls `launch` with the arguments of each launch in this process, and launches nothing.

    A loop's body runs once, and both branches of a condition run.
    """
    import warp

    def once(condition: Any, while_body: Callable[..., None], **arguments: Any) -> None:
        while_body(**arguments)

    def both(condition: Any, on_true: Any = None, on_false: Any = None, **arguments: Any) -> None:
        for branch in filter(None, (on_true, on_false)):
            branch(**arguments)

    stand_ins = {"launch": launch, "launch_tiled": launch, "capture_while": once, "capture_if": both}
    usual = {name: getattr(warp, name) for name in stand_ins}
    for name, stand_in in stand_ins.items():
        setattr(warp, name, stand_in)
    try:
        yield
    finally:
        for name, function in usual.items():
            setattr(warp, name, function)


def modules_of(physics: Physics) -> Modules:
    """The modules whose kernels a step and a reset launch. Nothing is simulated; Warp need not see a GPU."""
    found: Modules = {}

    def note(kernel: Any, dim: Any = None, inputs: Any = (), outputs: Any = (), *_: Any, **more: Any) -> None:
        if kernel.is_generic:
            kernel = kernel.add_overload(kernel.infer_argument_types([*inputs, *outputs]))
        threads = more.get("block_dim") or kernel.module.options["block_dim"]
        found.setdefault(kernel.module, set()).add(threads)

    # Arrays of the host, so that all of it runs on the CPU, also beside a GPU.
    count = physics.num_envs
    state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), jax.eval_shape(physics.initial))
    scene: Any = physics.scene  # type: ignore[attr-defined]
    action = np.zeros((count, scene.control.action_size), np.float32)
    vector = np.zeros((count, 64), np.float32)  # Longer than every reset vector.
    with instead_of_launches(note), jax.default_device(jax.devices("cpu")[0]):
        jax.block_until_ready(jax.jit(physics.reset)(state, np.ones(count, bool), vector))
        jax.block_until_ready(jax.jit(physics.step)(state, action))
    return found


def check_arch(arch: int) -> None:
    """Raise EnvError for a compute capability that Warp's compiler does not know."""
    from envs_mjx.physics.quiet import quiet_warp

    quiet_warp()
    import warp

    known = sorted(warp.get_cuda_supported_archs())
    if arch not in known:
        raise EnvError(f"arch={arch}: Warp's compiler does not know it; one of {', '.join(map(str, known))}")


def compile_modules(modules: Modules, arch: int, told: Callable[[int, int], None], workers: int = 0) -> int:
    """Compile modules for GPUs of compute capability `arch` (90: H100, H200) into Warp's cache on disk.

    Args:
        told: called with the number of modules that are compiled, and of all.
        workers: threads; 0: as many as there are cores.

    Returns:
        number of modules, each counted once for each size of block.

    Raises:
        EnvError: Warp's compiler does not know that compute capability.
    """
    import warp

    check_arch(arch)
    total = sum(len(sizes) for sizes in modules.values())
    done = 0

    def compiled(module: Any, sizes: set[int]) -> int:
        usual = module.options["block_dim"]
        try:
            for threads in sorted(sizes):
                module.options["block_dim"] = threads
                warp.compile_aot_module(module, arch=arch)
        finally:
            module.options["block_dim"] = usual
        return len(sizes)

    told(0, total)
    with ThreadPoolExecutor(workers or len(os.sched_getaffinity(0))) as pool:
        for job in as_completed([pool.submit(compiled, module, sizes) for module, sizes in modules.items()]):
            done += job.result()
            told(done, total)
    return total
