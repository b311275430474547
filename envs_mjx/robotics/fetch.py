"""Fetch's four tasks as batched goal-conditioned environments: one class for every row of `tasks.TASKS`.

Observations, starts, targets and success are those of the official package (v4), whose velocities are per env step.
Axis letters: E environments, D observation, G goal, A action, R reset vector.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from envs_mjx.base import EnvError, EnvSpec, Snapshot, State
from envs_mjx.mazes.planar import Planar
from envs_mjx.physics import make_physics
from envs_mjx.physics.base import PhysicsState, begin, buffers_used
from envs_mjx.pictures.goal_poses import with_hand
from envs_mjx.robotics.rotation import euler
from envs_mjx.robotics.scenes import FINGERS, settled
from envs_mjx.robotics.tasks import APART, CAMERA, OPEN, RADIUS, RISE, SUBSTEPS, FetchTask

GOALS = ("object", "hand_object", "object_relative", "auto")
"""Goal contracts: [object]; [gripper, opening, object]; [object, opening, gripper - object]; auto: `FetchTask.goal`.

The opening, the sum of both fingers in metres, is in goals of tasks whose gripper is not locked.
"""
_DRAWS = 128
"""Places drawn for an object, of which the first that is far enough from the gripper is taken."""


def contract(task: FetchTask, goal: str) -> str:
    """The contract that `goal` selects: "object", here [gripper], where there is no object.

    Raises:
        EnvError: no such contract.
    """
    if goal not in GOALS:
        raise EnvError(f"goal={goal!r}: no such goal contract; one of {', '.join(GOALS)}")
    if not task.object_at:
        return "object"
    return task.goal if goal == "auto" else goal


def goal_size(task: FetchTask, goal: str) -> int:
    """G of a contract."""
    return 3 if contract(task, goal) == "object" else 6 + (not task.shut)


class Fetch(Planar):
    """`GoalEnv` over E robots.

    Args:
        task: row of `TASKS`.
        num_envs: E.
        engine: "c" or "warp".
        goal: one of `GOALS`. Without an object every contract is [gripper].
        horizon: env steps of an episode.
        threads, naconmax, njmax: settings of our engines, see `envs_mjx.make`.
        posed: also read how the gripper is turned, which pictures of goals need.

    Raises:
        EnvError: no such goal contract, or the official package's scenes are not installed.
    """

    radius = RADIUS

    def __init__(
        self,
        task: FetchTask,
        num_envs: int,
        engine: str,
        goal: str,
        horizon: int,
        threads: int = 0,
        naconmax: int = 0,
        njmax: int = 0,
        posed: bool = False,
    ):
        self.task, self.num_envs, self.engine = task, num_envs, engine
        self.hand_is_goal, self.held_object = task.object_at is None, task.in_air
        self.goal = contract(task, goal)
        self._settled = settled(task)
        scene = with_hand(self._settled.scene) if posed else self._settled.scene
        self.physics = make_physics(engine, scene, num_envs, threads, naconmax, njmax)
        self._fingers = np.array([scene.model.joint(name).qposadr[0] for name in FINGERS])
        self._finger_speeds = np.array([scene.model.joint(name).dofadr[0] for name in FINGERS]) + scene.model.nq
        self._seconds = SUBSTEPS * scene.model.opt.timestep
        self.spec = self._spec(horizon)

    def _spec(self, horizon: int) -> EnvSpec:
        """Sizes and scales: places around the gripper's start, velocities of some cm per env step."""
        place, still = (self._settled.grip, (0.15,) * 3), ((0.0,) * 3, (0.15,) * 3)
        fingers, slow = ((0.025,) * 2, (0.025,) * 2), ((0.0,) * 3, (0.02,) * 3)
        finger_speed = ((0.0,) * 2, (0.01,) * 2)
        obs: tuple[Any, ...]
        if self.task.object_at:
            turned = ((0.0,) * 3, (1.0,) * 3)
            obs = (place, place, still, fingers, turned, slow, ((0.0,) * 3, (0.1,) * 3), slow, finger_speed)
        else:
            obs = (place, fingers, slow, finger_speed)
        grip = () if self.task.shut else (((0.05,), (0.03,)),)
        goal = {"object": (place,), "hand_object": (place, *grip, place), "object_relative": (place, *grip, still)}
        (obs_shift, obs_scale), (goal_shift, goal_scale) = _joined(obs), _joined(goal[self.goal])
        return EnvSpec(
            obs_size=self.task.obs_size,
            goal_size=len(goal_shift),
            action_size=4,
            horizon=horizon,
            obs_shift=obs_shift,
            obs_scale=obs_scale,
            goal_shift=goal_shift,
            goal_scale=goal_scale,
            buffers=self.physics.buffers,
            goal_names=self._goal_names(),
        )

    def _goal_names(self) -> tuple[str, ...]:
        thing, hand = (tuple(f"{name} {axis}" for axis in "xyz") for name in ("object", "hand"))
        grip = () if self.task.shut else ("opening",)
        relative = (*thing, *grip, *(f"hand from object {axis}" for axis in "xyz"))
        return {"object": thing, "hand_object": (*hand, *grip, *thing), "object_relative": relative}[self.goal]

    # -- goals -------------------------------------------------------------------------------------------------------

    def achieved_goal(self, obs: jax.Array) -> jax.Array:
        """(..., D) -> (..., G)"""
        opening = obs[..., 9:11].sum(axis=-1, keepdims=True)
        return self._goal(obs[..., :3], opening, self.object_point(obs))

    def commanded_goal(self, target: jax.Array) -> jax.Array:
        """(E, 3) position of the object or gripper -> (E, G), with the gripper at `FetchTask.hand_offset`."""
        hand = target + jnp.asarray(self.task.hand_offset, jnp.float32)
        return self._goal(hand, jnp.full((*target.shape[:-1], 1), self.task.opening), target)

    def touch_goal(self, start: jax.Array) -> jax.Array:
        """(E, 3) position of the object -> (E, G): the open gripper at the object."""
        hand = start + jnp.asarray(self.task.hand_offset, jnp.float32)
        return self._goal(hand, jnp.full((*start.shape[:-1], 1), OPEN), start)

    def goal_success(self, achieved_goal: jax.Array, goal: jax.Array) -> jax.Array:
        """(..., G), (..., G) -> (...,) bool: the object (or gripper) is where it is asked for, wherever the hand is."""
        at = slice(-3, None) if self.goal == "hand_object" else slice(3)
        return jnp.linalg.norm((achieved_goal - goal)[..., at], axis=-1) < self.radius

    def object_point(self, obs: jax.Array) -> jax.Array:
        """(E, D) -> (E, 3): position of the object, or of the gripper where there is none."""
        return obs[..., 3:6] if self.task.object_at else obs[..., :3]

    def hand_in_goal(self) -> jax.Array:
        """(3, G) Jacobian of a goal with respect to the gripper's position."""
        hand, still = jnp.eye(3), jnp.zeros((3, 3))
        return self._goal(hand, jnp.zeros((3, 1)), hand if self.hand_is_goal else still)  # Goals are linear.

    def _goal(self, hand: jax.Array, opening: jax.Array, point: jax.Array) -> jax.Array:
        """(..., 3), (..., 1), (..., 3) -> (..., G)"""
        grip = () if self.task.shut else (opening,)
        if self.goal == "object":
            return point
        parts = (hand, *grip, point) if self.goal == "hand_object" else (point, *grip, hand - point)
        return jnp.concatenate(parts, axis=-1)

    # -- GoalEnv -----------------------------------------------------------------------------------------------------

    def advance(self, state: State, action: jax.Array) -> State:
        """One env step without a restart: where `done`, the state is the last of its episode."""
        physics = self.physics.step(state.physics, action)
        time = state.time + 1
        done = (time >= self.spec.horizon) | physics.diverged
        state = state.replace(physics=physics, obs=self.observe(physics), time=time, done=done)
        return self._scored(state, physics.diverged)

    def observe(self, physics: PhysicsState) -> jax.Array:
        """(E, D) the official observation: positions in metres, angles in rad, velocities per env step."""
        velocities = physics.velocities
        assert velocities is not None
        velocities = velocities * self._seconds
        fingers, speeds = physics.joints[:, self._fingers], physics.joints[:, self._finger_speeds] * self._seconds
        grip, moving = physics.points[:, 0], velocities[:, 0, :3]
        if not self.task.object_at:
            return jnp.concatenate([grip, fingers, moving, speeds], axis=-1)
        thing = physics.points[:, 1]
        turned = euler(physics.rotations[:, 0].reshape(-1, 3, 3))
        drift = velocities[:, 1, :3] - moving
        return jnp.concatenate(
            [grip, thing, thing - grip, fingers, turned, drift, velocities[:, 1, 3:], moving, speeds], axis=-1
        )

    def picture(self, physics: PhysicsState, target: np.ndarray, index: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """One simulation's model and data for a renderer, with the goal mark at `target[index]`; on the host."""
        model, data = self.physics.materialise(physics, index)
        mark = model.site("target0").id
        model.site_pos[mark] += target[index] - data.site_xpos[mark]
        data.site_xpos[mark] = target[index]
        return model, data

    def frames(self, snapshots: Iterable[Snapshot], width: int, height: int, camera: str) -> np.ndarray:
        """(T, H, W, 3) uint8 pictures of T snapshots, the target in red; `camera` is ignored. Runs on the host."""
        from envs_mjx.pictures.render import render_frames

        drawn = (self.picture(physics, target, index) for physics, target, index in snapshots)
        return render_frames(drawn, width, height, CAMERA)

    # -- resets ------------------------------------------------------------------------------------------------------

    def _draw(self, keys: jax.Array) -> jax.Array:
        """(E, R): object's x and y if there is one, then the target (`_reset_sim`, `_sample_goal`)."""
        task, grip = self.task, jnp.asarray(self._settled.grip, jnp.float32)

        def draw(key: jax.Array) -> jax.Array:
            object_key, goal_key, air_key, rise_key = jax.random.split(jax.random.fold_in(key, 1), 4)
            wide = task.target_range
            goal = grip + jax.random.uniform(goal_key, (3,), minval=-wide, maxval=wide)
            if not task.object_at:
                return goal
            goal = (goal + jnp.array([task.target_offset, 0, 0])).at[2].set(self._settled.height)
            if task.in_air:
                rise = jax.random.uniform(rise_key, maxval=RISE)
                goal = goal.at[2].add(jnp.where(jax.random.bernoulli(air_key), rise, 0.0))
            places = jax.random.uniform(object_key, (_DRAWS, 2), minval=-task.object_range, maxval=task.object_range)
            first = jnp.argmax(jnp.linalg.norm(places, axis=-1) >= APART)
            return jnp.concatenate([grip[:2] + places[first], goal])

        return jax.vmap(draw)(keys)

    def _place(self, vector: jax.Array, running: State | None) -> tuple[Any, jax.Array, jax.Array]:
        physics = begin(self.physics, vector, running)
        obs = self.observe(physics)
        return physics, obs, self.object_point(obs)

    def _goal_in(self, vector: jax.Array) -> jax.Array:
        """(E, R) reset vectors -> (E, G) commanded goals."""
        return self.commanded_goal(vector[:, -3:])

    def _point_of(self, goal: jax.Array) -> jax.Array:
        return goal[:, -3:] if self.goal == "hand_object" else goal[:, :3]

    def _scored(self, state: State, diverged: jax.Array) -> State:
        state = super()._scored(state, diverged)
        metrics = dict(state.metrics)
        point = self.object_point(state.obs)
        metrics["distance"] = jnp.linalg.norm(point - state.target, axis=-1)
        if not self.hand_is_goal:
            moved = jnp.linalg.norm(point - state.start, axis=-1) > 0.01
            metrics["object_moved"] = moved.astype(jnp.float32)
        return state.replace(metrics=metrics | buffers_used(self.physics.buffers, state.physics))


def _joined(pairs: Iterable[tuple[tuple[float, ...], tuple[float, ...]]]) -> tuple[jax.Array, jax.Array]:
    shifts, widths = zip(*pairs, strict=True)
    return jnp.asarray(sum(shifts, ()), jnp.float32), jnp.asarray(sum(widths, ()), jnp.float32)
