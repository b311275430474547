"""JAX's persistent compilation cache, on by default: a program compiled once starts faster in the next process.

JAX does not cache programs with host callbacks, and so no program that calls engine `c`. Programs of the other engines
and of the mazes are cached.
"""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path
from typing import Any

_log = logging.getLogger(__name__)


def default_folder() -> Path:
    """$XDG_CACHE_HOME/crl_jax/xla, or ~/.cache/crl_jax/xla."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path("~/.cache").expanduser()) / "crl_jax" / "xla"


def enable() -> str | None:
    """Keep compiled programs on disk from now on, and return the cache's folder; None: no cache.

    The user's choice of a folder (`JAX_COMPILATION_CACHE_DIR`, `jax.config`) or of no cache
    (`JAX_ENABLE_COMPILATION_CACHE=false`) stays. If the default folder cannot be written, there is no cache. This
    function initialises no device.
    """
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    config: Any = jax.config
    if not config.jax_enable_compilation_cache:
        return None
    if config.jax_compilation_cache_dir:
        return config.jax_compilation_cache_dir
    try:
        folder = default_folder()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, RuntimeError) as error:  # RuntimeError: this user has no home.
        _log.info("no compilation cache: %s", error)
        return None
    config.update("jax_compilation_cache_dir", str(folder))
    compilation_cache.reset_cache()  # JAX looks for a folder once, at the process's first compilation.
    return str(folder)
