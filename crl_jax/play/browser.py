"""A live view in the browser, with viser and mjviser (the extra `view`)."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from crl_jax.config import ConfigError
from crl_jax.play.session import AIM, EYE, Controls, Player, Session


class Page(Player):
    """What the browser shows of a session, and its controls."""

    def __init__(self, session: Session, server: Any, scene_of: Callable[[Any, Any, int], Any]) -> None:
        super().__init__(session)
        self.server, self._scene_of = server, scene_of
        gui = server.gui
        gui.add_markdown(f"### {session.task}\npolicy: {session.name}")
        self.light = gui.add_markdown("")
        self.playing = gui.add_checkbox("play", True)
        self.speed = gui.add_slider("speed", min=0.25, max=4.0, step=0.25, initial_value=0.5)
        gui.add_button("next episode").on_click(lambda _: setattr(self, "skip", True))
        gui.add_markdown("Command a goal: the policy goes where you put it.")
        self.goal = [gui.add_slider(axis, min=-1.0, max=1.0, step=0.01, initial_value=0.0) for axis in "xyz"]
        gui.add_button("the episode's own goal").on_click(lambda _: self.centre_goal())
        self.plot = self._plot() if session.has_critic else None
        self.skip = False
        self._built: np.ndarray | None = None
        server.initial_camera.position, server.initial_camera.look_at = EYE, AIM
        self.show_scene()

    def _plot(self) -> Any:
        """A chart of f(s, a, g) over the episode: it rises as the goal comes nearer."""
        nothing = np.zeros(1)
        series = ({"label": "env step"}, {"label": "f(s, a, g)", "stroke": "#0072B2", "width": 2})
        axis = {"time": False, "range": (0.0, float(self.session.env.spec.horizon)), "auto": False}
        title = "f(s, a, g) of the critic"
        return self.server.gui.add_uplot((nothing, nothing), series, title=title, scales={"x": axis}, aspect=1.6)

    def centre_goal(self) -> None:
        """Put the sliders back to the episode's own goal."""
        for slider in self.goal:
            slider.value = 0.0

    def read(self) -> Controls:
        """The page's controls."""
        skip, self.skip = self.skip, False
        return Controls(self.playing.value, self.speed.value, tuple(slider.value for slider in self.goal), skip)

    def show_scene(self) -> None:
        """Show the start of an episode. Where fixtures stand elsewhere, the scene is built anew, which takes time."""
        model, data = self.session.picture()
        fixed = np.concatenate([model.body_pos.ravel(), model.body_quat.ravel(), model.geom_pos.ravel()])
        if self._built is None or not np.array_equal(fixed, self._built):
            self._built = fixed
            self.server.scene.reset()
            self.scene = self._scene_of(self.server, model, 1)
            self.mark = self.server.scene.add_icosphere("/goal", radius=0.02, color=(0, 200, 80))
        self.scene.update_from_mjdata(data)
        self.show_goal(self.session.centre)

    def show_goal(self, point: np.ndarray) -> None:
        """Move the goal mark."""
        self.mark.position = tuple(point)

    def show_state(self) -> None:
        """Move what moves, and tell whether the episode succeeds."""
        session = self.session
        self.scene.update_from_mjdata(session.picture()[1])
        if self.plot and session.values:
            steps, values = zip(*session.values, strict=True)
            self.plot.data = (np.array(steps, float), np.array(values))
        light, where = self.told()
        self.light.content = f"**{light}**\n\n{where}"


def serve(session: Session, host: str, port: int, told: Callable[[str], None], stop: Callable[[], bool]) -> None:
    """Show the session at http://host:port until `stop` says so.

    Raises:
        ConfigError: the extra `view` is not installed, or the port is taken.
    """
    try:
        viser, mjviser = importlib.import_module("viser"), importlib.import_module("mjviser")
    except ImportError as error:
        raise ConfigError(f"view: needs viser and mjviser (pip install -e '.[view]'): {error}") from None
    server = viser.ViserServer(host=host, port=port, verbose=False)
    try:
        told(f"http://{host}:{server.get_port()} (Ctrl-C ends)")
        Page(session, server, mjviser.ViserMujocoScene).play(stop)
    finally:
        server.stop()
