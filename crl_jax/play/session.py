"""An arm under a policy, episode after episode, with the goal under your hand.

`Session` is one environment, stepped by hand. `Player` plays a session as its controls ask for; it knows no screen.
`browser.Page` and `window.Window` are players that show what they play.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
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
from envs_mjx.control import HOLD

STEP_SECONDS, PAUSE = 0.0125, 0.7
"""Seconds: an env step of Meta-World in real time; how long the end of an episode stays in view."""
EYE, AIM = (0.8, 0.0, 0.7), (0.0, 0.65, 0.1)
"""Where the camera begins, and what it looks at; metres."""
REACH = (0.15, 0.15, 0.15)
"""Metres around the episode's own target within which a goal can be commanded by hand."""


class Session:
    """One environment of a task under a policy.

    Args:
        target: folder of a run, or a task.
        name: for a task: demo (a policy that ships), scripted or random; None: the first of them that there is.
        seed: seed of the episodes.
        number: for a run of several tasks: which, from 0; None: see `policy.load`, of all at once the first.

    Raises:
        ConfigError, EnvError, CheckpointError: no such run, task or policy, or a world that is not MuJoCo's.
    """

    def __init__(self, target: str, name: str | None = None, seed: int = 1, number: int | None = None) -> None:
        self.task, self.name, self._keys = target, name or "run", np.random.default_rng(seed)
        trained = self._trained(target, name, number)
        made = trained.make_steps(1) if trained else (envs_mjx.make(self.task, 1, physics="c"), 1, HOLD)
        env: Any = made[0]
        if env.spec.picture:
            raise EnvError(f"view={target!r}: it sees pictures, so no slider can command its goal; take `crl render`")
        if not hasattr(env, "task_goal"):
            raise EnvError(f"view={target!r}: only Meta-World's tasks are shown; take `crl render`")
        self.env, self.repeat, self.control = env, *made[1:]
        self._reset, self._advance = jax.jit(env.reset), jax.jit(env.advance)
        self._learned = jax.jit(trained.policy()) if trained else None
        critic = trained.critic() if trained else None
        self._critic = jax.jit(critic) if critic else None
        self.episode = 0
        self.begin()

    def _trained(self, target: str, name: str | None, number: int | None) -> policy.Trained | None:
        """The trained policy that is meant, or None; sets `task` and `name`."""
        if target not in envs_mjx.names():
            if not (Path(target) / "config.json").is_file():
                envs_mjx.require_one(target)
                near = nearest(target, envs_mjx.names())
                raise ConfigError(f"view={target!r}: no run here (no config.json) and no such task; nearest: {near}")
            if name is not None:
                raise ConfigError(f"policy={name!r}: does not apply: {target} is a run")
            trained = policy.load(Path(target), number=number)
            trained = trained if len(trained.tasks) == 1 else trained.part(0)
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
        self._aim: Any = None
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
            self._aim = self._act(self.state)
        elif self.time % self.repeat == 0 or self._aim is None:
            action = self._learned(self.state, jax.random.PRNGKey(self.time))  # type: ignore[misc]
            self._aim = self.control.begin(self.state.obs, action)
            if self._critic:
                value = self._critic(self.state.obs, action, self.state.goal)
                self.values.append((self.time, float(value[0])))
        self.state = self._advance(self.state, self.control.act(self.state.obs, self._aim))
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


@dataclass
class Controls:
    """What the person who watches asks for.

    Attributes:
        playing: False: paused.
        speed: times real time.
        goal: the commanded goal, in `REACH` from the episode's own target: (3,), each -1 ... 1.
        skip: the next episode now.
    """

    playing: bool = True
    speed: float = 0.5
    goal: tuple[float, ...] = (0.0, 0.0, 0.0)
    skip: bool = False


class Player(ABC):
    """Plays a session, an env step a tick, as its controls ask for."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._asked = Controls().goal

    @abstractmethod
    def read(self) -> Controls:
        """The controls as they are now; `skip` is true once for each time that it was asked for."""

    @abstractmethod
    def show_scene(self) -> None:
        """Show the start of an episode."""

    @abstractmethod
    def show_goal(self, point: np.ndarray) -> None:
        """Show the goal mark at `point` (3,), metres."""

    @abstractmethod
    def show_state(self) -> None:
        """Show the present state."""

    def tick(self) -> float:
        """One env step, or none while paused; returns the seconds to wait."""
        session, controls = self.session, self.read()
        if controls.goal != self._asked:
            self._asked = controls.goal
            self._command()
        if session.over or controls.skip:
            self._next()
        elif not controls.playing:
            self.show_state()
            return 0.05
        session.step()
        if session.time % 2 == 0:
            self.show_state()
        return PAUSE if session.over else STEP_SECONDS / controls.speed

    def play(self, stop: Callable[[], bool]) -> None:
        """Play until `stop` says so."""
        due = time.monotonic()
        while not stop():
            due = max(due + self.tick(), time.monotonic() - 0.1)
            time.sleep(max(0.0, due - time.monotonic()))

    def told(self) -> tuple[str, str]:
        """What is to be read: whether the episode succeeds, and how far it is."""
        session = self.session
        light = "SUCCESS" if session.success else "no success yet"
        where = f"episode {session.episode}, env step {session.time} of {session.env.spec.horizon}"
        return f"{light} ({100 * session.distance:.1f} cm)", where

    def _command(self) -> None:
        """Command the goal that is asked for."""
        point = self.session.centre + np.array(self._asked) * np.array(REACH)
        self.session.command(point)
        self.show_goal(point)

    def _next(self) -> None:
        """The next episode, with the goal where it was asked for."""
        self.session.begin()
        self.show_scene()
        if any(self._asked):
            self._command()
