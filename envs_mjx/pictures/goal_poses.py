"""Puts arm and object where a goal asks for them, so that the goal can be drawn.

Damped least squares on the joint positions (Levenberg-Marquardt with a fixed damping), with the environment's own
achieved goal as what is to be met. Nothing is simulated: the hand may pass through a table.

Axis letters: E environments, G goal, Q positions that may move, N residuals.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from envs_mjx.base import State
from envs_mjx.physics.base import Part, PhysicsState, Scene

ITERATIONS, PASSES, DAMPING = 12, 3, 0.1
STEP, MOST = 1e-3, 0.3
"""Metres or rad: of a finite difference; of one iteration, at most."""
TURN = 0.3
"""Weight of how the hand is turned (entries of its rotation matrix), beside goals in units of their scale."""
LOCKED = 1e6
"""Damping of a joint (N m s / rad) above which it is meant to stay where it is, as Fetch's base is."""


def hand_of(model: mujoco.MjModel) -> Part | None:
    """The body that is welded to a mocap body; None if there is none."""
    for index in range(model.neq):
        if model.eq_type[index] != mujoco.mjtEq.mjEQ_WELD:
            continue
        ends = [int(model.eq_obj1id[index]), int(model.eq_obj2id[index])]
        held = [end for end in ends if model.body_mocapid[end] < 0]
        if len(held) == 1:
            return Part("body", model.body(held[0]).name)
    return None


def with_hand(scene: Scene) -> Scene:
    """The scene that also reads how the hand is turned, as its last rotation."""
    hand = hand_of(scene.model)
    parts = scene.parts
    rotations = (*parts.rotations, *([hand] if hand else []))
    return dataclasses.replace(scene, parts=dataclasses.replace(parts, rotations=rotations))


def movable(model: mujoco.MjModel) -> np.ndarray:
    """(Q,) qpos indices that may move: hinges and slides that are not locked, and places of free bodies."""
    found: list[int] = []
    for joint in range(model.njnt):
        start, kind = int(model.jnt_qposadr[joint]), model.jnt_type[joint]
        if kind == mujoco.mjtJoint.mjJNT_FREE:
            found += [start, start + 1, start + 2]
        elif kind != mujoco.mjtJoint.mjJNT_BALL and model.dof_damping[model.jnt_dofadr[joint]] < LOCKED:
            found.append(start)
    return np.array(found)


def limits(model: mujoco.MjModel) -> tuple[np.ndarray, np.ndarray]:
    """(nq,), (nq,) least and greatest joint positions, infinite where there is no limit."""
    low, high = np.full(model.nq, -np.inf, np.float32), np.full(model.nq, np.inf, np.float32)
    for joint in np.flatnonzero(model.jnt_limited):
        if model.jnt_type[joint] != mujoco.mjtJoint.mjJNT_BALL:
            low[model.jnt_qposadr[joint]], high[model.jnt_qposadr[joint]] = model.jnt_range[joint]
    return low, high


def _step(slopes: jax.Array, missing: jax.Array, damping: np.ndarray) -> jax.Array:
    """(E, Q) damped least-squares step against residuals (E, N) with slopes (E, N, Q), at most MOST each."""
    square = jnp.einsum("enq,enp->eqp", slopes, slopes) + damping
    down = jnp.einsum("enq,en->eq", slopes, missing)
    step = -jnp.linalg.solve(square, down[..., None])[..., 0]
    return step * jnp.minimum(1.0, MOST / jnp.abs(step).max(axis=-1, keepdims=True).clip(1e-9))


def make_goal_poses(env: Any) -> Callable[[State], PhysicsState]:
    """A pure function: a state at its start -> its physics with arm and object where `State.goal` asks for them.

    Args:
        env: environments with `physics`, `observe`, `achieved_goal` and `spec`, whose scene is made by `with_hand`.
    """
    physics, scale = env.physics, env.spec.goal_scale
    model = physics.scene.model
    columns, (low, high) = movable(model), limits(model)
    low, high = low[columns], high[columns]
    room = np.where(np.isfinite(high - low) & (high > low), high - low, 1.0)
    damping = DAMPING * np.diag(room**-2.0).astype(np.float32)  # A joint's step counts in units of its range.
    turns = hand_of(model) is not None

    def residual(placed: PhysicsState, goal: jax.Array, turn: jax.Array) -> jax.Array:
        """(E, N)"""
        missing = (env.achieved_goal(env.observe(placed)) - goal) / scale
        return jnp.concatenate([missing, TURN * (placed.rotations[:, -1] - turn)], axis=-1) if turns else missing

    def solve(state: State) -> PhysicsState:
        start = state.physics
        turn = start.rotations[:, -1] if turns else start.points[:, 0]

        def at(positions: jax.Array) -> jax.Array:
            return residual(physics.put(start, positions), state.goal, turn)

        def improved(_: int, positions: jax.Array) -> jax.Array:
            here = at(positions)

            def slope(column: jax.Array) -> jax.Array:
                return (at(positions.at[:, column].add(STEP)) - here) / STEP

            slopes = jnp.moveaxis(jax.lax.map(slope, jnp.asarray(columns)), 0, -1)  # (E, N, Q)
            now = positions[:, columns]
            free, fixed = jnp.ones_like(now, bool), jnp.zeros_like(now)
            for _ in range(PASSES):  # Joints that would leave their range go to its end; the others do the rest.
                left = here + jnp.einsum("enq,eq->en", slopes, fixed)
                step = jnp.where(free, _step(slopes * free[:, None], left, damping), fixed)
                inside = (now + step >= low) & (now + step <= high)
                fixed = jnp.where(inside & free, 0.0, jnp.clip(now + step, low, high) - now)
                free &= inside
            return positions.at[:, columns].set(jnp.clip(now + step, low, high))

        with jax.default_matmul_precision("highest"):
            solved = jax.lax.fori_loop(0, ITERATIONS, improved, physics.positions(start))
        return physics.put(start, solved)

    return solve
