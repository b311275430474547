"""Trained policies: load, score and film them.

`policy.py` loads, scores and films a policy; `render.py` implements `crl render`; `video.py` writes an mp4.
"""

from crl_jax.play.policy import Trained, film, load, score, score_official

__all__ = ["Trained", "film", "load", "score", "score_official"]
