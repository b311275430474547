"""README's moving picture, docs/front.webp: an episode of four policies that ship (`python -m experiments.front`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from crl_jax.play import policy, shipped, video
from envs_mjx.film import sheet
from experiments.study import ROOT

TASKS = ("stick-push", "pick-out-of-hole", "push-wall", "window-open")
SIZE = (320, 240)
EVERY = 3
"""Env steps from one frame to the next."""
FRAMES_PER_S = 16
"""Of the film: 0.6 times real time, in which an env step lasts 1/80 s."""


def draw(path: Path = ROOT / "docs" / "front.webp") -> Path:
    """Film the four tasks, side by side; returns the film's path.

    Raises:
        EnvError: this machine cannot render. ConfigError: a task has no policy that ships.
    """
    with video.quiet_forks():
        clips = [policy.pictures(shipped.load(task), 1, 3, SIZE, every=EVERY) for task in TASKS]
    grid = np.stack([sheet(pictures, TASKS, columns=2) for pictures in zip(*clips, strict=True)])
    return video.write_webp(grid, path, FRAMES_PER_S, quality=60)


if __name__ == "__main__":
    print("Filming four policies (a minute or two) ...")
    print(draw())
