"""How the action of a decision becomes the actions of its env steps.

`begin` is asked once per decision, `act` at each of its env steps. Between them they pass one array, the aim.

Axis letters: D obs, A action.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from envs_mjx.base import EnvError, with_physics
from envs_mjx.physics.base import MocapControl, WeldControl

CONTROLS = ("auto", "hold", "waypoint")
GAIN = 25.0
"""1 / m: action of an env step per metre that the hand is away from its place, as in Meta-World's scripted policies
(`metaworld/policies/policy.py`, `move`)."""


class Control(Protocol):
    """Pure functions of observations that begin with the hand's position."""

    def begin(self, obs: jax.Array, action: jax.Array) -> jax.Array:
        """obs (..., D), action (..., A) of a decision -> its aim (..., A)."""

    def act(self, obs: jax.Array, aim: jax.Array) -> jax.Array:
        """obs (..., D) before an env step, aim (..., A) -> action (..., A) of that env step."""


@dataclass(frozen=True)
class Hold:
    """All env steps of a decision take its action."""

    def begin(self, obs: jax.Array, action: jax.Array) -> jax.Array:
        return action

    def act(self, obs: jax.Array, aim: jax.Array) -> jax.Array:
        return aim


HOLD = Hold()


@dataclass(frozen=True)
class Waypoint:
    """The first three numbers of an action say where the hand shall be: a place relative to where it is.

    A proportional controller goes there. The other numbers (the gripper's) are held. Action 1 is as far away as holding
    it would command.

    Attributes:
        step: metres by which action 1 moves the hand in an env step. repeat: env steps of a decision.
    """

    step: float
    repeat: int

    def begin(self, obs: jax.Array, action: jax.Array) -> jax.Array:
        """The aim is the place in metres, then the other numbers of the action."""
        place = obs[..., :3] + self.step * self.repeat * jnp.clip(action[..., :3], -1.0, 1.0)
        return jnp.concatenate([place, action[..., 3:]], axis=-1)

    def act(self, obs: jax.Array, aim: jax.Array) -> jax.Array:
        towards = jnp.clip(GAIN * (aim[..., :3] - obs[..., :3]), -1.0, 1.0)
        return jnp.concatenate([towards, aim[..., 3:]], axis=-1)


def make_control(name: str, env: Any, repeat: int) -> Control:
    """The control of decisions of `repeat` env steps in `env`; "auto": see `TaskSpec.control`.

    Raises:
        EnvError: no such control; or a waypoint where no hand is commanded, or where a decision is one env step.
    """
    if name not in CONTROLS:
        raise EnvError(f"control={name!r}: one of {', '.join(CONTROLS)}")
    env = with_physics(env)
    if name == "auto":
        name = getattr(getattr(env, "task", None), "control", "hold") if repeat > 1 else "hold"
    if name == "hold":
        return HOLD
    control = getattr(getattr(getattr(env, "physics", None), "scene", None), "control", None)
    if not isinstance(control, MocapControl | WeldControl):
        raise EnvError("control='waypoint': only Meta-World and Fetch have a hand that goes to a place; take 'hold'")
    if repeat < 2:
        raise EnvError(f"control='waypoint': action_repeat={repeat} leaves no way to go; take 2 or more")
    return Waypoint(control.scale, repeat)
