"""Pictures of simulations: `render.py` for films (on the host), `pixels.py` for observations (inside jit)."""

from envs_mjx.pictures.render import DEFAULT_CAMERA, render_frames, require_camera

__all__ = ["DEFAULT_CAMERA", "render_frames", "require_camera"]
