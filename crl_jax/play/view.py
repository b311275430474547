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

STEP_SECONDS, PAUSE = 0.0125, 0.7
"""Seconds: an env step of Meta-World in real time; how long the end of an episode stays in view."""
EYE, AIM = (0.8, 0.0, 0.7), (0.0, 0.65, 0.1)
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
        critic = trained.critic() if trained else None
        self._critic = jax.jit(critic) if critic else None
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
        self.values: list[tuple[int, float]] = []
        """(env step, f(s, a, g)) of the episode's decisions, for a policy with a critic."""
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
            if self._critic:
                value = self._critic(self.state.obs, self._action, self.state.goal)
                self.values.append((self.time, float(value[0])))
        self.state = self._advance(self.state, self._action)
        self.time += 1

    def command(self, point: np.ndarray) -> None:
        """Ask for the object at `point` (3,), metres, from now on. Success counts there, too."""
        target = jnp.asarray(point, jnp.float32)[None]
        self.state = self.state.replace(target=target, goal=self.env.task_goal(target))

    @property
    def has_critic(self) -> bool:
        """Whether there are `values`."""
        return self._critic is not None

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
        self.speed = gui.add_slider("speed", min=0.25, max=4.0, step=0.25, initial_value=0.5)
        gui.add_button("next episode").on_click(lambda _: setattr(self, "skip", True))
        gui.add_markdown("Command a goal: the policy goes where you put it.")
        self.goal = [gui.add_slider(axis, min=-1.0, max=1.0, step=0.01, initial_value=0.0) for axis in "xyz"]
        gui.add_button("the episode's own goal").on_click(lambda _: self.centre_goal())
        self.plot = self._plot() if session.has_critic else None
        self.skip, self._asked = False, (0.0, 0.0, 0.0)
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
        self.mark.position = tuple(self.session.centre)

    def _command(self) -> None:
        """Command the goal where the sliders are."""
        point = self.session.centre + np.array(self._asked) * np.array(REACH)
        self.session.command(point)
        self.mark.position = tuple(point)

    def _next(self) -> None:
        """The next episode, with the goal where the sliders are."""
        self.skip = False
        self.session.begin()
        self.show_scene()
        if any(self._asked):
            self._command()

    def tick(self) -> float:
        """One env step, or none while paused; returns the seconds to wait."""
        session = self.session
        asked = tuple(slider.value for slider in self.goal)
        if asked != self._asked:
            self._asked = asked
            self._command()
        if session.over or self.skip:
            self._next()
        elif not self.play.value:
            return 0.05
        session.step()
        if session.time % 2 == 0:
            self.scene.update_from_mjdata(session.picture()[1])
            light = "SUCCESS" if session.success else "no success yet"
            if self.plot and session.values:
                steps, values = zip(*session.values, strict=True)
                self.plot.data = (np.array(steps, float), np.array(values))
            told = f"episode {session.episode}, env step {session.time} of {session.env.spec.horizon}"
            self.light.content = f"**{light}** ({100 * session.distance:.1f} cm)\n\n{told}"
        return PAUSE if session.over else STEP_SECONDS / self.speed.value


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
