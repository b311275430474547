"""Engines `warp` and `jax`: placing, driving and reading; the substeps are `warp_stepper.py` and `mjx_stepper.py`.

The state holds only what the next step needs (positions, velocities, warm start, mocap, fixture), so that checkpoints,
`where` and `cond` move little data.
Physics is float32 here; `tests/envs_mjx/physics/test_mjx.py` has the measured distance to engine `c`.

Axis letters: E environments, A action, R reset vector.
"""

from __future__ import annotations

import copy
import functools
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from envs_mjx.base import EnvError
from envs_mjx.physics.base import (
    MotorControl,
    PhysicsState,
    Scene,
    WeldControl,
    blank_readout,
    chain_of,
    ids_of,
    joint_addresses,
    place,
    settled_point,
    touching,
    velocity,
)
from envs_mjx.physics.dynamics import MATRICES, POSITIONS, Dynamics, Refresh, Stepper
from envs_mjx.physics.fixture import Fixture
from envs_mjx.physics.quiet import quiet_warp

CONTACTS_PER_ENV = 64
"""Default `naconmax` per environment: all E environments share one pool of contacts and candidate pairs. Measured on
all 50 tasks, with random and scripted actions: at most 49 contacts in one environment (button-press-topdown, engine c).
"""
ROWS_PER_ENV = 256
"""Default `njmax`: constraint rows of one environment. Measured: at most 184 (button-press-topdown)."""
MAX_POSITION, MAX_VELOCITY = 1e3, 1e4
"""Limits of |qpos| (m, rad) and |qvel| (m/s, rad/s): beyond, a step has diverged. Real values stay below 10 and 100."""


class MjxPhysics:
    """`Physics` on MuJoCo Warp or on MJX's JAX implementation.

    Args:
        scene: the scene; impl="jax" simulates its simplified model, if it has one (`Scene.simplified`).
        num_envs: E.
        impl: "warp" (all collisions; NVIDIA GPUs, or slowly the CPU) or "jax" (any XLA device).
        naconmax: size of Warp's contact buffer, all environments together; 0: E * CONTACTS_PER_ENV.
        njmax: size of Warp's buffer of constraint rows, per environment; 0: ROWS_PER_ENV. Warp drops what does not fit
            into a buffer; `PhysicsState.used` reports the need.

    Raises:
        EnvError: the engine does not take this scene or device, with the reason and the alternative.
    """

    def __init__(self, scene: Scene, num_envs: int, impl: str = "warp", naconmax: int = 0, njmax: int = 0):
        self.scene, self.num_envs, self.impl = scene, num_envs, impl
        model = scene.simplified() if impl == "jax" and scene.simplified else scene.model
        sizes = {"naconmax": naconmax or num_envs * CONTACTS_PER_ENV, "njmax": njmax or ROWS_PER_ENV}
        self.buffers = tuple(sizes.items()) if impl == "warp" else ()
        self._fixture = Fixture(scene, model)
        try:
            self._stepper = _make_stepper(scene, model, self._fixture, num_envs, self.buffers)
        except (NotImplementedError, ValueError, RuntimeError) as error:
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise EnvError(
                f"physics={impl!r}: MJX refuses scene {scene.name!r} ({reason}); take physics='c'"
            ) from error
        self._points, self._rotations = ids_of(model, scene.parts.points), ids_of(model, scene.parts.rotations)
        self._offset = np.array([part.offset for part in scene.parts.points], np.float32).reshape(-1, 3)
        self._joints = np.array(joint_addresses(model, scene.parts.joints), int)
        self._touches = len(scene.parts.touches)
        whole = self._touches or isinstance(scene.control, WeldControl)
        self._refresh: Refresh = "all" if whole else "poses"
        self._height = settled_point(scene)
        data = scene.data
        mocap = data.mocap_pos[0] if model.nmocap else np.zeros(3)
        settled = (data.qpos, data.qvel, data.qacc_warmstart, mocap, self._fixture.settled)
        self._settled = Dynamics(*(jnp.asarray(value, jnp.float32) for value in settled))
        self._chains = [chain_of(model, site) for site in scene.parts.velocities]
        if isinstance(scene.control, WeldControl):
            self._settled = self._settled.replace(turn=jnp.asarray(data.mocap_quat[0], jnp.float32))
            self._fingers = np.array(joint_addresses(model, scene.control.fingers))
            self._welded = model.body(scene.control.body).id

    # -- Physics -----------------------------------------------------------------------------------------------------

    def initial(self) -> PhysicsState:
        """E copies of the settled state; points are zeros until the first reset, as in engine `c`."""
        count = self.num_envs
        engine = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), self._settled)
        used = jnp.zeros((count, len(self.buffers)), jnp.int32) if self.buffers else None
        return blank_readout(self.scene.parts, count, engine).replace(used=used)

    def reset(self, state: PhysicsState, mask: jax.Array, vector: jax.Array) -> PhysicsState:
        """Restart the environments of `mask` (E,) from the settled state, placed by `vector` (E, R)."""
        placed, used = self._place(vector.astype(jnp.float32))
        _, fields, forwarded = self._stepper.run(placed, None, 0, self._refresh)
        placed = self._followed(placed, fields)
        fresh = _where(mask, self._readout(placed, fields), state.replace(used=None))
        used = _most(used, forwarded)
        return fresh.replace(used=None if used is None else _most(state.used, jnp.where(mask[:, None], used, 0)))

    def step(self, state: PhysicsState, action: jax.Array) -> PhysicsState:
        """Apply `action` (E, A) for `frame_skip` substeps, then refresh kinematics; a diverged step is undone."""
        engine, ctrl = self._drive(state.engine, action)
        control, substeps = self.scene.control, self.scene.frame_skip
        if isinstance(control, WeldControl):  # Read as the last substep leaves it, see `WeldControl.shut`.
            engine, fields, used = self._stepper.run(engine, ctrl, substeps, "no")
            if control.shut:
                engine = engine.replace(qpos=engine.qpos.at[:, self._fingers].set(0.0))
                engine, fields, last = self._stepper.run(engine, ctrl, 0, self._refresh)
                used = _most(used, last)
        else:
            engine, fields, used = self._stepper.run(engine, ctrl, substeps, self._refresh)
        engine = self._followed(engine, fields)
        new = self._readout(engine, fields)
        diverged = _diverged(engine)
        stepped = _where(diverged, state.replace(used=None), new)
        return stepped.replace(diverged=diverged, used=_most(state.used, used))

    def materialise(self, state: PhysicsState, index: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """Simulation `index` on the host: the official model with its fixture moved, and forwarded data."""
        engine = jax.tree.map(lambda leaf: np.asarray(leaf[index], np.float64), state.engine)
        model = copy.copy(self.scene.model)
        if self.scene.placement.fixture:
            model.body_pos[model.body(self.scene.placement.fixture).id] = engine.fixture
        data = mujoco.MjData(model)
        data.qpos, data.qvel, data.qacc_warmstart = engine.qpos, engine.qvel, engine.warmstart
        if model.nmocap:
            data.mocap_pos[0] = engine.mocap
            data.mocap_quat[0] = self.scene.control.quat if engine.turn is None else engine.turn  # type: ignore[union-attr]
        mujoco.mj_forward(model, data)
        return model, data

    def positions(self, state: PhysicsState) -> jax.Array:
        positions: jax.Array = state.engine.qpos
        return positions

    def put(self, state: PhysicsState, positions: jax.Array) -> PhysicsState:
        engine = state.engine.replace(qpos=positions, qvel=jnp.zeros_like(state.engine.qvel))
        fresh = self._readout(engine, self.poses(engine))
        return fresh.replace(touch=state.touch, velocities=state.velocities, used=state.used)

    def poses(self, engine: Dynamics) -> Any:
        """The fields that the scene reads, with fresh poses of bodies, geoms and sites."""
        return self._stepper.run(engine, None, 0, "poses").fields

    # -- all simulations ---------------------------------------------------------------------------------------------

    def _followed(self, engine: Dynamics, fields: Any) -> Dynamics:
        """The mocap body where the welded body is, as the official code puts it before the next action."""
        if not isinstance(self.scene.control, WeldControl):
            return engine
        return engine.replace(mocap=fields.xpos[:, self._welded], turn=fields.xquat[:, self._welded])

    def _drive(self, engine: Dynamics, action: jax.Array) -> tuple[Dynamics, jax.Array]:
        """State with the mocap body moved, and controls (E, nu), by the scene's control rule."""
        control = self.scene.control
        if isinstance(control, MotorControl):
            if control.most:
                engine = engine.replace(qvel=jnp.clip(engine.qvel, -control.most, control.most))
            return engine, control.drive(action, jnp)
        if isinstance(control, WeldControl):
            action = jnp.clip(action, -1, 1)
            assert engine.turn is not None
            turn = engine.turn + jnp.asarray(control.quat, jnp.float32)
            turn = turn / jnp.linalg.norm(turn, axis=-1, keepdims=True)
            engine = engine.replace(mocap=engine.mocap + action[:, :3] * control.scale, turn=turn)
            at = engine.qpos[:, self._fingers] + action[:, 3:]
            return engine, at[:, :0] if control.shut else at
        moved = engine.mocap + jnp.clip(action[:, :3], -1, 1) * control.scale
        low, high = jnp.asarray(control.low, jnp.float32), jnp.asarray(control.high, jnp.float32)
        ctrl = jnp.stack([action[:, 3], -action[:, 3]], axis=-1)
        return engine.replace(mocap=jnp.clip(moved, low, high)), ctrl

    def _place(self, vector: jax.Array) -> tuple[Dynamics, jax.Array | None]:
        placement, count, used = self.scene.placement, self.num_envs, None
        fresh = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), self._settled)
        if placement.fixture_at is not None:
            fresh = fresh.replace(fixture=place(placement.fixture_at, vector, self._height, jnp))
        if placement.settle:
            fresh, used = self._settle(fresh)
        qpos, qvel = fresh.qpos, fresh.qvel
        if placement.whole:
            qpos, qvel = jnp.split(vector[:, : qpos.shape[1] + qvel.shape[1]], [qpos.shape[1]], axis=1)
        if placement.object_at is not None:
            start = placement.object_qpos
            qpos = qpos.at[:, start : start + 3].set(place(placement.object_at, vector, self._height, jnp))
        for index, value in placement.joints:
            qpos = qpos.at[:, index].set(value)
        for start, stop in placement.clear:
            qvel = qvel.at[:, start:stop].set(0.0)
        return fresh.replace(qpos=qpos, qvel=qvel), used

    def _settle(self, engine: Dynamics) -> tuple[Dynamics, jax.Array | None]:
        """The official `_reset_hand`, from the model's defaults, for each simulation with its own fixture position."""
        scene, zeros = self.scene, jnp.zeros_like(engine.qvel)
        start = engine.replace(
            qpos=jnp.broadcast_to(jnp.asarray(scene.model.qpos0, jnp.float32), engine.qpos.shape),
            qvel=zeros,
            warmstart=zeros,
            mocap=jnp.broadcast_to(jnp.asarray(scene.hand_init, jnp.float32), engine.mocap.shape),
        )
        ctrl = jnp.broadcast_to(jnp.array([-1.0, 1.0]), (self.num_envs, 2))

        def env_step(engine: Dynamics, _: None) -> tuple[Dynamics, jax.Array | None]:
            engine, _, used = self._stepper.run(engine, ctrl, scene.frame_skip, "no")
            return engine, used

        engine, used = jax.lax.scan(env_step, start, length=scene.settle_steps)
        return engine, None if used is None else used.max(axis=0)

    def _readout(self, engine: Dynamics, fields: Any) -> PhysicsState:
        """The readout of fields with fresh kinematics."""
        count, parts = self.num_envs, self.scene.parts
        points = jnp.zeros((count, len(parts.points), 3)) + self._offset
        for kind, (places, ids) in self._points.items():
            points = points.at[:, np.array(places)].add(getattr(fields, POSITIONS[kind])[:, np.array(ids)])
        rotations = jnp.zeros((count, len(parts.rotations), 9))
        for kind, (places, ids) in self._rotations.items():
            matrices = getattr(fields, MATRICES[kind])[:, np.array(ids)].reshape(count, -1, 9)
            rotations = rotations.at[:, np.array(places)].set(matrices)
        joints = engine.qpos[:, self._joints]
        if parts.whole:
            joints = jnp.concatenate([engine.qpos, engine.qvel], axis=1)
        touch = touching(fields.sensordata, self._touches) if self._touches else None
        velocities = self._velocities(engine, fields) if self._chains else None
        return PhysicsState(engine, points, rotations, joints, jnp.zeros(count, bool), touch, velocities)

    def _velocities(self, engine: Dynamics, fields: Any) -> jax.Array:
        """(E, V, 6)"""
        found = []
        for site, root, dofs in self._chains:
            offset, at = fields.site_xpos[:, site] - fields.subtree_com[:, root], np.array(dofs)
            found.append(velocity(fields.cdof[:, at], offset, engine.qvel[:, at], jnp))
        return jnp.stack(found, axis=1)


def _make_stepper(
    scene: Scene, model: mujoco.MjModel, fixture: Fixture, num_envs: int, buffers: tuple[tuple[str, int], ...]
) -> Stepper:
    """The stepper of engine `warp` if there are buffers, else of engine `jax`; first a check of this machine's device.

    MJX and Warp are imported here, Warp without its start-up messages.
    """
    from envs_mjx.physics import has_cuda

    if buffers and jax.default_backend() != "cpu" and not has_cuda():
        raise EnvError(f"physics='warp': needs NVIDIA, not {jax.devices()[0].device_kind}; take physics='jax' or 'c'")
    quiet_warp()
    if buffers:
        from envs_mjx.physics.warp_stepper import WarpStepper

        return WarpStepper(scene, model, fixture, num_envs, **dict(buffers))
    from envs_mjx.physics.mjx_stepper import MjxStepper

    return MjxStepper(scene, model, fixture)


def _diverged(engine: Dynamics) -> jax.Array:
    """(E,) bool: a position or velocity is not finite, or absurdly large."""
    # Not-a-number fails every comparison.
    qpos_good = (jnp.abs(engine.qpos) < MAX_POSITION).all(axis=-1)
    return ~(qpos_good & (jnp.abs(engine.qvel) < MAX_VELOCITY).all(axis=-1))


def _most(*uses: jax.Array | None) -> jax.Array | None:
    """(E, 2) largest use of each buffer over the uses that are not None; None if all are None."""
    known = [use for use in uses if use is not None]
    return functools.reduce(jnp.maximum, known) if known else None


def _where(mask: jax.Array, yes: PhysicsState, no: PhysicsState) -> PhysicsState:
    """Per simulation: `yes` where `mask` (E,), else `no`."""

    def select(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(mask.reshape((-1,) + (1,) * (new.ndim - 1)), new, old)

    return jax.tree.map(select, yes, no)
