"""Trained policies at work.

`policy.py` loads, scores and films one; `render.py` serves `crl render`; `video.py` writes an mp4.
"""

from crl_jax.play.policy import Trained, film, load, score, score_official

__all__ = ["Trained", "film", "load", "score", "score_official"]
