"""One environment for every row of `tasks.TASKS`, on any of its engines.

An episode ends early when the root leaves the body's healthy heights; the adaptors for Gymnasium and Brax report that
as a truncation. The goal is part of the environment's state; JaxGCRL's scenes have a body for it. Success is judged
after the step; JaxGCRL's pusher judges the state before the step.

Axis letters: E environments, D observation, G goal, A action, T frames, H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from envs_mjx.base import EnvSpec, Snapshot, State
from envs_mjx.locomotion.draws import OBJECT_RULES, draw
from envs_mjx.locomotion.observe import OBSERVE, Reading, needs_links, size
from envs_mjx.locomotion.scenes import CAMERA, OBJECT_AT, OBJECT_JOINTS, load_model, start_of
from envs_mjx.locomotion.simulation import control_of, make_simulation
from envs_mjx.locomotion.tasks import LocomotionTask
from envs_mjx.mazes.planar import Planar
from envs_mjx.physics.base import buffers_used

_MOVED = 0.1
"""Fraction of the success radius: an object that is further from its start than this counts as moved."""


class Locomotion(Planar):
    """`GoalEnv` over E bodies.

    Args:
        task: row of `TASKS`.
        num_envs: E.
        engine: one of `task.engines`.
        horizon: env steps per episode.
        threads, naconmax, njmax: settings of our engines, see `envs_mjx.make`.
        cached_reset: restart each environment at its first start and goal, for comparison with JaxGCRL.

    Raises:
        EnvError: a setting is given that the engine does not have.
    """

    def __init__(
        self,
        task: LocomotionTask,
        num_envs: int,
        engine: str,
        horizon: int,
        threads: int = 0,
        naconmax: int = 0,
        njmax: int = 0,
        cached_reset: bool = False,
    ):
        self.task, self.num_envs, self.engine, self.cached_reset = task, num_envs, engine, cached_reset
        self.radius, self.others, self.goal_from = task.radius, task.others, task.goal_from
        self.hand_is_goal = task.goals not in OBJECT_RULES
        self._body, self._own, self._control = task.physique, _own_sizes(task), control_of(task)
        self.simulation = make_simulation(task, num_envs, engine, threads, naconmax, njmax)
        obs_size, goal_size, action_size = sizes(task)
        obs, goal = jnp.zeros(obs_size), jnp.zeros(goal_size)
        # Shift 0 and scale 1: as in JaxGCRL, the networks see SI units.
        scales = (obs, obs + 1, goal, goal + 1)
        self.spec = EnvSpec(obs_size, goal_size, action_size, horizon, *scales, self.simulation.buffers)

    def advance(self, state: State, action: jax.Array) -> State:
        """One env step and no restart: where `done`, the state is the end of its episode."""
        physics, diverged = self.simulation.step(state.physics, action)
        obs = self.observe(physics, self.commanded_goal(state.target), action)
        time = state.time + 1
        done = (time >= self.spec.horizon) | diverged
        if self._body.healthy is not None:
            low, high = self._body.healthy
            height = self.simulation.coordinates(physics)[0][:, 2]
            done |= (height < low) | (height > high)
        return self._scored(state.replace(physics=physics, obs=obs, time=time, done=done), diverged)

    def observe(self, physics: Any, goal: jax.Array, action: jax.Array) -> jax.Array:
        """(E, D): the body's row of `OBSERVE`, then x and y of the ball or box if the task has one.

        Args:
            goal: (E, G) commanded goals. action: (E, A) last actions.
        """
        q, qd = self.simulation.coordinates(physics)
        nq, nv = self._own
        x, xd, system = None, None, None
        if needs_links(self._body.observe):
            (x, xd), system = self.simulation.links(physics), self.simulation.system
        control = self._control.drive(action, jnp)
        reading = Reading(q[:, :nq], qd[:, :nv], x, xd, control, goal)
        spring, observe = self.simulation.spring, OBSERVE[self._body.observe]
        obs = jax.vmap(lambda one: observe(system, spring, one))(reading)
        if not OBJECT_JOINTS[self.task.object]:
            return obs
        lying = q[:, nq : nq + 2] + OBJECT_AT[self.task.object]
        return jnp.concatenate([obs, lying], axis=-1)

    def frames(self, snapshots: Iterable[Snapshot], width: int, height: int, camera: str) -> np.ndarray:
        """(T, H, W, 3) uint8 pictures of the whole ground, with the goal in green; `camera` is ignored."""
        from envs_mjx.pictures.render import render_frames

        return render_frames(self._drawn(snapshots), width, height, CAMERA)

    def _place(self, vector: jax.Array, running: State | None) -> tuple[Any, jax.Array, jax.Array]:
        physics = self.simulation.start(vector, running)
        goal = vector[:, -self.spec.goal_size :]
        obs = self.observe(physics, goal, jnp.zeros((self.num_envs, self.spec.action_size)))
        return physics, obs, self._point_of(self.achieved_goal(obs))

    def _draw(self, keys: jax.Array) -> jax.Array:
        """(E, nq + nv + G) reset vectors. Each key is folded with 1, so that the next episode's key is independent."""
        model = load_model(self.task)
        start = start_of(model)
        return jax.vmap(lambda key: draw(self.task, start, model.nv, jax.random.fold_in(key, 1)))(keys)

    def _scored(self, state: State, diverged: jax.Array) -> State:
        state = super()._scored(state, diverged)
        metrics = dict(state.metrics)
        if not self.hand_is_goal:
            gone = jnp.linalg.norm(self.achieved_goal(state.obs) - self.commanded_goal(state.start), axis=-1)
            metrics["object_moved"] = (gone > _MOVED * self.radius).astype(jnp.float32)
        return state.replace(metrics=metrics | self._buffers_used(state))

    def _buffers_used(self, state: State) -> dict[str, jax.Array]:
        return buffers_used(self.spec.buffers, state.physics)

    def _drawn(self, snapshots: Iterable[Snapshot]) -> Iterator[tuple[Any, Any]]:
        """MuJoCo's model and data of each snapshot, for the renderer."""
        model = load_model(self.task, drawn=True)
        for physics, target, index in snapshots:
            data = mujoco.MjData(model)
            q, _ = self.simulation.coordinates(physics)
            data.qpos[:], data.mocap_pos[0] = np.asarray(q)[index], target[index]
            mujoco.mj_forward(model, data)
            yield model, data


def _own_sizes(task: LocomotionTask) -> tuple[int, int]:
    """nq and nv of the body, without a ball or box (whose coordinates come last)."""
    model, beside = load_model(task), OBJECT_JOINTS[task.object]
    return model.nq - beside, model.nv - beside


def sizes(task: LocomotionTask) -> tuple[int, int, int]:
    """D, G and A of a task, from its compiled model; no simulation is made."""
    model = load_model(task)
    obs_size = size(task.physique.observe, *_own_sizes(task), model.nbody - 1)
    return obs_size + 2 * bool(OBJECT_JOINTS[task.object]), task.goal_size, control_of(task).action_size
