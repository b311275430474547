"""A live view in the browser: an arm under a policy, episode after episode, with the goal under your hand.

`Session` is one environment, stepped by hand; it knows no browser. `serve` shows a session with viser and mjviser (the
extra `view`), and reads the page's controls.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import envs_mjx
from crl_jax.config import ConfigError, nearest
from crl_jax.play import policy, shipped
from envs_mjx import film
from envs_mjx.base import EnvError

STEP_SECONDS = 0.0125
"""An env step of Meta-World in real time."""
EYE, AIM = (1.1, -0.35, 0.95), (0.0, 0.65, 0.1)
"""Where a page's camera begins, and what it looks at; metres."""
REACH = (0.15, 0.15, 0.15)
"""Metres around the episode's own target within which a goal can be commanded by hand."""


class Session:
    """One environment of a task under a policy.

    Args:
        target: folder of a run, or a task.
        name: for a task: demo (a policy that ships), scripted or random; None: the first of them that there is.
        seed: seed of the episodes.

    Raises:
        ConfigError, EnvError, CheckpointError: no such run, task or policy, or a world that is not MuJoCo's.
    """

    def __init__(self, target: str, name: str | None = None, seed: int = 1) -> None:
        self.task, self.name, self._keys = target, name or "run", np.random.default_rng(seed)
        trained = self._trained(target, name)
        env: Any = trained.make_env(1, action_repeat=1) if trained else envs_mjx.make(self.task, 1, physics="c")
        if not hasattr(env, "picture"):
            raise EnvError(f"view={target!r}: only Meta-World's tasks are shown; take `crl render`")
        self.env, self.repeat = env, trained.config.env.action_repeat if trained else 1
        self._reset, self._advance = jax.jit(env.reset), jax.jit(env.advance)
        self._learned = jax.jit(trained.policy()) if trained else None
        self.episode = 0
        self.begin()

    def _trained(self, target: str, name: str | None) -> policy.Trained | None:
        """The trained policy that is meant, or None; sets `task` and `name`."""
        if target not in envs_mjx.names():
            if not (Path(target) / "config.json").is_file():
                near = nearest(target, envs_mjx.names())
                raise ConfigError(f"view={target!r}: no run here (no config.json) and no such task; nearest: {near}")
            if name is not None:
                raise ConfigError(f"policy={name!r}: does not apply: {target} is a run")
            trained = policy.load(Path(target))
            self.task = trained.config.env.task
            return trained
        self.name = name or ("demo" if target in shipped.names() else film.policy_of(target))
        if self.name == "demo":
            return shipped.load(target)
        self.name = film.policy_of(target, self.name)
        return None

    def begin(self) -> None:
        """The next episode, with a new start and goal."""
        key = jax.random.PRNGKey(int(self._keys.integers(2**31)))
        self.state = self._reset(key)
        self.time, self.episode = 0, self.episode + 1
        self._action: Any = None
        self.centre = np.asarray(self.state.target)[0]
        self._act = None if self._learned else film.actor(self.env, self.name, self.episode)

    @property
    def over(self) -> bool:
        """Whether the episode has ended."""
        return self.time >= self.env.spec.horizon

    def step(self) -> None:
        """One env step."""
        if self._act is not None:
            self._action = self._act(self.state)
        elif self.time % self.repeat == 0 or self._action is None:
            self._action = self._learned(self.state, jax.random.PRNGKey(self.time))  # type: ignore[misc]
        self.state = self._advance(self.state, self._action)
        self.time += 1

    def command(self, point: np.ndarray) -> None:
        """Ask for the object at `point` (3,), metres, from now on. Success counts there, too."""
        target = jnp.asarray(point, jnp.float32)[None]
        self.state = self.state.replace(target=target, goal=self.env.task_goal(target))

    @property
    def success(self) -> bool:
        """Native success now."""
        return bool(self.state.success[0])

    @property
    def distance(self) -> float:
        """Metres from the object to its commanded place."""
        return float(self.state.metrics["distance"][0])

    def picture(self) -> tuple[Any, Any]:
        """MuJoCo's model and data of the environment, with the goal mark."""
        return self.env.picture(self.state.physics, np.asarray(self.state.target), 0)


class Page:
    """What the browser shows of a session, and its controls."""

    def __init__(self, session: Session, server: Any, scene_of: Callable[[Any, Any, int], Any]) -> None:
        self.session, self.server, self._scene_of = session, server, scene_of
        gui = server.gui
        gui.add_markdown(f"### {session.task}\npolicy: {session.name}")
        self.light = gui.add_markdown("")
        self.play = gui.add_checkbox("play", True)
        self.speed = gui.add_slider("speed", min=0.25, max=4.0, step=0.25, initial_value=1.0)
        gui.add_button("next episode").on_click(lambda _: setattr(self, "skip", True))
        gui.add_markdown("Command a goal: the policy goes where you put it.")
        self.goal = [gui.add_slider(axis, min=-1.0, max=1.0, step=0.01, initial_value=0.0) for axis in "xyz"]
        gui.add_button("the episode's own goal").on_click(lambda _: self.centre_goal())
        self.skip, self._asked = False, (0.0, 0.0, 0.0)
        server.initial_camera.position, server.initial_camera.look_at = EYE, AIM
        self.show_scene()

    def centre_goal(self) -> None:
        """Put the sliders back to the episode's own goal."""
        for slider in self.goal:
            slider.value = 0.0

    def show_scene(self) -> None:
        """Show the scene of a new episode, in which fixtures may stand elsewhere."""
        self.server.scene.reset()
        model, data = self.session.picture()
        self.scene = self._scene_of(self.server, model, 1)
        self.scene.update_from_mjdata(data)
        mark = {"radius": 0.02, "color": (0, 200, 80), "position": tuple(self.session.centre)}
        self.mark = self.server.scene.add_icosphere("/goal", **mark)

    def tick(self) -> float:
        """One env step, or none while paused; returns the seconds to wait."""
        session = self.session
        asked = tuple(slider.value for slider in self.goal)
        if asked != self._asked:
            self._asked = asked
            point = session.centre + np.array(asked) * np.array(REACH)
            session.command(point)
            self.mark.position = tuple(point)
        if session.over or self.skip:
            self.skip = False
            self.centre_goal()
            self._asked = (0.0, 0.0, 0.0)
            session.begin()
            self.show_scene()
        elif not self.play.value:
            return 0.05
        session.step()
        if session.time % 2 == 0:
            self.scene.update_from_mjdata(session.picture()[1])
            light = "SUCCESS" if session.success else "no success yet"
            told = f"episode {session.episode}, env step {session.time} of {session.env.spec.horizon}"
            self.light.content = f"**{light}** ({100 * session.distance:.1f} cm)\n\n{told}"
        return STEP_SECONDS / self.speed.value


def serve(session: Session, host: str, port: int, told: Callable[[str], None], stop: Callable[[], bool]) -> None:
    """Show the session at http://host:port until `stop` says so.

    Raises:
        ConfigError: the extra `view` is not installed, or the port is taken.
    """
    try:
        viser, mjviser = importlib.import_module("viser"), importlib.import_module("mjviser")
    except ImportError as error:
        raise ConfigError(f"view: needs viser and mjviser (pip install 'crl-jax[view]'): {error}") from None
    server = viser.ViserServer(host=host, port=port, verbose=False)
    try:
        told(f"http://{host}:{server.get_port()} (Ctrl-C ends)")
        page, due = Page(session, server, mjviser.ViserMujocoScene), time.monotonic()
        while not stop():
            due = max(due + page.tick(), time.monotonic() - 0.1)
            time.sleep(max(0.0, due - time.monotonic()))
    finally:
        server.stop()
