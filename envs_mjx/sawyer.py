"""Meta-World's Sawyer as a batched goal-conditioned environment: one class for every row of `tasks.TASKS`.

Axis letters: E environments, D observation, G goal, R reset vector, A action.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from envs_mjx import scenes, single_goal
from envs_mjx.base import EnvError, EnvSpec, Snapshot, State, select
from envs_mjx.physics import make_physics
from envs_mjx.physics.base import (
    MocapControl,
    Part,
    Parts,
    PhysicsState,
    Scene,
    place,
    settled_point,
)
from envs_mjx.tasks import TCP, TaskSpec

GOALS = ("object", "hand_object", "object_relative")
"""Goal contracts: [object]; [hand, object]; [object, hand - object] (the lab journal's)."""

HAND, RIGHT_CLAW, LEFT_CLAW = Part("body", "hand"), Part("body", "rightclaw"), Part("body", "leftclaw")
RIGHT_FINGER, LEFT_FINGER = Part("site", "rightEndEffector"), Part("site", "leftEndEffector")
MOVED = 0.01
"""Metres that an object must have gone from its start to count as moved."""
_REDRAWS = 32
_SHIFT, _SCALE = (0.0, 0.7, 0.1), (0.15, 0.15, 0.1)
"""Centre and spread (metres) of positions in the workspace: fixed input scales for networks."""


@dataclass(frozen=True)
class Layout:
    """Where the named points of a task lie in a readout."""

    parts: Parts
    index: dict[Part, int]

    def point(self, physics: PhysicsState, part: Part) -> jax.Array:
        """(E, 3) position of a part; TCP is the mean of the two finger sites."""
        if part == TCP:
            return (self.point(physics, RIGHT_FINGER) + self.point(physics, LEFT_FINGER)) / 2
        return physics.points[:, self.index[part]]


def layout(task: TaskSpec) -> Layout:
    """The points, rotations and joints that `task` reads each step."""
    wanted = [HAND, RIGHT_CLAW, LEFT_CLAW, RIGHT_FINGER, LEFT_FINGER, task.achieved, *task.objects, *task.extras]
    if isinstance(task.target, Part):
        wanted.append(task.target)
    if task.inserted:
        wanted.append(task.inserted)
    points = tuple(dict.fromkeys(part for part in wanted if part != TCP))
    rotations = tuple(part for part in task.quats if part is not None)
    joints = (task.joint[0],) if task.joint else ()
    return Layout(Parts(points, rotations, joints), {part: place_ for place_, part in enumerate(points)})


def make_scene(task: TaskSpec) -> Scene:
    """The official scene, settled, with what `task` reads, controls and places."""
    return Scene(
        name=task.scene,
        model=scenes.load_model(task.scene),
        data=scenes.settle(task.scene, task.hand_init, task.settle_extra),
        parts=layout(task).parts,
        control=MocapControl(task.mocap_low, task.mocap_high),
        placement=task.placement,
    )


class MetaWorld:
    """`GoalEnv` over E simulations of one task.

    Args:
        task: row of `TASKS`.
        num_envs: E.
        engine: "c", "warp" or "jax" (see `physics.resolve`).
        goal: goal contract, one of `GOALS`. Where the hand itself is the achieved point, every contract is [hand].
        horizon: env steps of an episode.
        threads: threads of the C engine, 0 for every core.
    """

    def __init__(self, task: TaskSpec, num_envs: int, engine: str, goal: str, horizon: int, threads: int = 0):
        if goal not in GOALS:
            raise EnvError(f"goal={goal!r}: no such goal contract; one of {', '.join(GOALS)}")
        self.task, self.num_envs, self.engine, self.horizon = task, num_envs, engine, horizon
        self.goal = "object" if task.achieved == TCP else goal
        self.free_object = task.placement.object_at is not None and task.joint is None
        self.layout = layout(task)
        self.scene = make_scene(task)
        self.physics = make_physics(engine, self.scene, num_envs, threads)
        self._settled = settled_point(self.scene)
        self._low, self._high = np.array(task.low, np.float32), np.array(task.high, np.float32)
        extras = len(task.extras)
        obs_shift = np.array([*_SHIFT, 0.5, *_SHIFT, 0.0, 0.0, 0.0, *_SHIFT * extras], np.float32)
        obs_scale = np.array([*_SCALE, 0.3, *_SCALE, *_SCALE, *_SCALE * extras], np.float32)
        goal_shift, goal_scale = self._goal_scales()
        if task.full_state:
            turns = len(task.full_state.quat or ())
            obs_shift = goal_shift = np.array([*_SHIFT, 0.5, *_SHIFT, *[0.0] * turns], np.float32)
            obs_scale = goal_scale = np.array([*_SCALE, 0.3, *_SCALE, *[0.5] * turns], np.float32)
        self.spec = EnvSpec(
            obs_size=len(obs_shift),
            goal_size=len(goal_shift),
            action_size=4,
            horizon=horizon,
            obs_shift=jnp.asarray(obs_shift),
            obs_scale=jnp.asarray(obs_scale),
            goal_shift=jnp.asarray(goal_shift),
            goal_scale=jnp.asarray(goal_scale),
        )

    def _goal_scales(self) -> tuple[np.ndarray, np.ndarray]:
        relative = self.goal == "object_relative"
        second = () if self.goal == "object" else ((0.0, 0.0, 0.0) if relative else _SHIFT)
        return (
            np.array([*_SHIFT, *second], np.float32),
            np.array([*_SCALE, *(_SCALE if second else ())], np.float32),
        )

    # -- pure functions of a readout ------------------------------------------------------------------------------

    def observe(self, physics: PhysicsState) -> jax.Array:
        """(E, D) compact state: hand, gripper opening in [0, 1], achieved point, hand - achieved, tools; metres."""
        hand, achieved = self.layout.point(physics, HAND), self.layout.point(physics, self.task.achieved)
        if self.task.full_state:
            opening = _opening(self.layout, physics, RIGHT_FINGER, LEFT_FINGER)
            return jnp.concatenate([hand, opening, achieved, single_goal.turned(self.task, physics)], axis=-1)
        parts = [hand, gripper_opening(self.layout, physics), achieved, hand - achieved]
        return jnp.concatenate([*parts, *(self.layout.point(physics, extra) for extra in self.task.extras)], axis=-1)

    def achieved_goal(self, obs: jax.Array) -> jax.Array:
        """(..., D) -> (..., G): the goal that `obs` achieves, by the goal contract."""
        if self.task.full_state:
            return obs
        hand, achieved = obs[..., :3], obs[..., 4:7]
        if self.goal == "object":
            return achieved
        if self.goal == "hand_object":
            return jnp.concatenate([hand, achieved], axis=-1)
        return jnp.concatenate([achieved, hand - achieved], axis=-1)

    def commanded_goal(self, target: jax.Array) -> jax.Array:
        """(E, 3) object goal -> (E, G) goal, with the hand at the task's stated offset from the object."""
        if self.task.full_state:
            return single_goal.commanded(self.task, target)
        offset = jnp.broadcast_to(jnp.asarray(self.task.hand_offset, jnp.float32), target.shape)
        if self.goal == "object":
            return target
        if self.goal == "hand_object":
            return jnp.concatenate([target + offset, target], axis=-1)
        return jnp.concatenate([target, offset], axis=-1)

    def hand_in_goal(self) -> jax.Array:
        """(G,) 1 on the coordinates of a goal that the hand alone decides: all where it is the achieved point."""
        if self.task.full_state:
            return jnp.array([1.0] * 3 + [0.0] * (self.spec.goal_size - 3))
        hand, other = [1.0] * 3, [0.0] * 3
        if self.task.achieved == TCP:
            return jnp.array(hand)
        return jnp.array({"object": other, "hand_object": hand + other, "object_relative": other + hand}[self.goal])

    def success(self, physics: PhysicsState, target: jax.Array) -> jax.Array:
        """(E,) the task's native success predicate (`evaluate_state` of the official file)."""
        task = self.task
        if task.joint:
            return physics.joints[:, 0] > task.joint[1]
        achieved = self.layout.point(physics, task.achieved)
        error = (achieved - target) * jnp.asarray(task.weights, jnp.float32)
        success = jnp.linalg.norm(error, axis=-1) <= task.radius
        if task.inserted:
            end = self.layout.point(physics, task.inserted)
            success &= end[:, 0] >= achieved[:, 0]
            success &= jnp.abs(end[:, 1] - achieved[:, 1]) <= 0.04
            success &= jnp.abs(end[:, 2] - achieved[:, 2]) <= 0.06
        if task.full_state:
            success &= single_goal.quat_success(task, single_goal.turned(task, physics))
        return success

    def goal_success(self, achieved_goal: jax.Array, goal: jax.Array) -> jax.Array:
        """(..., G), (..., G) -> (...,) bool native success by goals alone.

        Raises:
            EnvError: the native success looks at more than where the object is.
        """
        task = self.task
        if task.joint or task.inserted:
            raise EnvError(f"task={task.name!r}: native success ({task.success_rule}) is no function of goals")
        first = 4 if task.full_state else 3 if self.goal == "hand_object" else 0
        error = (achieved_goal - goal)[..., first : first + 3] * jnp.asarray(task.weights, jnp.float32)
        success = jnp.linalg.norm(error, axis=-1) <= task.radius
        return success & single_goal.quat_success(task, achieved_goal[..., 7:]) if task.full_state else success

    def target(self, physics: PhysicsState, vector: jax.Array) -> jax.Array:
        """(E, 3) goal position of the object for the reset vector (E, R)."""
        if isinstance(self.task.target, Part):
            return self.layout.point(physics, self.task.target)
        return place(self.task.target, vector, self._settled, jnp)

    # -- GoalEnv -----------------------------------------------------------------------------------------------------

    def reset(self, key: jax.Array) -> State:
        """E fresh episodes: new starts and goals from `key`, each environment with a key of its own."""
        return self.reset_each(jax.random.split(key, self.num_envs))

    def reset_each(self, keys: jax.Array) -> State:
        """E fresh episodes, each a function of its own key (E, 2) alone."""
        return self.reset_to(self._draw(keys), keys)

    def reset_to(self, vector: jax.Array, keys: jax.Array) -> State:
        """E episodes placed by given official reset vectors (E, R); keys (E, 2) serve the episodes after them."""
        everyone = jnp.ones(self.num_envs, bool)
        physics = self.physics.reset(self.physics.initial(), everyone, vector)
        return self._start(physics, vector, keys, jnp.zeros(self.num_envs, jnp.int32))

    def step(self, state: State, action: jax.Array) -> State:
        """One env step; environments whose episode ended are restarted with a new start and goal."""
        return self.restart(self.advance(state, action))

    def advance(self, state: State, action: jax.Array) -> State:
        """One env step and no restart: where `done`, the state is the end of its episode."""
        physics = self.physics.step(state.physics, action)
        obs = self.observe(physics)
        success = self.success(physics, state.target)
        time = state.time + 1
        done = (time >= self.horizon) | physics.diverged
        metrics = self._metrics(physics, state, success)
        return state.replace(physics=physics, obs=obs, success=success, time=time, done=done, metrics=metrics)

    def restart(self, state: State) -> State:
        """Begin the next episode, with a new start and goal, where `done`."""
        return jax.lax.cond(state.done.any(), self._restart, lambda same: same, state)

    def _restart(self, state: State) -> State:
        keys = jax.vmap(lambda key: jax.random.split(key, 1)[0])(state.key)
        vector = self._draw(keys)
        physics = self.physics.reset(state.physics, state.done, vector)
        fresh = self._start(physics, vector, keys, state.episode + 1)
        fresh = fresh.replace(physics=None, metrics=None)
        mixed = select(state.done, fresh, state.replace(physics=None, metrics=None))
        return mixed.replace(physics=physics, metrics=state.metrics, done=state.done)

    def _start(self, physics: PhysicsState, vector: jax.Array, keys: jax.Array, episode: jax.Array) -> State:
        target = self.target(physics, vector)
        state = State(
            physics=physics,
            obs=self.observe(physics),
            goal=self.commanded_goal(target),
            target=target,
            start=self.layout.point(physics, self.task.achieved),
            vector=vector,
            episode=episode,
            time=jnp.zeros(self.num_envs, jnp.int32),
            key=keys,
            success=self.success(physics, target),
            done=jnp.zeros(self.num_envs, bool),
            metrics={},
        )
        return state.replace(metrics=self._metrics(physics, state, state.success))

    def _metrics(self, physics: PhysicsState, state: State, success: jax.Array) -> dict[str, jax.Array]:
        achieved = self.layout.point(physics, self.task.achieved)
        metrics = {
            "success": success.astype(jnp.float32),
            "distance": jnp.linalg.norm(achieved - state.target, axis=-1),
            "diverged": physics.diverged.astype(jnp.float32),
        }
        if self.task.achieved != TCP:
            moved = jnp.linalg.norm(achieved - state.start, axis=-1) > MOVED
            metrics["object_moved"] = moved.astype(jnp.float32)
        return metrics

    def frames(self, snapshots: Iterable[Snapshot], width: int, height: int, camera: str) -> np.ndarray:
        """(T, H, W, 3) uint8 pictures of T snapshots by one of the scene's cameras.

        Raises:
            EnvError: no such camera, or this machine can draw no picture, with what to install.
        """
        from envs_mjx.render import render_frames

        return render_frames((self.picture(*snapshot) for snapshot in snapshots), width, height, camera)

    def picture(self, physics: PhysicsState, target: np.ndarray, index: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """One simulation's model and data for a renderer, the goal mark moved to `target[index]`; on the host."""
        model, data = self.physics.materialise(physics, index)
        for site in range(model.nsite):
            if model.site(site).name.startswith("goal") and model.site_bodyid[site] == 0:
                model.site_pos[site] = data.site_xpos[site] = target[index]
        return model, data

    def _draw(self, keys: jax.Array) -> jax.Array:
        """(E, R) reset vectors, uniform in [low, high]; those with object and goal too near are redrawn."""
        low, high = jnp.asarray(self._low), jnp.asarray(self._high)

        def draw(key: jax.Array) -> jax.Array:
            if not self.task.min_xy:
                return jax.random.uniform(key, low.shape, minval=low, maxval=high)
            draws = jax.random.uniform(key, (_REDRAWS, *low.shape), minval=low, maxval=high)
            apart = jnp.linalg.norm(draws[:, :2] - draws[:, 3:5], axis=-1) >= self.task.min_xy
            return draws[jnp.argmax(apart)]

        # Folded, so that a reset's draw and the environment's next key never share a key.
        return jax.vmap(lambda key: draw(jax.random.fold_in(key, 1)))(keys)


def gripper_opening(layout_: Layout, physics: PhysicsState) -> jax.Array:
    """(E, 1) official gripper opening: clip(|right claw - left claw| / 0.1 m, 0, 1)."""
    return _opening(layout_, physics, RIGHT_CLAW, LEFT_CLAW)


def _opening(layout_: Layout, physics: PhysicsState, right: Part, left: Part) -> jax.Array:
    apart = layout_.point(physics, right) - layout_.point(physics, left)
    return jnp.clip(jnp.linalg.norm(apart, axis=-1, keepdims=True) / 0.1, 0.0, 1.0)
