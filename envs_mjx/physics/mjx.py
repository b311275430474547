"""Engines `warp` and `jax`: MJX (mujoco.mjx) on MuJoCo Warp's kernels, or on plain JAX.

The state holds only what the next step needs (positions, velocities, warm start, mocap, fixture). Everything else of an
`mjx.Data` is scratch and is made anew in each step, so that checkpoints, `where` and `cond` move little data.
Physics is float32 here; `tests/envs_mjx/physics/test_mjx.py` has the measured distance to engine `c`.

Axis letters: E environments, A action, R reset vector.
"""

from __future__ import annotations

import copy
import functools

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from flax import struct

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
from envs_mjx.physics.quiet import quiet_warp
from envs_mjx.physics.tracing import careful

CONTACTS_PER_ENV = 64
"""Default `naconmax` per environment: all E environments share one pool of contacts and candidate pairs. Measured on
all 50 tasks, with random and scripted actions: at most 49 contacts in one environment (button-press-topdown, engine c).
"""
ROWS_PER_ENV = 256
"""Default `njmax`: constraint rows of one environment. Measured: at most 184 (button-press-topdown)."""
MAX_POSITION, MAX_VELOCITY = 1e3, 1e4
"""Limits of |qpos| (m, rad) and |qvel| (m/s, rad/s): beyond, a step has diverged. Real values stay below 10 and 100."""


class Dynamics(struct.PyTreeNode):
    """State of E simulations, float32.

    Attributes:
        qpos: (E, nq). qvel, warmstart: (E, nv). mocap: (E, 3) metres. fixture: (E, 3) metres, in its parent's frame.
        turn: (E, 4) quaternion of the mocap body; None where it never turns.
    """

    qpos: jax.Array
    qvel: jax.Array
    warmstart: jax.Array
    mocap: jax.Array
    fixture: jax.Array
    turn: jax.Array | None = None


class MjxPhysics:
    """`Physics` on MJX.

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
        self.mjx = _import_mjx(impl)
        sizes = {"naconmax": naconmax or num_envs * CONTACTS_PER_ENV, "njmax": njmax or ROWS_PER_ENV}
        self.buffers = tuple(sizes.items()) if impl == "warp" else ()
        try:
            self.model = self.mjx.put_model(model, impl=impl)
            self._blank = self.mjx.make_data(model, impl=impl, **dict(self.buffers))
        except (NotImplementedError, ValueError, RuntimeError) as error:
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise EnvError(
                f"physics={impl!r}: MJX refuses scene {scene.name!r} ({reason}); take physics='c'"
            ) from error
        if impl == "warp":
            # `used` reports an overflow, so the kernels need not print it.
            self.model = self.model.tree_replace({"opt._impl.warn_overflow": 0})
        if isinstance(scene.control, MocapControl):
            self._blank = self._blank.replace(mocap_quat=jnp.asarray(scene.control.quat, jnp.float32)[None])
        self._points, self._rotations = ids_of(model, scene.parts.points), ids_of(model, scene.parts.rotations)
        self._offset = np.array([part.offset for part in scene.parts.points], np.float32).reshape(-1, 3)
        self._joints = np.array(joint_addresses(model, scene.parts.joints), int)
        self._touches = len(scene.parts.touches)
        self._fixture = model.body(scene.placement.fixture).id if scene.placement.fixture else None
        self._height = settled_point(scene)
        self._static, self._turn = self._static_geoms(model)
        data = scene.data
        fixture = np.zeros(3) if self._fixture is None else model.body_pos[self._fixture]
        mocap = data.mocap_pos[0] if model.nmocap else np.zeros(3)
        settled = (data.qpos, data.qvel, data.qacc_warmstart, mocap, fixture)
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
        with careful(self.impl):
            data, forwarded = jax.vmap(lambda engine: self._refresh(*self._lay_out(engine)))(placed)
        placed = self._followed(placed, data)
        fresh = _where(mask, self._read(placed, data), state.replace(used=None))
        used = _most(used, forwarded)
        return fresh.replace(used=None if used is None else _most(state.used, jnp.where(mask[:, None], used, 0)))

    def step(self, state: PhysicsState, action: jax.Array) -> PhysicsState:
        """Apply `action` (E, A) for `frame_skip` substeps, then refresh kinematics; a diverged step is undone."""
        engine, ctrl = self._drive(state.engine, action)
        with careful(self.impl):
            advance = functools.partial(self._advance, substeps=self.scene.frame_skip)
            engine, data, used = jax.vmap(advance)(engine, ctrl)
        engine = self._followed(engine, data)
        new = self._read(engine, data)
        diverged = _diverged(engine)
        stepped = _where(diverged, state.replace(used=None), new)
        return stepped.replace(diverged=diverged, used=_most(state.used, used))

    def materialise(self, state: PhysicsState, index: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """Simulation `index` on the host: the official model with its fixture moved, and forwarded data."""
        engine = jax.tree.map(lambda leaf: np.asarray(leaf[index], np.float64), state.engine)
        model = copy.copy(self.scene.model)
        if self._fixture is not None:
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
        with careful(self.impl):
            data = jax.vmap(self.posed)(engine)
        fresh = self._read(engine, data)
        return fresh.replace(touch=state.touch, velocities=state.velocities, used=state.used)

    # -- one simulation ----------------------------------------------------------------------------------------------

    def posed(self, engine: Dynamics):
        """MJX data of one simulation (under vmap: of each) with fresh poses of bodies, geoms and sites."""
        return self.mjx.kinematics(*self._lay_out(engine))

    def _lay_out(self, engine: Dynamics):
        """MJX model and data of one simulation; the model has that simulation's fixture position."""
        model = self.model
        if self._fixture is not None:
            model = model.replace(body_pos=model.body_pos.at[self._fixture].set(engine.fixture))
        data = self._blank.replace(qpos=engine.qpos, qvel=engine.qvel, qacc_warmstart=engine.warmstart)
        if isinstance(self.scene.control, MocapControl | WeldControl):
            data = data.replace(mocap_pos=engine.mocap[None])
        if engine.turn is not None:
            data = data.replace(mocap_quat=engine.turn[None])
        if self._fixture is not None:
            moved = self._turn @ (engine.fixture - self._settled.fixture)
            data = data.replace(geom_xpos=data.geom_xpos + self._static[:, None] * moved)
        return model, data

    def _static_geoms(self, model: mujoco.MjModel) -> tuple[np.ndarray, np.ndarray]:
        """(ngeom,) 1 for geoms that stand on the fixture and never move, and the (3, 3) frame of the fixture's parent.

        Warp's kinematics leaves geoms welded to the world where `make_data` put them (mujoco_warp/_src/smooth.py,
        `_geom_local_to_global`). If only `body_pos` moved, the fixture would still collide at its old position.
        """
        static = np.zeros(model.ngeom, np.float32)
        if self._fixture is None:
            return static, np.eye(3, dtype=np.float32)
        below = np.zeros(model.nbody, bool)
        below[self._fixture] = True
        for body in range(self._fixture + 1, model.nbody):
            below[body] = below[model.body_parentid[body]]
        static[below[model.geom_bodyid] & (model.body_weldid[model.geom_bodyid] == 0)] = 1
        parent = self.scene.data.xmat[self.scene.model.body(self.scene.placement.fixture).parentid[0]]
        return static, parent.reshape(3, 3).astype(np.float32)

    def _advance(self, engine: Dynamics, ctrl: jax.Array, substeps: int):
        """State, refreshed data and the largest `_use` of the buffers after `substeps` of one simulation."""
        model, data = self._lay_out(engine)

        def substep(data, _):
            data = self.mjx.step(model, data)
            return data, self._use(data)

        data, used = jax.lax.scan(substep, data.replace(ctrl=ctrl), length=substeps)
        control = self.scene.control
        if isinstance(control, WeldControl) and control.shut:
            data = data.replace(qpos=data.qpos.at[self._fingers].set(0.0))
        if not isinstance(control, WeldControl) or control.shut:
            data, last = self._refresh(model, data)
            used = None if used is None else jnp.maximum(used.max(axis=0), last)
        else:  # Read as the last substep leaves it, see `WeldControl.shut`.
            used = None if used is None else used.max(axis=0)
        engine = engine.replace(qpos=data.qpos, qvel=data.qvel, warmstart=data.qacc_warmstart)
        return engine, data, used

    def _followed(self, engine: Dynamics, data) -> Dynamics:
        """The mocap body where the welded body is, as the official code puts it before the next action."""
        if not isinstance(self.scene.control, WeldControl):
            return engine
        return engine.replace(mocap=data.xpos[:, self._welded], turn=data.xquat[:, self._welded])

    def _refresh(self, model, data):
        """Data with fresh positions (and sensors, if the scene reads contacts), and `_use` of the buffers."""
        whole = self._touches or isinstance(self.scene.control, WeldControl)
        data = self.mjx.forward(model, data) if whole else self.mjx.kinematics(model, data)
        return data, self._use(data)

    def _use(self, data) -> jax.Array | None:
        """(2,) int32 entries of each buffer that the last collision and constraint pass needed; None without buffers.

        Warp's counters keep counting beyond the end of a buffer (mujoco_warp/_src/forward.py, `_next_time`). The pool
        of contacts also holds the pairs that may collide.
        """
        if not self.buffers:
            return None
        counts = data._impl
        return jnp.stack([jnp.maximum(counts.nacon[0], counts.ncollision[0]), counts.nefc])

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

    # -- all simulations ---------------------------------------------------------------------------------------------

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
        ctrl = jnp.array([-1.0, 1.0])
        substeps = scene.settle_steps * scene.frame_skip
        with careful(self.impl):
            engine, _, used = jax.vmap(lambda one: self._advance(one, ctrl, substeps))(start)
        return engine, used

    def _read(self, engine: Dynamics, data) -> PhysicsState:
        """The readout of batched data with fresh kinematics."""
        count, parts = self.num_envs, self.scene.parts
        points = jnp.zeros((count, len(parts.points), 3)) + self._offset
        fields = {"body": data.xpos, "site": data.site_xpos, "geom": data.geom_xpos}
        for kind, (places, ids) in self._points.items():
            points = points.at[:, np.array(places)].add(fields[kind][:, np.array(ids)])
        rotations = jnp.zeros((count, len(parts.rotations), 9))
        fields = {"body": data.xmat, "site": data.site_xmat, "geom": data.geom_xmat}
        for kind, (places, ids) in self._rotations.items():
            matrices = fields[kind][:, np.array(ids)].reshape(count, -1, 9)
            rotations = rotations.at[:, np.array(places)].set(matrices)
        joints = engine.qpos[:, self._joints]
        if parts.whole:
            joints = jnp.concatenate([engine.qpos, engine.qvel], axis=1)
        touch = touching(data.sensordata, self._touches) if self._touches else None
        velocities = self._velocities(engine, data) if self._chains else None
        return PhysicsState(engine, points, rotations, joints, jnp.zeros(count, bool), touch, velocities)

    def _velocities(self, engine: Dynamics, data) -> jax.Array:
        """(E, V, 6)"""
        found = []
        for site, root, dofs in self._chains:
            offset, at = data.site_xpos[:, site] - data.subtree_com[:, root], np.array(dofs)
            found.append(velocity(data.cdof[:, at], offset, engine.qvel[:, at], jnp))
        return jnp.stack(found, axis=1)


def _import_mjx(impl: str):
    """Import `mujoco.mjx` with a quiet Warp, after a check that this machine's device can run `impl`."""
    from envs_mjx.physics import has_cuda

    if impl == "warp" and jax.default_backend() != "cpu" and not has_cuda():
        raise EnvError(f"physics='warp': needs NVIDIA, not {jax.devices()[0].device_kind}; take physics='jax' or 'c'")
    quiet_warp()
    from mujoco import mjx

    return mjx


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
