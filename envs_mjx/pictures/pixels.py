"""Pixel observations of engine `warp`: MuJoCo Warp's ray tracer draws every environment at once, inside jit.

Body poses come from the state, so nothing is simulated here. The pictures show what `render.py` shows, goal marks
included. Warp draws no sites, so a goal mark is a disc over the picture, which no object can hide.

Axis letters: E environments, H height, W width, S goal marks.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from envs_mjx.base import EnvError
from envs_mjx.physics.base import PhysicsState
from envs_mjx.physics.mjx import MjxPhysics
from envs_mjx.pictures.render import require_camera

MARK = 0.01
"""Metres, least radius of a goal mark."""
_FIXED, _TRACK = int(mujoco.mjtCamLight.mjCAMLIGHT_FIXED), int(mujoco.mjtCamLight.mjCAMLIGHT_TRACK)
Observe = Callable[[PhysicsState, jax.Array], jax.Array]
"""(physics of E environments, target (E, 3)) -> pictures (E, H, W, 3) uint8, upright."""


def make_pixels(physics: MjxPhysics, width: int, height: int, camera: str) -> Observe:
    """A pure function that draws every environment of `physics` by one camera of its scene.

    Raises:
        EnvError: no such camera, a bad size, or a camera or light in a mode that no scene of Meta-World has.
    """
    model = physics.scene.model
    require_camera(model, camera)
    if width < 1 or height < 1:
        raise EnvError(f"width={width}, height={height}: both must be at least 1")
    if not np.isin(model.cam_mode, (_FIXED, _TRACK)).all() or (model.light_mode != _FIXED).any():
        raise EnvError(f"obs='pixels': scene {physics.scene.name!r} has a camera or light that aims at something")
    context = physics.mjx.create_render_context(
        model,
        nworld=physics.num_envs,
        cam_res=(width, height),
        cam_active=[camera],
        render_rgb=True,
        render_depth=False,
        background_color=(0.5, 0.5, 0.5, 1.0),
    )
    index = model.camera(camera).id
    focal = height / 2 / np.tan(np.deg2rad(model.cam_fovy[index]) / 2)
    # A camera's y axis points up in its picture; the official corner cameras hang upside down.
    upside_down = physics.scene.data.cam_xmat[index].reshape(3, 3)[2, 1] < -0.1

    def draw(engine, target: jax.Array) -> jax.Array:
        data = _aim(model, physics.posed(engine))
        data = physics.mjx.refit_bvh(physics.model, data, context.pytree())
        packed, _, _ = physics.mjx.render(physics.model, data, context.pytree())
        picture = physics.mjx.get_rgb(context.pytree(), 0, packed)
        picture = _mark_goals(picture, model, data, target, data.cam_xpos[index], data.cam_xmat[index], focal)
        picture = jnp.round(255 * picture).astype(jnp.uint8)
        return picture[::-1, ::-1] if upside_down else picture

    def observe(state: PhysicsState, target: jax.Array) -> jax.Array:
        with jax.default_matmul_precision("highest"):
            return jax.vmap(draw)(state.engine, target)

    return observe


def _aim(model: mujoco.MjModel, data):
    """`data` of one simulation, with camera and light poses computed from their bodies (as `mj_camlight`)."""
    bodies, turns = model.cam_bodyid, data.xmat.reshape(-1, 3, 3)
    frames = np.empty((model.ncam, 9))
    for frame, quat in zip(frames, model.cam_quat, strict=True):
        mujoco.mju_quat2Mat(frame, quat)
    # A tracking camera keeps its distance and its direction in the world; a fixed one turns with its body.
    tracks = model.cam_mode == _TRACK
    turned = jnp.einsum("cij,cj->ci", turns[bodies], np.float32(model.cam_pos))
    xpos = data.xpos[bodies] + jnp.where(tracks[:, None], np.float32(model.cam_pos0), turned)
    rode = turns[bodies] @ np.float32(frames.reshape(-1, 3, 3))
    xmat = jnp.where(tracks[:, None, None], np.float32(model.cam_mat0.reshape(-1, 3, 3)), rode)
    lit = model.light_bodyid
    light_xpos = data.xpos[lit] + jnp.einsum("lij,lj->li", turns[lit], np.float32(model.light_pos))
    light_xdir = jnp.einsum("lij,lj->li", turns[lit], np.float32(model.light_dir))
    shaped = {"cam_xpos": xpos, "cam_xmat": xmat, "_impl.light_xpos": light_xpos, "_impl.light_xdir": light_xdir}
    return data.tree_replace(shaped)


def _mark_goals(picture, model: mujoco.MjModel, data, target, eye, axes, focal: float) -> jax.Array:
    """(H, W, 3) picture with a disc for each goal site; a site of the world body is drawn at the episode's target."""
    height, width = picture.shape[:2]
    rows, columns = np.mgrid[:height, :width] + 0.5
    for index in range(model.nsite):
        site = model.site(index)
        if not site.name.startswith("goal"):
            continue
        point = target if model.site_bodyid[index] == 0 else data.site_xpos[index]
        right, up, back = axes.T @ (point - eye)
        radius = max(site.size[0], MARK) * focal / -back
        column, row = width / 2 - right * focal / back, height / 2 + up * focal / back
        disc = (jnp.hypot(columns - column, rows - row) <= radius) & (back < 0)
        picture = jnp.where(disc[..., None], np.float32(site.rgba[:3]), picture)
    return picture
