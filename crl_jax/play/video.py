"""Writes frames to video files.  Axis letters: T time, H height, W width."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np


@contextlib.contextmanager
def quiet_forks() -> Iterator[None]:
    """Silences JAX's warning about os.fork: the child processes (ffmpeg, OpenGL probe) never use JAX."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"os\.fork\(\) was called", category=RuntimeWarning)
        yield


def write_video(frames: np.ndarray, path: Path, fps: float) -> Path:
    """Writes an H.264 mp4 (yuv420p, which every browser plays) and returns its path.

    Args:
        frames: (T, H, W, 3) uint8, at least one. The last row (column) is repeated if the height (width) is odd.
        path: ends in .mp4; its folder is made when missing.
        fps: frames per second, > 0.

    Raises:
        ValueError: frames of another shape or dtype, none at all, or fps <= 0.
    """
    from imageio_ffmpeg import write_frames

    frames, path = np.asarray(frames), Path(path)
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or 0 in frames.shape:
        raise ValueError(f"frames {frames.dtype}{frames.shape}: uint8 (T, H, W, 3) wanted, no axis empty")
    if fps <= 0:
        raise ValueError(f"fps={fps}: must be positive")
    height, width = frames.shape[1:3]
    frames = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    path.parent.mkdir(parents=True, exist_ok=True)
    size = (frames.shape[2], frames.shape[1])
    writer = write_frames(
        str(path), size, fps=fps, codec="libx264", macro_block_size=2, output_params=["-movflags", "+faststart"]
    )
    writer.send(None)
    try:
        for frame in frames:
            writer.send(np.ascontiguousarray(frame))
    finally:
        writer.close()
    return path


def captioned(frames: np.ndarray, texts: Sequence[str]) -> np.ndarray:
    """(T, H, W, 3) uint8 frames with a line of text each, white on dark, at the top left."""
    from PIL import Image, ImageDraw, ImageFont

    font, edge = ImageFont.load_default(max(12, frames.shape[1] // 24)), frames.shape[1] // 60
    captioned_ = []
    for frame, text in zip(frames, texts, strict=True):
        picture = Image.fromarray(frame)
        pen = ImageDraw.Draw(picture)
        left, top, right, bottom = pen.textbbox((2 * edge, 2 * edge), text, font)
        pen.rectangle((left - edge, top - edge, right + edge, bottom + edge), (20, 20, 20))
        pen.text((2 * edge, 2 * edge), text, (255, 255, 255), font)
        captioned_.append(np.asarray(picture))
    return np.stack(captioned_)


def write_webp(frames: np.ndarray, path: Path, fps: float, quality: int = 40) -> Path:
    """Writes an animated WebP that loops, and returns its path.

    Args:
        frames: (T, H, W, 3) uint8. quality: of 100.
    """
    from PIL import Image

    first, *rest = (Image.fromarray(frame) for frame in frames)
    first.save(path, save_all=True, append_images=rest, duration=round(1000 / fps), loop=0, quality=quality, method=6)
    return path


def read_webp(path: Path) -> np.ndarray:
    """(T, H, W, 3) uint8 frames of an animated WebP."""
    from PIL import Image, ImageSequence

    with Image.open(path) as picture:
        return np.stack([np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(picture)])
