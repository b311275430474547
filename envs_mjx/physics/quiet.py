"""Start Warp without its start-up messages."""

from __future__ import annotations

import ctypes.util
import importlib.util
import os
import sys
import tempfile

_KNOWN = b"Could not find or load the NVIDIA CUDA driver"


def quiet_warp() -> None:
    """Start Warp so that it prints only errors. Call this before `mujoco.mjx` is imported, which imports Warp.

    Without a CUDA library, Warp's native code reports this on the process's stderr, whatever the settings. In that case
    stderr goes to a file during the start, and all lines but that one are then passed on.
    """
    if importlib.util.find_spec("warp") is None:
        return
    import warp

    warp.config.log_level = warp.LOG_ERROR
    if ctypes.util.find_library("cuda"):
        warp.init()
        return
    sys.stderr.flush()
    with tempfile.TemporaryFile() as told:
        kept = os.dup(2)
        try:
            os.dup2(told.fileno(), 2)
            warp.init()
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            told.seek(0)
            os.write(2, b"".join(line for line in told if _KNOWN not in line))
