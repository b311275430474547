"""Start Warp without its start-up messages."""

from __future__ import annotations

import ctypes.util
import importlib.util
import os
import sys


def quiet_warp() -> None:
    """Start Warp so that it prints only errors. Call this before `mujoco.mjx` is imported, which imports Warp.

    Without a CUDA library, Warp's native code reports this on the process's stderr, whatever the settings. In that case
    stderr goes to the null device during the start.
    """
    if importlib.util.find_spec("warp") is None:
        return
    import warp

    warp.config.log_level = warp.LOG_ERROR
    if ctypes.util.find_library("cuda"):
        warp.init()
        return
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        warp.init()
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
