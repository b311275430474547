"""A live view in MuJoCo's own viewer, where a display is."""

from __future__ import annotations

import os
import queue
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

import mujoco
import numpy as np

from crl_jax.config import ConfigError
from crl_jax.play.session import AIM, EYE, Controls, Player, Session

KEYS = """Space: pause
Enter: next episode
arrows, page up, page down: goal
Home: the episode's own goal
+ and -: speed"""
SPACE, PLUS, MINUS, ENTER, HOME = 32, 61, 45, 257, 268
MOVES = {262: (1, 1), 263: (1, -1), 264: (0, -1), 265: (0, 1), 266: (2, 1), 267: (2, -1)}
"""GLFW's codes: right and left move the goal in y, up and down in x, page up and page down in z."""
STEP = 0.1
"""How far one press moves the goal, in `session.REACH`."""
PLACED = ("body_pos", "body_quat", "geom_pos", "geom_quat", "site_pos")
"""Fields of the model that differ from one episode to the next."""


def why_not() -> str:
    """Why no window can be opened here; empty if one can."""
    if sys.platform == "darwin":
        import mujoco.viewer as viewer

        return "" if getattr(viewer, "_MJPYTHON", None) else "on macOS, start it as `mjpython $(which crl) ...`"
    if sys.platform != "win32" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return "there is no display (DISPLAY is not set)"
    import glfw

    # MuJoCo's viewer would wait for ever for a window that does not come.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not glfw.init():
            return "GLFW does not start on this display"
        glfw.window_hint(glfw.VISIBLE, glfw.FALSE)
        window = glfw.create_window(8, 8, "", None, None)
        glfw.default_window_hints()
        if not window:
            return "OpenGL opens no window on this display"
        glfw.destroy_window(window)
    return ""


class Window(Player):
    """What MuJoCo's viewer shows of a session; keys are its controls."""

    def __init__(self, session: Session, viewer: Callable[..., Any]) -> None:
        super().__init__(session)
        self.controls = Controls()
        self._pressed: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.model, self.data = session.picture()
        # The picture of an episode has its own model; the viewer keeps the first one, so it is written over.
        self.handle = viewer(
            self.model, self.data, key_callback=self._pressed.put, show_left_ui=False, show_right_ui=False
        )
        with self.handle.lock():
            self._look()
        self.show_scene()

    def _look(self) -> None:
        """Put the camera at `EYE`."""
        camera, seen = self.handle.cam, np.array(AIM) - np.array(EYE)
        camera.lookat[:], camera.distance = AIM, np.linalg.norm(seen)
        camera.azimuth = np.degrees(np.arctan2(seen[1], seen[0]))
        camera.elevation = np.degrees(np.arcsin(seen[2] / np.linalg.norm(seen)))

    def read(self) -> Controls:
        """The controls after the keys that were pressed."""
        self.controls.skip = False
        while not self._pressed.empty():
            self._press(self._pressed.get())
        return self.controls

    def _press(self, key: int) -> None:
        """Do what one key stands for."""
        controls = self.controls
        if key == SPACE:
            controls.playing = not controls.playing
        elif key == ENTER:
            controls.skip = True
        elif key in (PLUS, MINUS):
            controls.speed = float(np.clip(controls.speed * (2 if key == PLUS else 0.5), 0.25, 4.0))
        elif key == HOME:
            controls.goal = Controls().goal
        elif key in MOVES:
            axis, sign = MOVES[key]
            goal = np.array(controls.goal)
            goal[axis] = np.clip(goal[axis] + sign * STEP, -1, 1)
            controls.goal = tuple(goal.round(2).tolist())

    def show_scene(self) -> None:
        """Show the start of an episode."""
        self.show_goal(self.session.centre)
        self.show_state()

    def show_goal(self, point: np.ndarray) -> None:
        """Move the goal mark."""
        scene, size = self.handle.user_scn, np.full(3, 0.02)
        with self.handle.lock():
            scene.ngeom = 1
            colour = np.array([0, 0.8, 0.3, 0.6], np.float32)
            mujoco.mjv_initGeom(scene.geoms[0], mujoco.mjtGeom.mjGEOM_SPHERE, size, point, np.eye(3).ravel(), colour)

    def show_state(self) -> None:
        """Move what moves, and tell whether the episode succeeds."""
        model, data = self.session.picture()
        with self.handle.lock():
            for name in PLACED:
                getattr(self.model, name)[:] = getattr(model, name)
            mujoco.mj_copyData(self.data, self.model, data)
        light, where = self.told()
        paused = "" if self.controls.playing else "paused"
        title = f"{self.session.task}, policy: {self.session.name}"
        places = mujoco.mjtGridPos
        self.handle.set_texts(
            [(None, places.mjGRID_TOPLEFT, f"{title}\n{light}\n{where}", f"\n\n{paused}"),
             (None, places.mjGRID_BOTTOMLEFT, KEYS, "")]
        )  # fmt: skip
        self.handle.sync()


def require_display() -> None:
    """Raises ConfigError where no window can be opened."""
    if reason := why_not():
        raise ConfigError(f"window: {reason}; without --window, `crl view` shows it in the browser")


def show(session: Session, stop: Callable[[], bool]) -> None:
    """Show the session in a window until it is closed, or `stop` says so; `require_display` comes first."""
    import mujoco.viewer

    others = set(threading.enumerate())
    window = Window(session, mujoco.viewer.launch_passive)
    try:
        window.play(lambda: stop() or not window.handle.is_running())
    finally:
        window.handle.close()
        for thread in set(threading.enumerate()) - others:  # The viewer's own: it must end before Python does.
            thread.join(5)
