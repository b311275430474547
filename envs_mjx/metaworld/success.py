"""Native success predicates that a distance does not express, as in `evaluate_state` of the official files.

Axis letters: E environments.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from envs_mjx.physics.base import Part, PhysicsState

BALL = Part("body", "bsktball")
NUT, NUT_HANDLE = Part("site", "RoundNut"), Part("site", "RoundNut-8")
STICK, BOTTLE = Part("body", "stick"), Part("site", "insertion", (0.0, 0.09, 0.0))
STICK_HEIGHT = 0.02
"""Metres: `stick_init_pos[2]` of sawyer_stick_push_v3.py."""
PINCHED = (("leftpad_geom", "objGeom"), ("rightpad_geom", "objGeom"))
"""Pairs of geoms that `touching_main_object` (metaworld/sawyer_xyz_env.py) checks for a contact force."""


class Places(Protocol):
    """The methods by which a predicate reads a readout (`layout.Layout` has them)."""

    def point(self, physics: PhysicsState, part: Part) -> jax.Array: ...

    def joint(self, physics: PhysicsState, name: str) -> jax.Array: ...

    def touch(self, physics: PhysicsState, pair: tuple[str, str]) -> jax.Array: ...

    def opening(self, physics: PhysicsState) -> jax.Array: ...


@dataclass(frozen=True)
class Predicate:
    """A native success predicate and what it reads.

    Attributes:
        holds: (places, physics, target (E, 3)) -> (E,) bool.
        words: the predicate in words.
        parts, joints, touches: points, joints and pairs of geoms that it reads.
    """

    holds: Callable[[Any, PhysicsState, jax.Array], jax.Array]
    words: str
    parts: tuple[Part, ...] = ()
    joints: tuple[str, ...] = ()
    touches: tuple[tuple[str, str], ...] = ()


def nut_on_the_peg(places: Places, physics: PhysicsState, target: jax.Array) -> jax.Array:
    """assembly, `_reward_pos`: the nut's centre within 2 cm of the peg in xy, and below the peg's top."""
    error = target - places.point(physics, NUT)
    return (jnp.linalg.norm(error[:, :2], axis=-1) < 0.02) & (error[:, 2] > 0.0)


def nut_handle_above(places: Places, physics: PhysicsState, target: jax.Array) -> jax.Array:
    """disassemble: the end of the nut's handle higher than the goal."""
    return places.point(physics, NUT_HANDLE)[:, 2] > target[:, 2]


def above_the_hoop(places: Places, physics: PhysicsState, target: jax.Array) -> jax.Array:
    """basketball: the ball within 8 cm of the hoop's xy at height 0.3 m (hoop: 0.25 m); z counts twice."""
    error = places.point(physics, BALL) - target.at[:, 2].set(0.3)
    return jnp.linalg.norm(error * jnp.array([1.0, 1.0, 2.0]), axis=-1) <= 0.08


def lever_is_up(places: Places, physics: PhysicsState, target: jax.Array) -> jax.Array:
    """lever-pull: the lever within 7.5 degrees of upright."""
    return jnp.abs(-places.joint(physics, "LeverAxis") - jnp.pi / 2) <= jnp.pi / 24


def pushed_with_the_stick(places: Places, physics: PhysicsState, target: jax.Array) -> jax.Array:
    """stick-push: the bottle within 12 cm of its goal while both finger pads hold the lifted stick."""
    near = jnp.linalg.norm(places.point(physics, BOTTLE) - target, axis=-1) <= 0.12
    pinched = places.touch(physics, PINCHED[0]) & places.touch(physics, PINCHED[1])
    lifted = places.point(physics, STICK)[:, 2] - 0.01 > STICK_HEIGHT
    return near & pinched & lifted & (places.opening(physics)[:, 0] > 0)


PREDICATES: dict[str, Predicate] = {
    "nut_on_the_peg": Predicate(nut_on_the_peg, "|dxy| < 0.02, dz < 0", parts=(NUT,)),
    "nut_handle_above": Predicate(nut_handle_above, "handle above the goal", parts=(NUT_HANDLE,)),
    "above_the_hoop": Predicate(above_the_hoop, "norm(dx, dy, 2 * (z - 0.3)) <= 0.08", parts=(BALL,)),
    "lever_is_up": Predicate(lever_is_up, "|LeverAxis + pi/2| <= pi/24", joints=("LeverAxis",)),
    "pushed_with_the_stick": Predicate(
        pushed_with_the_stick, "distance <= 0.12, stick held and lifted", parts=(BOTTLE, STICK), touches=PINCHED
    ),
}
"""Name -> predicate; `TaskSpec.predicate` is one of the names."""
