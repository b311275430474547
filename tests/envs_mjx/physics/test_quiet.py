"""Warp starts without its line about CUDA, and everything else that it prints is passed on."""

from __future__ import annotations

import subprocess
import sys

from tests import ROOT


def test_only_the_known_line_is_left_out() -> None:
    code = (
        "import os, warp\n"
        "start = warp.init\n"
        "warp.init = lambda: (os.write(2, b'last words\\n'), start())\n"
        "from envs_mjx.physics.quiet import quiet_warp\n"
        "quiet_warp()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr == "last words\n"
