"""Warp started without its greetings."""

from __future__ import annotations

import ctypes.util
import importlib.util
import os
import sys


def quiet_warp() -> None:
    """Start Warp so that it prints nothing but errors; to be called before `mujoco.mjx`, which imports it, is.

    Where there is no CUDA library, Warp's native code says so on the process's stderr, past every setting: that one
    start is made with stderr closed.
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
