"""Pictures of simulations.

`render.py` draws films (on the host), `pixels.py` every environment at once (inside jit). `pictured.py` makes
environments that are seen through a camera; `goal_poses.py` puts arm and object where a goal asks for them.
"""

from envs_mjx.pictures.render import DEFAULT_CAMERA, render_frames, require_camera

__all__ = ["DEFAULT_CAMERA", "render_frames", "require_camera"]
