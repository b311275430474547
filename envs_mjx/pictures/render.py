"""Renders frames by EGL, else OSMesa, else MuJoCo Warp's ray tracer, which needs no system library.

Axis letters: T frames, H height, W width.
"""

from __future__ import annotations

import copy
import functools
import importlib
import importlib.util
import itertools
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping

import mujoco
import numpy as np

from envs_mjx.base import EnvError

BACKENDS = ("egl", "osmesa", "warp")
DEFAULT_CAMERA = "corner"
"""Official camera that shows arm, object and goal of every scene, upright."""

_MARK = 0.01
"""Metres, least radius of a goal mark."""
BACKGROUND = (0.5, 0.5, 0.5, 1.0)
"""Colour behind everything, as the ray tracer draws it."""
_CHUNK = 8
"""Frames that Warp renders at once, one world per frame."""
_MAX_GEOMS = 2000
_SHADOW_MAP = 1024
"""Side of a shadow map, pixels. The official 4096 takes a quarter of a frame's time in software OpenGL."""
_PROBE = """
import mujoco
renderer = mujoco.Renderer(mujoco.MjModel.from_xml_string("<mujoco><worldbody><light/></worldbody></mujoco>"), 8, 8)
"""
_PROBE_SECONDS = 60
_log = logging.getLogger(__name__)

Pair = tuple[mujoco.MjModel, mujoco.MjData]


@functools.cache
def backend() -> str:
    """The renderer that this machine has: one of `BACKENDS`, or "glfw" where the user asks for it.

    OpenGL is tried in a subprocess, since a failed attempt can break the process that made it. Environment variable
    `MUJOCO_GL`: "egl", "osmesa" or "glfw" is the only OpenGL tried, "disable" means Warp; unset, EGL and OSMesa are
    tried in turn. Without OpenGL, Warp is used. MuJoCo reads `MUJOCO_GL`, too: its import fails if that backend is
    missing.

    Raises:
        EnvError: neither OpenGL nor Warp works; the message says what to install.
    """
    wanted = os.environ.get("MUJOCO_GL", "").lower()
    if wanted not in ("disable", "disabled", "off", "false", "0"):
        for name in (wanted,) if wanted in (*BACKENDS[:2], "glfw") else BACKENDS[:2]:
            if _has_gl(name):
                return name
        if wanted:
            _log.warning("MUJOCO_GL=%s gives no OpenGL context here: rendering with Warp", wanted)
    if importlib.util.find_spec("warp") is None:
        raise EnvError(
            "no renderer: install an EGL driver, or OSMesa (apt-get install libosmesa6), or pip install warp-lang"
        )
    return "warp"


def require_camera(model: mujoco.MjModel, camera: str, more: tuple[str, ...] = ()) -> None:
    """Raise EnvError, with the valid names, if `camera` is neither a camera of the model nor one of `more`."""
    names = [*more, *(model.cam(index).name for index in range(model.ncam))]
    if camera not in names:
        raise EnvError(f"camera={camera!r}: no such camera; one of {', '.join(names)}")


def render_frames(
    pairs: Iterable[Pair], width: int = 320, height: int = 240, camera: str = DEFAULT_CAMERA
) -> np.ndarray:
    """Upright pictures of forwarded simulations, (T, H, W, 3) uint8.

    Args:
        pairs: (model, data) of each frame, as `Physics.materialise` gives them; a generator is consumed a few frames at
            a time. Models may differ in the positions of bodies (fixtures), but must have the same elements.
        width, height: W, H, pixels.
        camera: a camera of the model, e.g. "corner", "corner2", "corner3", "topview", "behindGripper".

    Raises:
        EnvError: no such camera, no frames, bad sizes, or no renderer on this machine.
    """
    rest = iter(pairs)
    first = list(itertools.islice(rest, 1))
    if not first or width < 1 or height < 1:
        raise EnvError(f"frames={len(first)}, width={width}, height={height}: each must be at least 1")
    model, data = first[0]
    require_camera(model, camera)
    name = backend()
    draw: Callable[..., np.ndarray] = _render_warp if name == "warp" else functools.partial(_render_gl, name)
    try:
        pictures = draw(itertools.chain(first, rest), width, height, camera)
    except (RuntimeError, ImportError, AttributeError, mujoco.FatalError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        cure = "an EGL driver or libosmesa6, or set MUJOCO_GL=disable for Warp"
        raise EnvError(f"rendering with {name} failed ({reason}); install {cure}") from error
    if _hangs(data, camera):
        pictures = pictures[:, ::-1, ::-1]
    return np.ascontiguousarray(pictures)


def _has_gl(name: str) -> bool:
    """Whether MuJoCo can make an OpenGL context by `name` in a fresh process."""
    environment = {**os.environ, "MUJOCO_GL": name, "PYOPENGL_PLATFORM": name}
    try:
        command = [sys.executable, "-c", _PROBE]
        result = subprocess.run(command, env=environment, capture_output=True, timeout=_PROBE_SECONDS, check=False)
    except (subprocess.TimeoutExpired, OSError):
        return False
    return result.returncode == 0


def _render_gl(name: str, frames: Iterator[Pair], width: int, height: int, camera: str) -> np.ndarray:
    """Draws all frames in one OpenGL context by `name`; `mujoco.Renderer` would use the one chosen at import."""
    os.environ["PYOPENGL_PLATFORM"] = name  # PyOpenGL reads this when it is first imported.
    first = next(frames)
    model = copy.copy(first[0])
    model.vis.global_.offwidth, model.vis.global_.offheight = width, height
    model.vis.quality.shadowsize = _SHADOW_MAP
    context = importlib.import_module(f"mujoco.{name}").GLContext(width, height)
    pictures = []
    try:
        context.make_current()
        drawer = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, drawer)
        view, scene, options = mujoco.MjvCamera(), mujoco.MjvScene(model, _MAX_GEOMS), mujoco.MjvOption()
        view.type, view.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, model.camera(camera).id
        viewport = mujoco.MjrRect(0, 0, width, height)
        for own, data in itertools.chain([first], frames):
            picture = np.empty((height, width, 3), np.uint8)
            mujoco.mjv_updateScene(own, data, options, None, view, mujoco.mjtCatBit.mjCAT_ALL, scene)
            mujoco.mjr_render(viewport, scene, drawer)
            mujoco.mjr_readPixels(picture, None, viewport, drawer)
            pictures.append(picture)
        drawer.free()
    finally:
        context.free()
    return np.stack(pictures)[:, ::-1]


def _render_warp(frames: Iterator[Pair], width: int, height: int, camera: str) -> np.ndarray:
    """Draws frames in chunks, one world per frame; poses come from the data, nothing is simulated here."""
    chunk = list(itertools.islice(frames, _CHUNK))
    worlds = len(chunk)
    tracer = Tracer(chunk[0][0], worlds, width, height, camera)
    pictures = []
    while chunk:
        full = chunk + chunk[-1:] * (worlds - len(chunk))
        drawn = tracer.draw({name: np.stack([getattr(one, name) for _, one in full]) for name in Tracer.POSES})
        for picture, (own, one) in zip(drawn, chunk, strict=False):
            _mark_goals(picture, own, one, camera)
            pictures.append(picture)
        chunk = list(itertools.islice(frames, worlds))
    return np.stack(pictures)


class Tracer:
    """MuJoCo Warp's ray tracer for a number of worlds of one model. Each `draw` takes poses; nothing is simulated."""

    POSES = ("geom_xpos", "geom_xmat", "cam_xpos", "cam_xmat", "light_xpos", "light_xdir")

    def __init__(self, host: mujoco.MjModel, worlds: int, width: int, height: int, camera: str):
        from envs_mjx.physics.quiet import quiet_warp

        quiet_warp()
        from mujoco.mjx.third_party import mujoco_warp

        self._warp, self._shape = mujoco_warp, (worlds, height, width)
        self._model, self._data = mujoco_warp.put_model(host), mujoco_warp.make_data(host, nworld=worlds)
        self._context = mujoco_warp.create_render_context(
            host,
            nworld=worlds,
            cam_res=(width, height),
            cam_active=[camera],
            render_rgb=True,
            render_depth=False,
            background_color=BACKGROUND,
        )
        self._start = int(self._context.rgb_adr.numpy()[0])

    def draw(self, poses: Mapping[str, np.ndarray]) -> np.ndarray:
        """(N, H, W, 3) uint8 pictures, rows from the top; `poses`: field of POSES -> (N, ...) values."""
        for name in self.POSES:
            array = getattr(self._data, name)
            array.assign(np.asarray(poses[name], np.float32).reshape(array.numpy().shape))
        self._warp.refit_bvh(self._model, self._data, self._context)
        self._warp.render(self._model, self._data, self._context)
        worlds, height, width = self._shape
        packed = self._context.rgb_data.numpy()[:, self._start : self._start + width * height]
        packed = packed.reshape(worlds, height, width)  # 0xAARRGGBB
        return (np.stack([packed >> 16, packed >> 8, packed], axis=-1) & 0xFF).astype(np.uint8)


def project(
    points: np.ndarray, model: mujoco.MjModel, data: mujoco.MjData, camera: str, width: int, height: int
) -> np.ndarray:
    """(N, 3) points of the room -> (N, 3) column and row in a picture of `render_frames`, and pixels per metre there.

    Behind the camera all three are NaN.
    """
    columns, rows, focal = _projected(points, model, data, camera, width, height)
    if _hangs(data, camera):
        columns, rows = width - columns, height - rows
    return np.stack([columns, rows, focal], axis=-1)


def _hangs(data: mujoco.MjData, camera: str) -> bool:
    """Whether the camera hangs upside down, as the official corner cameras do; its y axis points up in its picture."""
    return bool(data.camera(camera).xmat.reshape(3, 3)[2, 1] < -0.1)


def _projected(
    points: np.ndarray, model: mujoco.MjModel, data: mujoco.MjData, camera: str, width: int, height: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`project` before pictures are turned upright."""
    pose = data.camera(camera)
    focal = height / 2 / np.tan(np.deg2rad(model.camera(camera).fovy[0]) / 2)
    right, up, back = ((points - pose.xpos) @ pose.xmat.reshape(3, 3)).T
    scale = focal / np.where(back < 0, -back, np.nan)
    return width / 2 + right * scale, height / 2 - up * scale, scale


def _mark_goals(picture: np.ndarray, model: mujoco.MjModel, data: mujoco.MjData, camera: str) -> None:
    """Draw the goal sites, which Warp leaves out, as discs over `picture` (H, W, 3); nothing hides them."""
    height, width = picture.shape[:2]
    rows, columns = np.mgrid[:height, :width] + 0.5
    places = zip(*_projected(data.site_xpos, model, data, camera, width, height), strict=True)
    for index, (column, row, scale) in enumerate(places):
        site = model.site(index)
        if site.name.startswith("goal") and np.isfinite(scale):
            disc = np.hypot(columns - column, rows - row) <= max(site.size[0], _MARK) * scale
            picture[disc] = 255 * site.rgba[:3]
