"""The files that `crl render` writes: films (mp4) and contact sheets (png)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

import envs_mjx
from crl_jax import runs
from crl_jax.config import ConfigError, nearest
from crl_jax.play import policy, video
from envs_mjx import film

Size = tuple[int, int]
"""(width, height), pixels."""


def refuse(options: Mapping[str, Any], why: str) -> None:
    """Raises ConfigError for the first option that is given (not None): none of them applies here, as `why` says."""
    for name, value in options.items():
        if value is not None:
            raise ConfigError(f"{name}={value}: does not apply: {why}")


def require_run(target: str) -> None:
    """Raises ConfigError, with the nearest task names, if `target` is not a run's folder."""
    if not target:
        raise ConfigError("render: name a run's folder or a task (`crl envs` lists them), or give --sheet OUT.png")
    if not (Path(target) / runs.CONFIG).is_file():
        envs_mjx.require_one(target)
        near = nearest(target, envs_mjx.names())
        raise ConfigError(f"{target}: no run here (no {runs.CONFIG}) and no such task; nearest: {near}")


def film_run(
    folder: Path,
    step: int | None,
    out: Path | None,
    episodes: int,
    seed: int,
    size: Size,
    camera: str,
    told: policy.Told | None = None,
    number: int | None = None,
) -> Path:
    """Writes an mp4 of a run's policy; returns its path. `told`: see `policy.film`, `number`: see `policy.load`."""
    path = checked(out or folder / "videos" / "policy.mp4", ".mp4")
    return policy.film(policy.load(folder, step, number), path, episodes, seed, size, camera, told=told)


def film_task(
    task: str, out: Path | None, name: str | None, episodes: int, seed: int, size: Size, camera: str, physics: str
) -> Path:
    """Writes an mp4 of a task under the policy `name` (None: see `film.policy_of`); returns its path."""
    path = checked(out or Path(f"{task}.mp4"), ".mp4")
    with video.quiet_forks():
        frames, fps = film.film(task, name, episodes, seed, size, camera, physics)
        return video.write_video(frames, path, fps)


def draw_sheet(path: Path, console: Console, tasks: tuple[str, ...] = envs_mjx.SPLITS["mt50"]) -> Path:
    """Writes a PNG with a picture of each task at the moment its scripted policy succeeds; returns its path."""
    from PIL import Image

    checked(path, ".png")
    pictures = []
    for task in track(tasks, "drawing", console=console):
        with video.quiet_forks():
            picture, success = film.tile(task)
        pictures.append(picture)
        if not success:
            console.print(f"{task}: the scripted policy did not succeed", highlight=False)
    Image.fromarray(film.sheet(pictures, tasks)).save(path, optimize=True)
    return path


def checked(path: Path, suffix: str) -> Path:
    """`path`, with its folder made. Raises ConfigError if `path` lacks the suffix or cannot be written."""
    if path.suffix != suffix:
        raise ConfigError(f"out={path}: must end in {suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"out={path}: cannot write there ({error.strerror})") from error
    return path
