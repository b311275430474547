"""Simulations of a body, as pure functions of their state: on one of our engines or one of Brax's backends.

Engines and backends take the same compiled model, but each has its own contacts, joints and time steps. Results of one
are not comparable with results of another. MuJoCo solves joints and contacts together by Newton's method, so that links
cannot come apart; Brax's spring backend holds links together by springs that give way.

Axis letters: E environments, A action, R reset vector.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import mujoco

from envs_mjx.base import EnvError, State, select
from envs_mjx.locomotion import panda
from envs_mjx.locomotion.scenes import load_model, start_of
from envs_mjx.locomotion.tasks import LocomotionTask
from envs_mjx.physics import ENGINES, make_physics
from envs_mjx.physics.base import MotorControl, Parts, PhysicsState, Placement, Scene, begin
from envs_mjx.physics.tracing import careful

FASTEST = 1e4
"""SI units: a Brax simulation has diverged when a position or velocity is beyond this, or not finite."""
_NEWTON = {"opt.iterations": 1, "opt.ls_iterations": 4}
_SOLVERS = {"ant": _NEWTON, "humanoid": _NEWTON, "simple": _NEWTON}
_PUSH_SOLVER = {"opt.iterations": 4, "opt.ls_iterations": 8}
"""JaxGCRL's settings on backend mjx. Bodies with such settings also get Newton's solver, no implicit joint damping."""


class Simulation(Protocol):
    """E simulated bodies. `start` and `step` may be called inside jit and scan."""

    buffers: tuple[tuple[str, int], ...]
    spring: bool
    """Whether Brax's spring backend simulates the bodies."""

    @property
    def system(self) -> Any:
        """Brax's System, for observations."""
        ...

    def start(self, vector: jax.Array, running: State | None) -> Any:
        """Physics state at the start, from reset vectors (E, R) that begin with qpos and qvel.

        Args:
            running: the state whose ended episodes (`done`) restart; other environments' results are not used. None:
                every environment starts.
        """
        ...

    def step(self, physics: Any, action: jax.Array) -> tuple[Any, jax.Array]:
        """Physics state after one env step with `action` (E, A), and (E,) bool: the step diverged and was undone."""
        ...

    def coordinates(self, physics: Any) -> tuple[jax.Array, jax.Array]:
        """q (E, nq), qd (E, nv)."""
        ...

    def links(self, physics: Any) -> tuple[Any, Any]:
        """Brax's Transform and Motion of the links in the world, leaves (E, L, ...)."""
        ...


def make_simulation(
    task: LocomotionTask, num_envs: int, engine: str, threads: int = 0, naconmax: int = 0, njmax: int = 0
) -> Simulation:
    """The simulation of E bodies on `engine`, one of `task.engines`.

    Raises:
        EnvError: a buffer's size is set for a Brax backend, which has no such buffer.
    """
    if engine in ENGINES:
        return EngineSimulation(task, num_envs, engine, threads, naconmax, njmax)
    for name, size in (("naconmax", naconmax), ("njmax", njmax)):
        if size:
            raise EnvError(f"{name}={size}: Brax's {engine!r} has no such buffer; leave it 0")
    return BraxSimulation(task, num_envs, engine)


@functools.cache
def system_of(task: LocomotionTask) -> Any:
    """Brax's System of the task's model."""
    from brax.io import mjcf

    # The first call may come while a program is traced; the cached arrays must not be tracers.
    with jax.ensure_compile_time_eval():
        return mjcf.load_model(load_model(task))


def control_of(task: LocomotionTask) -> MotorControl:
    """How actions drive the motors: action times `Body.torque`, each motor's `Body.full_range`, or `panda.control`."""
    model = load_model(task)
    if task.body.startswith("panda"):
        return panda.control(bool(task.object))
    if not task.physique.full_range:
        return MotorControl((0.0,) * model.nu, (task.physique.torque,) * model.nu)
    low, high = model.actuator_ctrlrange.T
    return MotorControl(tuple((low + high) / 2), tuple((high - low) / 2))


class EngineSimulation:
    """Our engine `c` or `warp` with direct torque control: MJCF's own time step, gears and solver."""

    spring = False

    def __init__(
        self, task: LocomotionTask, num_envs: int, engine: str, threads: int = 0, naconmax: int = 0, njmax: int = 0
    ):
        model = load_model(task)
        data = mujoco.MjData(model)
        data.qpos[:] = start_of(model)
        self._task, self._nq = task, model.nq
        parts, placement = Parts((), whole=model.nq + model.nv), Placement(whole=True)
        scene = Scene(task.name, model, data, parts, control_of(task), placement, frame_skip=task.physique.frames)
        self.physics = make_physics(engine, scene, num_envs, threads, naconmax, njmax)
        self.num_envs, self.buffers = num_envs, self.physics.buffers

    def start(self, vector: jax.Array, running: State | None) -> PhysicsState:
        return begin(self.physics, vector, running)

    def step(self, physics: PhysicsState, action: jax.Array) -> tuple[PhysicsState, jax.Array]:
        physics = self.physics.step(physics, action)
        return physics, physics.diverged

    def coordinates(self, physics: PhysicsState) -> tuple[jax.Array, jax.Array]:
        return physics.joints[:, : self._nq], physics.joints[:, self._nq :]

    @property
    def system(self) -> Any:
        return system_of(self._task)

    def links(self, physics: PhysicsState) -> tuple[Any, Any]:
        from brax import kinematics

        return jax.vmap(functools.partial(kinematics.forward, self.system))(*self.coordinates(physics))


class BraxSimulation:
    """Brax's backend "spring", "generalized" or "mjx", with the time steps, gears and solver of JaxGCRL."""

    buffers: tuple[tuple[str, int], ...] = ()

    def __init__(self, task: LocomotionTask, num_envs: int, backend: str):
        body = task.physique
        self.spring, self.num_envs = backend == "spring", num_envs
        self._pipeline = importlib.import_module(f"brax.{backend}.pipeline")
        self._control, self._impl = control_of(task), "jax" if backend == "mjx" else ""
        self._frames = body.spring_frames if self.spring else body.frames
        system = system_of(task)
        if self.spring:
            system = system.tree_replace({"opt.timestep": body.spring_timestep})
            if body.spring_gear:
                gear = jnp.broadcast_to(jnp.array(body.spring_gear), system.actuator.gear.shape)
                system = system.replace(actuator=system.actuator.replace(gear=gear))
        solver = _PUSH_SOLVER if task.object == "box" else _SOLVERS.get(task.body)
        if backend == "mjx" and solver:
            newton, explicit = mujoco.mjtSolver.mjSOL_NEWTON, mujoco.mjtDisableBit.mjDSBL_EULERDAMP
            system = system.tree_replace({"opt.solver": newton, "opt.disableflags": explicit, **solver})
        self._system = system
        self._sizes = load_model(task).nq, load_model(task).nv

    @property
    def system(self) -> Any:
        return self._system

    def start(self, vector: jax.Array, running: State | None) -> Any:
        nq, nv = self._sizes
        begin = functools.partial(self._pipeline.init, self._system)
        with careful(self._impl):
            return jax.vmap(begin)(vector[:, :nq], vector[:, nq : nq + nv])

    def step(self, physics: Any, action: jax.Array) -> tuple[Any, jax.Array]:
        def one(physics: Any, control: jax.Array) -> Any:
            def substep(physics: Any, _: None) -> tuple[Any, None]:
                return self._pipeline.step(self._system, physics, control), None

            return jax.lax.scan(substep, physics, length=self._frames)[0]

        with careful(self._impl):
            after = jax.vmap(one)(physics, self._control.drive(action, jnp))
        moving = jnp.abs(jnp.concatenate([after.q, after.qd], axis=-1))
        diverged = ~jnp.all(moving < FASTEST, axis=-1)  # NaN compares false.
        return select(diverged, physics, after), diverged

    def coordinates(self, physics: Any) -> tuple[jax.Array, jax.Array]:
        return physics.q, physics.qd

    def links(self, physics: Any) -> tuple[Any, Any]:
        return physics.x, physics.xd
