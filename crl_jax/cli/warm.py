"""`crl warm`: compile what a run needs before the run, e.g. on a cluster's login node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tyro
from rich.console import Console

from crl_jax.cli.progress import doing
from crl_jax.config import Config, ConfigError, nearest, with_overrides

_ENVS = 8
"""Environments of the scene whose kernels are listed: the kernels are the same for every number of environments."""


def make_warm(presets: Mapping[str, Config]) -> Any:
    """The command with these presets."""

    def warm(task: tyro.conf.Positional[tuple[str, ...]], /, preset: str = "metaworld_gpu", arch: int = 0) -> int:
        """Compile what `crl train TASK --preset NAME` would compile first, and keep it on disk.

        Warp's kernels are compiled side by side, also on a machine without a GPU (--arch). XLA's programs are compiled
        where the GPU is.

        Args:
            task: Tasks of `crl envs`; the kernels of a scene differ in few modules from those of another.
            preset: Preset whose programs are compiled.
            arch: Compute capability of the GPU, e.g. 90 (H100, H200), 80 (A100); 0: of the GPU that is here.
        """
        if preset not in presets:
            raise ConfigError(f"preset={preset!r}: no such preset; nearest: {nearest(preset, presets)}")
        if not task:
            raise ConfigError("warm: name a task (`crl envs` lists them), e.g. `crl warm push --arch 90`")
        import envs_mjx

        for name in task:
            envs_mjx.check_task(name)
        console = Console()
        for name in task:
            _warm(console, with_overrides(presets[preset], task=name), arch)
        return 0

    return warm


def _warm(console: Console, config: Config, arch: int) -> None:
    import envs_mjx
    from crl_jax import trainer
    from crl_jax.scale import compilation_cache, warp_kernels
    from crl_jax.scale.machine import check_jax
    from envs_mjx.physics import ENGINES
    from envs_mjx.physics import warp_kernels as kernels

    check_jax()
    task, here = config.env.task, warp_kernels.compute_capability()
    gpu, asked = arch or here or 0, config.env.physics
    if not gpu and asked == "auto" and not config.env.allow_cpu:
        raise ConfigError("arch=0: JAX sees no NVIDIA GPU here; name its compute capability, e.g. --arch 90")
    if arch:
        kernels.check_arch(arch)
    # Bodies with motors have engines of their own.
    own = gpu and asked in ("auto", "warp") and envs_mjx.engine_of(task, asked) in ENGINES
    for one in envs_mjx.tasks_of(task) if own else ():
        if "warp" not in envs_mjx.describe(one).engines:
            continue
        few = with_overrides(config, task=one, physics="warp", num_envs=_ENVS).env
        with doing(f"{one}: compiling Warp's kernels for compute capability {gpu} ...") as now:
            modules = kernels.modules_of(trainer.make_env(few, _ENVS).physics)  # type: ignore[attr-defined]
            count = kernels.compile_modules(modules, gpu, lambda done, of: now(f"{done} of {of} modules"))
        console.print(f"{one}: {count} modules of Warp's kernels for compute capability {gpu}", highlight=False)
    if arch and here != arch:
        console.print(f"{task}: XLA's programs are compiled where the GPU is, in the first minute", highlight=False)
        return
    from crl_jax.start import ready

    config = ready(config)
    compilation_cache.enable()
    with doing(f"{task}: compiling XLA's programs ..."):
        compiled = trainer.compile_all(trainer.build(config))
    console.print(f"{task}: XLA's programs in {compiled.compile_seconds:.0f} s", highlight=False)
