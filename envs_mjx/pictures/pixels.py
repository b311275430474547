"""Pictures of every environment at once, inside jit, by MuJoCo Warp's ray tracer.

Poses come from the state, so nothing is simulated here: engine `warp` draws on its device, engine `c` on the host. The
pictures show what `render.py` shows. Warp draws no sites; `mark_goals` puts the goal marks over a picture as discs,
which no object can hide.

Axis letters: E environments, H height, W width, S goal marks.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from flax import struct

from envs_mjx.base import EnvError
from envs_mjx.physics.base import Physics, PhysicsState
from envs_mjx.physics.c import CPhysics
from envs_mjx.physics.fixture import Fixture
from envs_mjx.physics.mjx import MjxPhysics
from envs_mjx.pictures.render import BACKGROUND, Tracer, require_camera

MARK = 0.01
"""Metres, least radius of a goal mark."""
_FIXED, _TRACK = int(mujoco.mjtCamLight.mjCAMLIGHT_FIXED), int(mujoco.mjtCamLight.mjCAMLIGHT_TRACK)


class View(struct.PyTreeNode):
    """Where the camera and the scene's sites are, metres: eye (E, 3), axes (E, 9) row-major, sites (E, n, 3)."""

    eye: jax.Array
    axes: jax.Array
    sites: jax.Array


Draw = Callable[[PhysicsState], tuple[jax.Array, View]]
"""Physics of E environments -> pictures (E, H, W, 3) uint8, upright, without goal marks; and their view."""


@dataclass(frozen=True)
class Camera:
    """A camera of a model, and the size of its pictures in pixels."""

    model: mujoco.MjModel
    name: str
    width: int
    height: int

    @property
    def index(self) -> int:
        return int(self.model.camera(self.name).id)

    @property
    def focal(self) -> float:
        """Pixels from the eye to the picture."""
        return float(self.height / 2 / np.tan(np.deg2rad(self.model.cam_fovy[self.index]) / 2))

    def hangs(self, data: mujoco.MjData) -> bool:
        """Whether its y axis points down, as that of the official corner cameras does; its pictures are turned."""
        return bool(data.cam_xmat[self.index].reshape(3, 3)[2, 1] < -0.1)


def make_draw(physics: Physics, width: int, height: int, camera: str) -> tuple[Draw, Camera, np.ndarray]:
    """A pure function that draws every environment of `physics` by one camera of its scene.

    Returns:
        that function, the camera, and a picture (H, W, 3) uint8 of the settled scene.

    Raises:
        EnvError: no such camera, a bad size, an engine that cannot draw, or a camera or light in a mode that engine
            `warp` does not follow.
    """
    scene: Any = physics.scene  # type: ignore[attr-defined]
    require_camera(scene.model, camera)
    if width < 1 or height < 1:
        raise EnvError(f"width={width}, height={height}: both must be at least 1")
    view = Camera(scene.model, camera, width, height)
    data = mujoco.MjData(scene.model)
    data.qpos[:] = scene.data.qpos
    mujoco.mj_forward(scene.model, data)
    turned = view.hangs(data)
    if isinstance(physics, CPhysics):
        return _on_host(physics, view, turned), view, _settled(view, data)
    if not isinstance(physics, MjxPhysics) or physics.impl != "warp":
        raise EnvError("obs='pixels': physics='jax' draws no pictures; take physics='c' or 'warp'")
    model = scene.model
    if not np.isin(model.cam_mode, (_FIXED, _TRACK)).all() or (model.light_mode != _FIXED).any():
        raise EnvError(f"obs='pixels': scene {scene.name!r} has a camera or light that aims at something; physics='c'")
    return _on_device(physics, view, turned), view, _settled(view, data)


def _settled(camera: Camera, data: mujoco.MjData) -> np.ndarray:
    tracer = Tracer(_without_mocap(camera.model), 1, camera.width, camera.height, camera.name)
    picture = tracer.draw({name: getattr(data, name)[None] for name in Tracer.POSES})[0]
    return picture[::-1, ::-1] if camera.hangs(data) else picture


def _without_mocap(model: mujoco.MjModel) -> mujoco.MjModel:
    """The model with what marks its mocap bodies (Fetch: three long lines) invisible."""
    model = copy.copy(model)
    for geom in np.flatnonzero(model.body_mocapid[model.geom_bodyid] >= 0):
        model.geom_rgba[geom, 3] = 0.0
    return model


def _on_host(physics: CPhysics, camera: Camera, turned: bool) -> Draw:
    count, index = physics.num_envs, camera.index
    tracer = Tracer(_without_mocap(camera.model), count, camera.width, camera.height, camera.name)
    shapes = (
        jax.ShapeDtypeStruct((count, camera.height, camera.width, 3), np.uint8),
        View(
            jax.ShapeDtypeStruct((count, 3), np.float32),  # type: ignore[arg-type]
            jax.ShapeDtypeStruct((count, 9), np.float32),  # type: ignore[arg-type]
            jax.ShapeDtypeStruct((count, camera.model.nsite, 3), np.float32),  # type: ignore[arg-type]
        ),
    )

    def trace(engine: Any) -> tuple[np.ndarray, View]:
        poses = physics.poses(engine)
        seen = (poses["cam_xpos"][:, index], poses["cam_xmat"][:, index], poses["site_xpos"])
        return tracer.draw(poses), View(*(value.astype(np.float32) for value in seen))  # type: ignore[arg-type]

    def draw(state: PhysicsState) -> tuple[jax.Array, View]:
        picture, view = jax.pure_callback(trace, shapes, state.engine, vmap_method="sequential")
        return (picture[:, ::-1, ::-1] if turned else picture), view

    return draw


def _on_device(physics: MjxPhysics, camera: Camera, turned: bool) -> Draw:
    from mujoco import mjx  # After the engine has started Warp.

    from envs_mjx.physics.mjx_stepper import MjxStepper

    model, index = camera.model, camera.index
    poser = MjxStepper(physics.scene, model, Fixture(physics.scene, model), "warp")
    context = mjx.create_render_context(
        _without_mocap(model),
        nworld=physics.num_envs,
        cam_res=(camera.width, camera.height),
        cam_active=[camera.name],
        render_rgb=True,
        render_depth=False,
        background_color=BACKGROUND,
    )

    def one(engine: Any) -> tuple[jax.Array, View]:
        data = _aim(model, mjx.kinematics(*poser.lay_out(engine)))
        data = mjx.refit_bvh(poser.model, data, context.pytree())
        packed, _, _ = mjx.render(poser.model, data, context.pytree())
        picture = jnp.round(255 * mjx.get_rgb(context.pytree(), 0, packed)).astype(jnp.uint8)
        view = View(data.cam_xpos[index], data.cam_xmat[index].reshape(9), data.site_xpos)
        return (picture[::-1, ::-1] if turned else picture), view

    def draw(state: PhysicsState) -> tuple[jax.Array, View]:
        with jax.default_matmul_precision("highest"):
            drawn: tuple[jax.Array, View] = jax.vmap(one)(state.engine)
            return drawn

    return draw


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


def mark_goals(picture: jax.Array, camera: Camera, view: View, target: jax.Array) -> jax.Array:
    """(E, H, W, 3) pictures with a disc for each goal site; a site of the world body is drawn at `target` (E, 3)."""
    return jax.vmap(functools.partial(_marked, camera))(picture, view, target)


def _marked(camera: Camera, picture: jax.Array, view: View, target: jax.Array) -> jax.Array:
    height, width = picture.shape[:2]
    rows, columns = np.mgrid[:height, :width] + 0.5
    axes = view.axes.reshape(3, 3)
    turned = axes[2, 1] < -0.1
    for index in range(camera.model.nsite):
        site = camera.model.site(index)
        if not site.name.startswith(("goal", "target")):
            continue
        point = target if camera.model.site_bodyid[index] == 0 else view.sites[index]
        right, up, back = axes.T @ (point - view.eye)
        radius = max(site.size[0], MARK) * camera.focal / -back
        column, row = width / 2 - right * camera.focal / back, height / 2 + up * camera.focal / back
        column, row = jnp.where(turned, width - column, column), jnp.where(turned, height - row, row)
        disc = (jnp.hypot(columns - column, rows - row) <= radius) & (back < 0)
        picture = jnp.where(disc[..., None], jnp.uint8(np.round(255 * site.rgba[:3])), picture)
    return picture
