"""The machine: whether JAX works on it as the programs here need it, and where a number was measured."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

from crl_jax.config import ConfigError

_PACKAGES = ("jax", "mujoco", "mujoco-mjx", "warp-lang", "metaworld", "brax", "numpy", "flax", "gymnasium")


_REFUSED = {
    "jax_enable_x64": "programs here compute in 32 bit",
    "jax_disable_jit": "without compilation a run takes days",
    "jax_enable_custom_prng": "programs here take keys of two uint32",
}


def tell_plugins_in_one_line() -> None:
    """From now on a plugin of JAX that does not start, as CUDA's without a driver, is told in one line."""
    logger = logging.getLogger("jax._src.xla_bridge")
    if _in_one_line not in logger.filters:
        logger.addFilter(_in_one_line)


def _in_one_line(record: logging.LogRecord) -> bool:
    """A filter of `logging` that shortens; it drops nothing."""
    if record.exc_info and record.exc_info[1] and "plugin configuration error" in record.getMessage():
        record.msg = f"a plugin of JAX does not start here: {' '.join(str(record.exc_info[1]).split())}"
        record.args, record.exc_info, record.exc_text = (), None, None
        record.levelno, record.levelname = logging.WARNING, "WARNING"
    return True


def run_cpu_programs_where_called() -> None:
    """For `--overlap`: programs of the CPU run in the thread that calls them. Call this before JAX has any device.

    Else all run in JAX's pool of threads, one for each core. An engine's callback waits there for arguments that
    another thread of the pool has to copy, and for ever where the updates have the rest of them.

    Raises:
        ConfigError: JAX has started with another setting.
    """
    import jax
    from jax._src.xla_bridge import backends_are_initialized

    settings, name = jax.config, "jax_cpu_enable_async_dispatch"
    if backends_are_initialized() and settings.read(name):
        told = f"JAX has started; call jax.config.update({name!r}, False) before it does"
        raise ConfigError(f"overlap=True: {told}")
    settings.update(name, False)


def check_jax() -> None:
    """Initialise JAX's devices, and refuse settings of JAX with which nothing here works.

    Raises:
        ConfigError: JAX finds no device of the wanted platform, or a setting of `_REFUSED` is on; in one line.
    """
    import jax

    tell_plugins_in_one_line()
    config: Any = jax.config
    for name, reason in _REFUSED.items():
        if getattr(config, name):
            raise ConfigError(f"{name.upper()}=1: {reason}; unset it")
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        wanted = config.jax_platforms or ""
        told = " ".join(str(error).split())[:200] or "JAX has no plugin for it (pip install 'jax[cuda13]')"
        raise ConfigError(f"JAX_PLATFORMS={wanted!r}: {told}") from None


def machine() -> dict[str, Any]:
    """Processor, cores, load, devices and versions; initialises JAX's devices."""
    import jax

    tell_plugins_in_one_line()
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load_1min": round(os.getloadavg()[0], 2),
        "devices": [f"{device.platform}:{device.device_kind}" for device in jax.devices()],
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version for name in _PACKAGES if (version := _version(name))},
        "date": time.strftime("%Y-%m-%d"),
    }


def commit(folder: Path) -> str | None:
    """The checkout's commit, with `+` where files differ from it; None outside a checkout."""
    head = ["git", "rev-parse", "--short=9", "HEAD"], ["git", "status", "--porcelain", "--untracked-files=no"]
    try:
        told = [subprocess.run(one, cwd=folder, check=True, capture_output=True, text=True).stdout for one in head]
    except (OSError, subprocess.CalledProcessError):
        return None
    return told[0].strip() + "+" * bool(told[1].strip())


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
