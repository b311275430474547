"""One interface, three engines: batched rigid-body physics as pure functions of an explicit state.

The engines share three kinds of data: which named points to read (`Parts`), how an action drives the simulation
(`MocapControl`, `MotorControl`) and what a reset writes (`Placement`).

Axis letters: E environments, K points, Q rotations, J joints, C contacts, R reset vector, A action.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from flax import struct

from envs_mjx.base import State


@dataclass(frozen=True)
class Part:
    """A named point of the scene: kind is body, site or geom; `offset` (metres, world frame) is added to it."""

    kind: str
    name: str
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Parts:
    """What a state's readout holds: K points, Q rotations (3x3 matrices), J joint positions, C contacts, V velocities.

    `touches` are pairs of geoms; the readout says whether a normal force acts between the two. `whole` is 0 where only
    the named `joints` are read. Else it is nq + nv, `joints` is empty, and the readout has qpos (nq) and qvel (nv).
    `velocities` are sites.
    """

    points: tuple[Part, ...]
    rotations: tuple[Part, ...] = ()
    joints: tuple[str, ...] = ()
    touches: tuple[tuple[str, str], ...] = ()
    whole: int = 0
    velocities: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Coord:
    """One coordinate written at a reset: `vector[index] + plus`, the constant `plus`, or the settled value + plus."""

    index: int | None = None
    plus: float = 0.0
    settled: bool = False


Point = tuple[Coord, Coord, Coord]


@dataclass(frozen=True)
class Placement:
    """What a reset writes over the settled state.

    Attributes:
        object_qpos: first qpos index of the placed object's three coordinates (9: after the arm and the fingers).
        object_at: the placed object's three coordinates; None: no object is placed.
        object_height: part from whose settled position a `settled` coordinate (often the height) is taken.
        joints: further (qpos index, value) pairs to write.
        clear: [start, stop) ranges of qvel set to zero.
        fixture: body whose position in its parent (metres) the reset moves; "" for none.
        fixture_at: the fixture's three coordinates.
        settle: whether every reset settles again, with the fixture at its place from the reset vector. Needed where the
            official settling depends on the vector; costs as much as `settle_steps` env steps.
        whole: whether the reset vector begins with all of qpos (nq) and qvel (nv); then nothing else is placed.
    """

    object_qpos: int = 9
    object_at: Point | None = None
    object_height: Part | None = None
    joints: tuple[tuple[int, float], ...] = ()
    clear: tuple[tuple[int, int], ...] = ()
    fixture: str = ""
    fixture_at: Point | None = None
    settle: bool = False
    whole: bool = False


@dataclass(frozen=True)
class MocapControl:
    """The Sawyer's control rule (metaworld/sawyer_xyz_env.py, `set_xyz_action`): action (4,) in [-1, 1].

    xyz moves the mocap body by `scale * a` metres, clipped to [low, high]; a[3] drives both fingers as (a3, -a3).
    """

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    scale: float = 0.01
    quat: tuple[float, float, float, float] = (1.0, 0.0, 1.0, 0.0)
    action_size: int = 4


@dataclass(frozen=True)
class WeldControl:
    """Fetch's control rule (gymnasium_robotics/utils/mujoco_utils.py): action (4,) in [-1, 1].

    At each env step the mocap body starts from the body that is welded to it; xyz moves it by `scale * a` metres from
    there. a[3] moves both fingers by as many metres from where they are.

    Attributes:
        body: the welded body. fingers: joints that a[3] drives, one for each actuator.
        shut: the fingers cannot move: they are put to 0 after each env step, and all of MuJoCo's fields are refreshed.
            Where the fingers move, the official code reads the fields as `mj_step` leaves them: positions are those
            before the last substep.
    """

    body: str
    fingers: tuple[str, str]
    shut: bool
    scale: float = 0.05
    quat: tuple[float, float, float, float] = (1.0, 0.0, 1.0, 0.0)
    action_size: int = 4


@dataclass(frozen=True)
class MotorControl:
    """Actuators driven directly by the action (A,) clipped to [-1, 1].

    Control i is `middle[i] + half[i] * action[column[i]]`. Where `switch[i]`, only the action's sign counts: 1 above 0,
    else -1. Without `column`, control i takes action i. With `most`, velocities are clipped to +- `most` before each
    env step, and all of MuJoCo's fields computed (gymnasium_robotics/envs/maze/point.py, `_clip_velocity`).
    """

    middle: tuple[float, ...]
    half: tuple[float, ...]
    column: tuple[int, ...] = ()
    switch: tuple[bool, ...] = ()
    most: float = 0.0

    @property
    def action_size(self) -> int:
        return max(self.column) + 1 if self.column else len(self.middle)

    def drive(self, action: Any, xp: Any) -> Any:
        """(..., A) -> (..., number of actuators) float32 controls; `xp` is numpy or jax.numpy."""
        given = xp.clip(action, -1, 1)
        if self.column:
            given = given[..., np.array(self.column)]
        if self.switch:
            given = xp.where(np.array(self.switch), xp.where(given > 0, 1, -1), given)
        return xp.float32(self.middle) + xp.float32(self.half) * given


@dataclass(frozen=True)
class Scene:
    """A compiled model with its settled state; `data` is never written after the build.

    If the control moves a mocap body, `data` was settled for `settle_steps` env steps with that body at `hand_init`
    (metres) and ctrl (-1, 1).
    """

    name: str
    model: mujoco.MjModel
    data: mujoco.MjData
    parts: Parts
    control: MocapControl | WeldControl | MotorControl
    placement: Placement
    hand_init: tuple[float, float, float] = (0.0, 0.0, 0.0)
    settle_steps: int = 0
    frame_skip: int = 5
    simplified: Callable[[], mujoco.MjModel] | None = None
    """Makes the model with fewer collisions that engine `jax` simulates; None: `model` itself."""


class PhysicsState(struct.PyTreeNode):
    """State of E simulations, with its readout.

    Attributes:
        engine: the engine's own state, opaque; leaves (E, ...).
        points: (E, K, 3) float32 metres. rotations: (E, Q, 9) float32 row-major. joints: (E, J) float32.
        diverged: (E,) bool the last step diverged and was undone; reset these environments.
        touch: (E, C) bool a normal force acts between the two geoms; None where the scene asks for no contact.
        velocities: (E, V, 6) float32 linear (m/s) and angular (rad/s) velocities; None where the scene asks for none.
        used: (E, number of `Physics.buffers`) int32 the largest need of each buffer since `initial`, which may exceed
            the buffer's size; None where the engine has no buffer that could overflow.
    """

    engine: Any
    points: jax.Array
    rotations: jax.Array
    joints: jax.Array
    diverged: jax.Array
    touch: jax.Array | None = None
    velocities: jax.Array | None = None
    used: jax.Array | None = None


class Physics(Protocol):
    """A batched engine. `initial`, `reset` and `step` are pure and may be called inside jit and scan.

    Attributes:
        buffers: (name, size) of buffers of fixed size that a step can overflow; see `PhysicsState.used`.
    """

    num_envs: int
    buffers: tuple[tuple[str, int], ...]

    def initial(self) -> PhysicsState:
        """E copies of the settled state."""
        ...

    def reset(self, state: PhysicsState, mask: jax.Array, vector: jax.Array) -> PhysicsState:
        """Restart the environments of `mask` (E,) from the settled state, placed by `vector` (E, R)."""
        ...

    def step(self, state: PhysicsState, action: jax.Array) -> PhysicsState:
        """Apply `action` (E, A) for `frame_skip` substeps, then refresh kinematics."""
        ...

    def positions(self, state: PhysicsState) -> jax.Array:
        """(E, nq) float32 joint positions, metres and rad."""
        ...

    def put(self, state: PhysicsState, positions: jax.Array) -> PhysicsState:
        """The same simulations at rest at other joint positions (E, nq): nothing is simulated, poses are refreshed."""
        ...

    def materialise(self, state: PhysicsState, index: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """Simulation `index` on the host (not under jit): a model with its fixture moved, and forwarded data."""
        ...


def begin(physics: Physics, vector: jax.Array, running: State | None) -> PhysicsState:
    """Episodes placed by reset vectors (E, R): those of `running` that are `done`; all, where none runs yet."""
    if running is None:
        return physics.reset(physics.initial(), jnp.ones(physics.num_envs, bool), vector)
    return physics.reset(running.physics, running.done, vector)


def buffers_used(buffers: tuple[tuple[str, int], ...], state: Any) -> dict[str, jax.Array]:
    """Metric `<name>_used` -> (E,) float32 for each of `Physics.buffers`; {} where the engine has none."""
    return {f"{name}_used": state.used[:, at].astype(jnp.float32) for at, (name, _) in enumerate(buffers)}


def place(point: Point, vector: Any, settled: np.ndarray, xp: Any) -> Any:
    """(E, 3) coordinates of a placement from reset vectors, in their precision; `xp` is numpy or jax.numpy."""
    columns = []
    for axis, coord in enumerate(point):
        if coord.index is not None:
            columns.append(vector[:, coord.index] + coord.plus)
        else:
            value = coord.plus + (float(settled[axis]) if coord.settled else 0.0)
            columns.append(xp.full_like(vector[:, 0], value))
    return xp.stack(columns, axis=-1)


def settled_point(scene: Scene) -> np.ndarray:
    """(3,) settled position of the placement's `object_height` part; zeros if there is none."""
    part = scene.placement.object_height
    if part is None:
        return np.zeros(3)
    return np.array(getattr(scene.data, part.kind)(part.name).xpos) + np.array(part.offset)


def ids_of(model: mujoco.MjModel, parts: tuple[Part, ...]) -> dict[str, tuple[list[int], list[int]]]:
    """kind -> (places among `parts`, object ids), to gather parts from the engine's xpos arrays."""
    gather: dict[str, tuple[list[int], list[int]]] = {}
    for place_, part in enumerate(parts):
        places, ids = gather.setdefault(part.kind, ([], []))
        places.append(place_)
        ids.append(int(getattr(model, part.kind)(part.name).id))
    return gather


def joint_addresses(model: mujoco.MjModel, joints: tuple[str, ...]) -> list[int]:
    """qpos index of each named one-dimensional joint."""
    return [int(model.joint(name).qposadr[0]) for name in joints]


def chain_of(model: mujoco.MjModel, site: Part) -> tuple[int, int, list[int]]:
    """A site's id, the root of its tree of bodies, and the degrees of freedom that move it."""
    at = int(model.site(site.name).id)
    body = int(model.site_bodyid[at])
    dofs: list[int] = []
    root = int(model.body_rootid[body])
    while body:
        start = int(model.body_dofadr[body])
        dofs.extend(range(start, start + int(model.body_dofnum[body])))
        body = int(model.body_parentid[body])
    return at, root, sorted(dofs)


def velocity(axes: Any, offset: Any, speeds: Any, xp: Any) -> Any:
    """(E, 6) linear and angular velocity of a point, from the N degrees of freedom that move it (`mj_jac` times qvel).

    Args:
        axes: (E, N, 6) `cdof`: angular and linear axis about the tree's centre of mass. offset: (E, 3) point minus that
            centre. speeds: (E, N). xp: numpy or jax.numpy.
    """
    turning, moving = axes[..., :3], axes[..., 3:]
    moving = moving + xp.cross(turning, xp.broadcast_to(offset[:, None], turning.shape))
    return (xp.concatenate([moving, turning], axis=-1) * speeds[..., None]).sum(axis=1)


def blank_readout(parts: Parts, count: int, engine: Any = None) -> PhysicsState:
    """A readout of zeros (E = count), as before the first reset."""
    return PhysicsState(
        engine=engine,
        points=jnp.zeros((count, len(parts.points), 3)),
        rotations=jnp.zeros((count, len(parts.rotations), 9)),
        joints=jnp.zeros((count, parts.whole or len(parts.joints))),
        diverged=jnp.zeros(count, bool),
        touch=jnp.zeros((count, len(parts.touches)), bool) if parts.touches else None,
        velocities=jnp.zeros((count, len(parts.velocities), 6)) if parts.velocities else None,
    )


def read_data(scene: Scene, data: mujoco.MjData) -> PhysicsState:
    """The readout (E = 1, no engine state) of one MjData of the scene's model, e.g. the official package's."""
    parts = scene.parts
    points = [np.array(getattr(data, part.kind)(part.name).xpos) + np.array(part.offset) for part in parts.points]
    rotations = [np.array(getattr(data, part.kind)(part.name).xmat) for part in parts.rotations]
    joints = [data.qpos[index] for index in joint_addresses(scene.model, parts.joints)]
    return PhysicsState(
        engine=None,
        points=np.array(points, np.float32)[None],  # type: ignore[arg-type]
        rotations=np.array(rotations, np.float32).reshape(1, len(rotations), 9),  # type: ignore[arg-type]
        joints=np.array(joints, np.float32)[None],  # type: ignore[arg-type]
        diverged=np.zeros(1, bool),  # type: ignore[arg-type]
        touch=np.array([[_presses(data, *pair) for pair in parts.touches]]) if parts.touches else None,  # type: ignore[arg-type]
    )


def _presses(data: mujoco.MjData, first: str, second: str) -> bool:
    """Whether a normal force acts between two geoms of forwarded data (`touching_object` of the official package)."""
    pair = {data.geom(first).id, data.geom(second).id}
    rows = [contact.efc_address for contact in data.contact if {contact.geom1, contact.geom2} == pair]
    return sum(data.efc_force[row] for row in rows) > 0


def touching(sensors: Any, count: int) -> Any:
    """(E, C) bool from the contact sensors' data (E, 3 * C): forces in the contact's frame, the normal one first."""
    return sensors.reshape(len(sensors), count, 3)[:, :, 0] != 0
