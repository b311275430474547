"""Observations of a body: a table of pure functions of one simulation's coordinates.

Axis letters: D observation, L links.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

TARGET_HEIGHT = 1.25
"""Metres: height of a humanoid's goal, about the height of a standing humanoid's torso."""
_TARGET_MASS, _TARGET_RADIUS = 1.0, 0.5
_FINGERTIP = (0.0, 0.005, 0.07)
"""Metres: the tip of each of the arm's fingers, in that finger's frame."""
_TIP = (0.11, 0.0, 0.0)
"""Metres: the fingertip of `reacher`, in the frame of its last link."""


class Reading(struct.PyTreeNode):
    """One simulation, in Brax's types and conventions (those of MuJoCo: a free joint's angular velocity is local).

    Attributes:
        q: (nq,). qd: (nv,). x, xd: Transform and Motion of the links in the world frame; None unless `needs_links`.
        control: (nu,) the last controls. goal: (G,) commanded goal of the episode.
    """

    q: jax.Array
    qd: jax.Array
    x: Any
    xd: Any
    control: jax.Array
    goal: jax.Array


Observe = Callable[[Any, bool, Reading], jax.Array]
"""(Brax's System, whether the spring backend simulates, reading) -> observation (D,)."""


def joints(system: Any, spring: bool, reading: Reading) -> jax.Array:
    """All of q and qd."""
    return jnp.concatenate([reading.q, reading.qd])


def humanoid(system: Any, spring: bool, reading: Reading) -> jax.Array:
    """(268,) as published: positions, velocities, inertias and velocities of the links, torques.

    JaxGCRL's scene has a body at the goal (1 kg, radius 0.5 m). Its coordinates, inertia and share of the centre of
    mass are in the published observation, so the observation contains the goal. Here these values are computed from the
    episode's goal; the body itself is not simulated.
    """
    from brax import actuator, base

    here = jnp.append(reading.goal[:2], TARGET_HEIGHT)[None]
    x = reading.x.concatenate(base.Transform.create(pos=here))
    xd = reading.xd.concatenate(base.Motion.zero((1,)))
    inertia = _inertia(system, spring)
    x_i = x.vmap().do(inertia.transform)
    mass = inertia.mass[:, None]
    centre = (mass * x_i.pos).sum(axis=0) / mass.sum()
    around = x_i.replace(pos=x_i.pos - centre).vmap().do(inertia)
    moving = base.Transform.create(pos=x_i.pos - x.pos).vmap().do(xd)
    torque = actuator.to_tau(system, reading.control, reading.q, reading.qd)
    none = jnp.zeros(2)
    parts = (
        jnp.concatenate([reading.q, reading.goal[:2]]),
        jnp.concatenate([reading.qd, none]),
        jnp.concatenate([around.i.reshape(len(mass), 9), mass], axis=1),
        jnp.concatenate([mass * moving.vel / mass.sum(), moving.ang], axis=1),
        jnp.concatenate([torque, none]),
    )
    return jnp.concatenate([part.ravel() for part in parts])


def _inertia(system: Any, spring: bool) -> Any:
    """(L + 1) inertias of the links and the body at the goal; with `spring`, scaled as by the spring backend."""
    from brax import base

    own = system.link.inertia
    sphere = jnp.eye(3)[None] * 0.4 * _TARGET_MASS * _TARGET_RADIUS**2
    target = base.Inertia(base.Transform.zero((1,)), sphere, jnp.full(1, _TARGET_MASS))
    inertia = own.concatenate(target)
    if not spring:
        return inertia
    diagonal = jax.vmap(jnp.diagonal)(inertia.i) ** (1 - system.spring_inertia_scale)
    return inertia.replace(i=jax.vmap(jnp.diag)(diagonal), mass=inertia.mass ** (1 - system.spring_mass_scale))


def reacher(system: Any, spring: bool, reading: Reading) -> jax.Array:
    """(10,): cosines and sines of both joints, position and velocity of the fingertip."""
    from brax import base

    tip = base.Transform.create(pos=jnp.array(_TIP))
    angles, link = reading.q[:2], reading.x.take(1)
    velocity = tip.do(reading.xd.take(1)).vel
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles), link.do(tip).pos, velocity])


def pusher(system: Any, spring: bool, reading: Reading) -> jax.Array:
    """(20,): joint positions, centre of mass of the hand, centre of mass of the object, joint velocities."""
    centres = reading.x.vmap().do(system.link.inertia.transform).pos
    names = system.link_names
    hand, lying = (centres[names.index(name)] for name in ("r_wrist_flex_link", "object"))
    return jnp.concatenate([reading.q[:7], hand, lying, reading.qd[:7]])


def arm(system: Any, spring: bool, reading: Reading) -> jax.Array:
    """(13,): joints, position and velocity of the hand's link; (18,) with a cube.

    With a cube, the cube's position comes first. The distance between the fingers and a tenth of their mean motor force
    come last; JaxGCRL takes the motor force of other joints.
    """
    from brax import actuator

    place = system.link_names.index("link7")
    hand = [reading.q[:7], reading.x.pos[place], reading.xd.vel[place]]
    if len(reading.q) == 7:
        return jnp.concatenate(hand)
    fingers = [reading.x.pos[system.link_names.index(name)] for name in ("left_finger", "right_finger")]
    force = actuator.to_tau(system, reading.control, reading.q, reading.qd)[7:9]
    wide = jnp.linalg.norm(fingers[0] - fingers[1])
    return jnp.concatenate([reading.q[9:12], *hand, jnp.stack([wide, 0.1 * force.mean()])])


def grasp(system: Any, spring: bool, reading: Reading) -> jax.Array:
    """(24,): cube, joints, position and velocity of the hand's link, fingertips, their distance, finger force.

    The finger force is a tenth of the fingers' mean motor force.
    """
    from brax import base

    whole = arm(system, spring, reading)
    tip = base.Transform.create(pos=jnp.array(_FINGERTIP))
    links = (reading.x.take(system.link_names.index(name)) for name in ("left_finger", "right_finger"))
    left, right = (link.do(tip).pos for link in links)
    return jnp.concatenate([whole[:16], left, right, jnp.linalg.norm(right - left)[None], whole[17:]])


OBSERVE: dict[str, Observe] = {
    "joints": joints,
    "humanoid": humanoid,
    "reacher": reacher,
    "pusher": pusher,
    "arm": arm,
    "grasp": grasp,
}


def size(name: str, nq: int, nv: int, links: int) -> int:
    """Observation size D of a row of `OBSERVE`, for a body of nq coordinates, nv velocities and `links` links."""
    humanoid_size = (nq + 2) + 2 * (nv + 2) + 16 * (links + 1)
    arm_size = 13 if nq == 7 else 18
    sizes = {"joints": nq + nv, "humanoid": humanoid_size, "reacher": 10, "pusher": 20, "arm": arm_size, "grasp": 24}
    return sizes[name]


def needs_links(name: str) -> bool:
    """Whether a row of `OBSERVE` reads the links, in addition to q and qd."""
    return name != "joints"
