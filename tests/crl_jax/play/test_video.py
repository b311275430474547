"""Films: the captions on their frames."""

from __future__ import annotations

import numpy as np

from crl_jax.play import video


def test_captions_are_written_at_the_top_left_of_each_frame_and_nowhere_else() -> None:
    frames = np.full((2, 240, 320, 3), 120, np.uint8)
    first, second = video.captioned(frames, ["episode 1 of 2", "episode 1 of 2   success"])
    assert first.shape == (240, 320, 3) and first.dtype == np.uint8
    for picture in (first, second):
        assert picture[:40].max() > 240 and picture[:40].min() < 30, "white on dark"
        assert (picture[60:] == 120).all()
    assert (second != 120).sum() > (first != 120).sum(), "the longer text takes more room"
    assert (frames == 120).all(), "the frames that were given are as before"
