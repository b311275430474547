"""Engine `c`: MuJoCo's own C engine, batched on a thread pool (`mujoco.batch.Batch`), inside jit by `pure_callback`.

Exact: the physics of the official Meta-World to the last bit. The state is a value of the JAX program: float64 rows
pass through JAX (32 bit) as uint32 pairs. Unrolls are therefore pure, and a resumed run is bitwise the same. Callbacks
use NumPy only.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from flax import struct
from mujoco.batch import Batch, SimulationError

from envs_mjx.base import EnvError
from envs_mjx.physics.base import (
    MocapControl,
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
from envs_mjx.physics.cores import cores, spare_thread

_NOTHING, _POSITIONS, _FORCES = (int(getattr(mujoco.mjtStage, f"mjSTAGE_{name}")) for name in ("NONE", "POS", "ACC"))
POSES = ("geom_xpos", "geom_xmat", "cam_xpos", "cam_xmat", "light_xpos", "light_xdir", "site_xpos")
"""Fields of MuJoCo's data that a picture depends on."""
_DIVERGED = [
    int(warning)
    for warning in (
        mujoco.mjtWarning.mjWARN_BADQPOS,
        mujoco.mjtWarning.mjWARN_BADQVEL,
        mujoco.mjtWarning.mjWARN_BADQACC,
        mujoco.mjtWarning.mjWARN_BADCTRL,
    )
]


class Rows(struct.PyTreeNode):
    """Integration state (qpos, qvel, warm start, mocap, ...) and fixture position of E simulations, float64 as uint32.

    Attributes:
        state: (E, 2 * nstate) uint32. fixture: (E, 6) uint32.
    """

    state: Any
    fixture: Any


class CPhysics:
    """`Physics` on host threads. `threads=0` takes every core; results do not depend on the number of threads."""

    buffers: tuple[tuple[str, int], ...] = ()

    def __init__(self, scene: Scene, num_envs: int, threads: int = 0):
        settings: Any = jax.config
        if settings.jax_enable_x64:
            raise EnvError("physics='c': its state passes through JAX in 32 bit; unset JAX_ENABLE_X64")
        self.scene, self.num_envs = scene, num_envs
        spare_thread()
        self._lock = threading.Lock()  # Several devices of one process may call at once; a call uses every core.
        self._batch = Batch(scene.model, num_envs, threads or cores())
        batch, model = self._batch, scene.model
        self._qpos, self._qvel = batch.bind("qpos"), batch.bind("qvel")
        self._mocap, self._ctrl = batch.bind("mocap_pos"), batch.bind("ctrl")
        self._mocap_quat = batch.bind("mocap_quat")
        self._points = self._gather(scene.parts.points, "xpos")
        self._rotations = self._gather(scene.parts.rotations, "xmat")
        self._offset = np.array([part.offset for part in scene.parts.points]).reshape(-1, 3)
        self._joints = joint_addresses(model, scene.parts.joints)
        self._touches = len(scene.parts.touches)
        self._sensors = batch.bind("sensordata") if self._touches else None
        self._chains = [chain_of(model, site) for site in scene.parts.velocities]
        if self._chains:
            self._axes, self._sites, self._centres = (batch.bind(name) for name in ("cdof", "site_xpos", "subtree_com"))
        reads = scene.parts.points or scene.parts.rotations
        self._stage = _FORCES if self._touches else _POSITIONS if reads else _NOTHING
        if isinstance(scene.control, WeldControl) or (isinstance(scene.control, MotorControl) and scene.control.most):
            self._stage = _FORCES
        if isinstance(scene.control, WeldControl):
            self._fingers = joint_addresses(model, scene.control.fingers)
            self._welded = model.body(scene.control.body).id
            self._bodies, self._turns = batch.bind("xpos"), batch.bind("xquat")
        self._fixture = model.body(scene.placement.fixture).id if scene.placement.fixture else None
        self._body_pos: Any = batch.expand("body_pos") if self._fixture is not None else None
        self._settled = settled_point(scene)
        size = mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_INTEGRATION)
        self._row = np.empty(size)
        mujoco.mj_getState(model, scene.data, self._row, mujoco.mjtState.mjSTATE_INTEGRATION)
        self._result = (
            Rows(jax.ShapeDtypeStruct((num_envs, 2 * size), np.uint32), jax.ShapeDtypeStruct((num_envs, 6), np.uint32)),
            jax.ShapeDtypeStruct((num_envs, len(scene.parts.points), 3), np.float32),
            jax.ShapeDtypeStruct((num_envs, len(scene.parts.rotations), 9), np.float32),
            jax.ShapeDtypeStruct((num_envs, scene.parts.whole or len(self._joints)), np.float32),
            jax.ShapeDtypeStruct((num_envs,), np.bool_),
            jax.ShapeDtypeStruct((num_envs, self._touches), np.bool_) if self._touches else None,
            jax.ShapeDtypeStruct((num_envs, len(self._chains), 6), np.float32) if self._chains else None,
        )

    def initial(self) -> PhysicsState:
        rows = np.broadcast_to(self._row, (self.num_envs, self._row.size)).copy()
        fixture = np.zeros((self.num_envs, 3))
        if self._fixture is not None:
            fixture[:] = self.scene.model.body_pos[self._fixture]
        engine = Rows(jnp.asarray(rows.view(np.uint32)), jnp.asarray(fixture.view(np.uint32)))
        return blank_readout(self.scene.parts, self.num_envs, engine)

    def reset(self, state: PhysicsState, mask: jax.Array, vector: jax.Array) -> PhysicsState:
        return self._call(self._reset_on_host, state, mask, vector)

    def step(self, state: PhysicsState, action: jax.Array) -> PhysicsState:
        return self._call(self._step_on_host, state, action)

    def positions(self, state: PhysicsState) -> jax.Array:
        def read(engine: Rows) -> np.ndarray:
            with self._lock:
                self._load(engine)
                return self._qpos.astype(np.float32)

        shape = jax.ShapeDtypeStruct((self.num_envs, self.scene.model.nq), np.float32)
        positions: jax.Array = jax.pure_callback(read, shape, state.engine, vmap_method="sequential")
        return positions

    def put(self, state: PhysicsState, positions: jax.Array) -> PhysicsState:
        return self._call(self._put_on_host, state, positions)

    def poses(self, engine: Rows) -> dict[str, np.ndarray]:
        """Poses of geoms, cameras, lights and sites of every simulation, by MuJoCo's field; on the host."""
        with self._lock:
            bound = {name: self._batch.bind(name) for name in POSES}  # Before `forward`, which fills what is bound.
            self._load(engine)
            self._batch.forward(stage=_POSITIONS)
            return {name: field.copy() for name, field in bound.items()}

    def materialise(self, state: PhysicsState, index: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """Simulation `index` on the host: a model with its fixture moved, and forwarded data."""
        model = copy.copy(self.scene.model)
        if self._fixture is not None:
            model.body_pos[self._fixture] = _float64(state.engine.fixture)[index]
        data = mujoco.MjData(model)
        mujoco.mj_setState(model, data, _float64(state.engine.state)[index], mujoco.mjtState.mjSTATE_INTEGRATION)
        mujoco.mj_forward(model, data)
        return model, data

    def _call(self, function: Callable[..., Any], state: PhysicsState, *inputs: jax.Array) -> PhysicsState:
        def alone(*arguments: Any) -> Any:
            with self._lock:
                return function(*arguments)

        engine, *readout = jax.pure_callback(alone, self._result, state, *inputs, vmap_method="sequential")
        return PhysicsState(engine, *readout)

    def _load(self, engine: Rows) -> np.ndarray:
        """Put the batch into a state; returns its rows (E, nstate)."""
        rows = _float64(engine.state)
        self._batch.state[:] = rows
        if self._body_pos is not None:
            self._body_pos[:, self._fixture] = _float64(engine.fixture)
        return rows

    def _put_on_host(self, state: PhysicsState, positions: Any):
        self._load(state.engine)
        self._qpos[:], self._qvel[:] = np.asarray(positions), 0.0
        self._batch.forward(stage=_POSITIONS)
        engine = Rows(self._batch.state.copy().view(np.uint32), np.asarray(state.engine.fixture))
        points, rotations, joints, touch, velocities = self._read(slice(None))
        return engine, points, rotations, joints, np.zeros(self.num_envs, bool), touch, velocities

    def _step_on_host(self, state: PhysicsState, action: Any):
        action = np.asarray(action)
        batch = self._batch
        rows = self._load(state.engine)
        self._drive(action)
        batch.warning[:] = 0
        failed = np.zeros(self.num_envs, bool)
        try:
            self._advance()
        except SimulationError as error:
            failed[error.ids] = True
        # MuJoCo resets a bad simulation to the model's defaults and only counts a warning: undo the step and flag it.
        failed |= batch.warning[:, _DIVERGED, 1].any(axis=1)
        new = batch.state.copy()
        failed |= ~np.isfinite(new).all(axis=1)
        points, rotations, joints, touch, velocities = readout = self._read(slice(None))
        if failed.any():
            new[failed] = rows[failed]
            for now, before in zip(readout, _readout(state), strict=True):
                if now is not None:
                    now[failed] = before[failed]
        engine = Rows(new.view(np.uint32), np.asarray(state.engine.fixture))
        return engine, points, rotations, joints, failed, touch, velocities

    def _advance(self) -> None:
        """One env step of every simulation, and the fields that are read."""
        control, batch = self.scene.control, self._batch
        if not isinstance(control, WeldControl):
            batch.step(nstep=self.scene.frame_skip, stage=self._stage)
            return
        batch.step(nstep=self.scene.frame_skip, stage=_NOTHING)
        if control.shut:
            self._qpos[:, self._fingers] = 0
            batch.forward(stage=_FORCES)
        self._follow(slice(None))

    def _follow(self, ids: Any) -> None:
        """Put the mocap body where the welded body is, as the official code does before the next action."""
        self._mocap[ids, 0], self._mocap_quat[ids, 0] = self._bodies[ids, self._welded], self._turns[ids, self._welded]

    def _drive(self, action: np.ndarray) -> None:
        control = self.scene.control
        if isinstance(control, MotorControl):
            if control.most:
                self._qvel[:] = np.clip(self._qvel, -control.most, control.most)
                self._batch.forward(stage=_FORCES)
            self._ctrl[:] = control.drive(action, np)
            return
        if isinstance(control, WeldControl):
            action = np.clip(action, -1, 1)
            self._mocap[:, 0] += action[:, :3] * np.float32(control.scale)
            self._mocap_quat[:, 0] += control.quat
            if not control.shut:
                self._ctrl[:] = self._qpos[:, self._fingers] + action[:, 3:]
            return
        # As in the official code: a float32 product, added and clipped in float64.
        delta = np.clip(action[:, :3], -1, 1) * np.float32(control.scale)
        self._mocap[:, 0] = np.clip(self._mocap[:, 0] + delta, control.low, control.high)
        self._mocap_quat[:, 0] = control.quat
        self._ctrl[:, 0], self._ctrl[:, 1] = action[:, 3], -action[:, 3]

    def _reset_on_host(self, state: PhysicsState, mask: jax.Array, vector: jax.Array):
        ids = np.flatnonzero(np.asarray(mask))
        rows, fixture = _float64(state.engine.state).copy(), _float64(state.engine.fixture).copy()
        readout = [None if field is None else np.array(field) for field in _readout(state)]
        diverged = np.array(state.diverged)
        if ids.size:
            self._write(ids, np.asarray(vector)[ids].astype(np.float64), fixture)
            if self._stage != _NOTHING:
                self._batch.forward(ids=ids, stage=self._stage)
            if isinstance(self.scene.control, WeldControl):
                self._follow(ids)
            rows[ids] = self._batch.state[ids]
            for field, fresh in zip(readout, self._read(ids), strict=True):
                if field is not None:
                    field[ids] = fresh
            diverged[ids] = False
        points, rotations, joints, touch, velocities = readout
        engine = Rows(rows.view(np.uint32), fixture.view(np.uint32))
        return engine, points, rotations, joints, diverged, touch, velocities

    def _write(self, ids: np.ndarray, vector: np.ndarray, fixture: np.ndarray) -> None:
        placement = self.scene.placement
        if placement.fixture_at is not None:
            fixture[ids] = place(placement.fixture_at, vector, self._settled, np)
            self._body_pos[ids, self._fixture] = fixture[ids]
        if placement.settle:
            self._settle(ids)
        else:
            self._batch.state[ids] = self._row
        if placement.whole:
            nq, nv = self.scene.model.nq, self.scene.model.nv
            self._qpos[ids], self._qvel[ids] = vector[:, :nq], vector[:, nq : nq + nv]
        if placement.object_at is not None:
            start = placement.object_qpos
            self._qpos[ids, start : start + 3] = place(placement.object_at, vector, self._settled, np)
        for index, value in placement.joints:
            self._qpos[ids, index] = value
        for start, stop in placement.clear:
            self._qvel[ids, start:stop] = 0.0

    def _settle(self, ids: np.ndarray) -> None:
        """The official `_reset_hand`, from the model's defaults, for each simulation with its own fixture position."""
        batch, scene = self._batch, self.scene
        assert isinstance(scene.control, MocapControl)
        batch.reset(ids=ids, stage=_NOTHING)
        self._mocap[ids, 0], self._mocap_quat[ids, 0] = scene.hand_init, scene.control.quat
        self._ctrl[ids] = (-1, 1)
        batch.step(ids=ids, nstep=scene.settle_steps * scene.frame_skip)

    def _gather(self, parts, field: str) -> list[tuple[list[int], np.ndarray, list[int]]]:
        names = {"body": field, "site": f"site_{field}", "geom": f"geom_{field}"}
        gather = ids_of(self.scene.model, parts)
        return [(places, self._batch.bind(names[kind]), ids) for kind, (places, ids) in gather.items()]

    def _read(self, rows) -> tuple[Any, ...]:
        """The readout of some simulations, in the order of `_readout`."""
        count = self.num_envs if isinstance(rows, slice) else len(rows)
        points = np.empty((count, len(self.scene.parts.points), 3), np.float32)
        for places, field, ids in self._points:
            points[:, places] = field[rows][:, ids] + self._offset[places]
        rotations = np.empty((count, len(self.scene.parts.rotations), 9), np.float32)
        for places, field, ids in self._rotations:
            rotations[:, places] = field[rows][:, ids].reshape(count, -1, 9)
        touch = None if self._sensors is None else touching(self._sensors[rows], self._touches)
        if self.scene.parts.whole:
            joints = np.concatenate([self._qpos[rows], self._qvel[rows]], axis=1)
        else:
            joints = self._qpos[rows][:, self._joints]
        return points, rotations, joints.astype(np.float32), touch, self._velocities(rows)

    def _velocities(self, rows: Any) -> np.ndarray | None:
        """(E, V, 6), or None."""
        if not self._chains:
            return None
        axes, speeds = self._axes[rows], self._qvel[rows]
        found = []
        for site, root, dofs in self._chains:
            offset = self._sites[rows][:, site] - self._centres[rows][:, root]
            found.append(velocity(axes[:, dofs], offset, speeds[:, dofs], np))
        return np.stack(found, axis=1).astype(np.float32)


def _readout(state: PhysicsState) -> tuple[Any, ...]:
    """The fields of a state's readout as NumPy arrays."""
    fields = (state.points, state.rotations, state.joints, state.touch, state.velocities)
    return tuple(None if field is None else np.asarray(field) for field in fields)


def _float64(pairs: jax.Array) -> np.ndarray:
    """(E, 2n) uint32 -> (E, n) float64, the same bits."""
    return np.ascontiguousarray(np.asarray(pairs)).view(np.float64)
