"""Meta-World's Sawyer as a batched goal-conditioned environment: one class for every row of `tasks.TASKS`.

Axis letters: E environments, D observation, G goal, R reset vector, A action.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from envs_mjx import scenes
from envs_mjx.base import EnvSpec, State
from envs_mjx.goals import GOALS, contract, goal_of
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
from envs_mjx.rewards import REWARDS, Reading, Start, Step
from envs_mjx.rewards.base import HAND, LEFT_CLAW, LEFT_FINGER, RIGHT_CLAW, RIGHT_FINGER, Memory
from envs_mjx.success import PREDICATES
from envs_mjx.tasks import KNOB, TCP, TaskSpec

__all__ = ["GOALS", "Layout", "MetaWorld", "compact_state", "gripper_opening", "layout", "make_scene"]

DIAL, KNOB_JOINT, KNOB_RADIUS = Part("body", "dial"), "knob_Joint_1", 0.05
"""Of `KNOB` (metaworld/envs/sawyer_dial_turn_v3.py, `_get_pos_objects`); metres."""
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

    def reading(self, physics: PhysicsState) -> Reading:
        """What a reward may read."""
        return Reading(
            {part: physics.points[:, place_] for part, place_ in self.index.items()},
            {part: physics.rotations[:, place_] for place_, part in enumerate(self.parts.rotations)},
            {name: physics.joints[:, place_] for place_, name in enumerate(self.parts.joints)},
        )

    def point(self, physics: PhysicsState, part: Part) -> jax.Array:
        """(E, 3) position of a part; TCP is the mean of the two finger sites, KNOB turns about the dial."""
        if part == TCP:
            return (self.point(physics, RIGHT_FINGER) + self.point(physics, LEFT_FINGER)) / 2
        if part == KNOB:
            angle = self.joint(physics, KNOB_JOINT)
            rim = jnp.stack([jnp.sin(angle), -jnp.cos(angle), jnp.zeros_like(angle)], axis=-1)
            return self.point(physics, DIAL) + KNOB_RADIUS * rim
        return physics.points[:, self.index[part]]

    def joint(self, physics: PhysicsState, name: str) -> jax.Array:
        """(E,) position of a joint that the task reads."""
        return physics.joints[:, self.parts.joints.index(name)]

    def touch(self, physics: PhysicsState, pair: tuple[str, str]) -> jax.Array:
        """(E,) bool whether two geoms that the task asks for press on each other."""
        assert physics.touch is not None
        return physics.touch[:, self.parts.touches.index(pair)]

    def opening(self, physics: PhysicsState) -> jax.Array:
        """(E, 1) official gripper opening: clip(|right claw - left claw| / 0.1 m, 0, 1)."""
        apart = self.point(physics, RIGHT_CLAW) - self.point(physics, LEFT_CLAW)
        return jnp.clip(jnp.linalg.norm(apart, axis=-1, keepdims=True) / 0.1, 0.0, 1.0)


def layout(task: TaskSpec, reward: bool = True) -> Layout:
    """What `task` reads each step: points, rotations, joints, contacts; last, those that only its reward reads."""
    wanted = [HAND, RIGHT_CLAW, LEFT_CLAW, RIGHT_FINGER, LEFT_FINGER, task.achieved, *task.objects, *task.extras]
    joints = [task.joint[0]] if task.joint else []
    touches: tuple[tuple[str, str], ...] = ()
    if isinstance(task.target, Part):
        wanted.append(task.target)
    if task.inserted:
        wanted.append(task.inserted)
    if task.predicate:
        predicate = PREDICATES[task.predicate]
        wanted += predicate.parts
        joints += predicate.joints
        touches = predicate.touches
    if KNOB in wanted:
        wanted.append(DIAL)
        joints.append(KNOB_JOINT)
    rotations = [part for part in task.quats if isinstance(part, Part)]
    spec = REWARDS.get(task.name) if reward else None
    if spec is not None:
        wanted, rotations, joints = [*wanted, *spec.points], [*rotations, *spec.rotations], [*joints, *spec.joints]
    points = tuple(dict.fromkeys(part for part in wanted if part not in (TCP, KNOB)))
    parts = Parts(points, tuple(rotations), tuple(dict.fromkeys(joints)), touches)
    return Layout(parts, {part: place_ for place_, part in enumerate(points)})


def compact_state(task: TaskSpec, places: Layout, physics: PhysicsState) -> jax.Array:
    """(E, D) compact state: hand, gripper opening in [0, 1], achieved point, hand - achieved, tools; metres."""
    hand, achieved = places.point(physics, HAND), places.point(physics, task.achieved)
    parts = [hand, places.opening(physics), achieved, hand - achieved]
    return jnp.concatenate([*parts, *(places.point(physics, extra) for extra in task.extras)], axis=-1)


def make_scene(task: TaskSpec, reward: bool = True) -> Scene:
    """The official scene, settled, with what `task` reads, controls and places."""
    parts = layout(task, reward).parts
    return Scene(
        name=task.scene,
        model=scenes.load_model(task.scene, parts.touches),
        data=scenes.settle(task.scene, task.hand_init, task.settle_extra, parts.touches),
        parts=parts,
        control=MocapControl(task.mocap_low, task.mocap_high),
        placement=task.placement,
        hand_init=task.hand_init,
        settle_steps=scenes.SETTLE_STEPS + task.settle_extra,
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
        reward: put the official dense reward, where the task has one, among the metrics as `official_reward`.
    """

    def __init__(
        self,
        task: TaskSpec,
        num_envs: int,
        engine: str,
        goal: str,
        horizon: int,
        threads: int = 0,
        reward: bool = True,
    ):
        self.task, self.num_envs, self.engine, self.horizon = task, num_envs, engine, horizon
        self.goal = contract(task, goal)
        placed = task.placement.object_at is not None and task.joint is None
        self.free_object = placed if task.free is None else task.free
        self.reward = REWARDS.get(task.name) if reward else None
        self.layout = layout(task, reward)
        self.scene = make_scene(task, reward)
        self.physics = make_physics(engine, self.scene, num_envs, threads)
        self._settled = settled_point(self.scene)
        self._stale = self._read_stale()
        self._low, self._high = np.array(task.low, np.float32), np.array(task.high, np.float32)
        extras = len(task.extras)
        obs_shift = np.array([*_SHIFT, 0.5, *_SHIFT, 0.0, 0.0, 0.0, *_SHIFT * extras], np.float32)
        obs_scale = np.array([*_SCALE, 0.3, *_SCALE, *_SCALE, *_SCALE * extras], np.float32)
        goal_shift, goal_scale = self._goal_scales()
        self.spec = EnvSpec(
            obs_size=len(obs_shift),
            goal_size=len(goal_shift),
            action_size=self.scene.control.action_size,
            horizon=horizon,
            obs_shift=jnp.asarray(obs_shift),
            obs_scale=jnp.asarray(obs_scale),
            goal_shift=jnp.asarray(goal_shift),
            goal_scale=jnp.asarray(goal_scale),
        )

    def _read_stale(self) -> dict[Part, np.ndarray]:
        """Part -> (3,) float32: what the official reset reads before anything is placed (`Start.stale`)."""
        if self.reward is None:
            return {}
        data = scenes.unrefreshed(self.task.scene, self.task.hand_init)
        parts = self.reward.all_stale
        return {part: np.array(getattr(data, part.kind)(part.name).xpos, np.float32) for part in parts}

    def _goal_scales(self) -> tuple[np.ndarray, np.ndarray]:
        relative = self.goal == "object_relative"
        second = () if self.goal == "object" else ((0.0, 0.0, 0.0) if relative else _SHIFT)
        return (
            np.array([*_SHIFT, *second], np.float32),
            np.array([*_SCALE, *(_SCALE if second else ())], np.float32),
        )

    # -- pure functions of a readout ------------------------------------------------------------------------------

    def observe(self, physics: PhysicsState) -> jax.Array:
        """(E, D) compact state, see `compact_state`."""
        return compact_state(self.task, self.layout, physics)

    def achieved_goal(self, obs: jax.Array) -> jax.Array:
        """(..., D) -> (..., G): the goal that `obs` achieves, by the goal contract."""
        hand, achieved = obs[..., :3], obs[..., 4:7]
        if self.goal == "object":
            return achieved
        if self.goal == "hand_object":
            return jnp.concatenate([hand, achieved], axis=-1)
        return jnp.concatenate([achieved, hand - achieved], axis=-1)

    def commanded_goal(self, target: jax.Array) -> jax.Array:
        """(E, 3) position of the achieved point -> (E, G) goal, with the hand at the task's stated offset from it."""
        return goal_of(self.task, self.goal, target)

    def task_goal(self, target: jax.Array) -> jax.Array:
        """(E, 3) official target -> (E, G) goal that an episode commands, see `TaskSpec.goal_shift`."""
        return self.commanded_goal(self._met_at(target))

    def _met_at(self, target: jax.Array) -> jax.Array:
        return target + jnp.asarray(self.task.goal_shift, jnp.float32)

    def hand_in_goal(self) -> jax.Array:
        """(G,) 1 on the coordinates of a goal that the hand alone decides: all where it is the achieved point."""
        hand, other = [1.0] * 3, [0.0] * 3
        if self.task.achieved == TCP:
            return jnp.array(hand)
        return jnp.array({"object": other, "hand_object": hand + other, "object_relative": other + hand}[self.goal])

    def success(self, physics: PhysicsState, target: jax.Array) -> jax.Array:
        """(E,) the task's native success predicate (`evaluate_state` of the official file)."""
        task = self.task
        if task.predicate:
            return PREDICATES[task.predicate].holds(self.layout, physics, target)
        if task.joint:
            return self.layout.joint(physics, task.joint[0]) > task.joint[1]
        achieved = self.layout.point(physics, task.achieved)
        error = (achieved - target) * jnp.asarray(task.weights, jnp.float32)
        success = jnp.linalg.norm(error, axis=-1) <= task.radius
        if task.inserted:
            end = self.layout.point(physics, task.inserted)
            success &= end[:, 0] >= achieved[:, 0]
            success &= jnp.abs(end[:, 1] - achieved[:, 1]) <= 0.04
            success &= jnp.abs(end[:, 2] - achieved[:, 2]) <= 0.06
        return success

    def target(self, physics: PhysicsState, vector: jax.Array) -> jax.Array:
        """(E, 3) goal position of the object for the reset vector (E, R)."""
        if isinstance(self.task.target, Part):
            return self.layout.point(physics, self.task.target)
        return place(self.task.target, vector, self._settled, jnp)

    # -- GoalEnv -----------------------------------------------------------------------------------------------------

    def reset(self, key: jax.Array) -> State:
        """E fresh episodes: new starts and goals from `key`, each environment with a key of its own."""
        keys = jax.random.split(key, self.num_envs)
        return self.reset_to(self._draw(keys), keys)

    def reset_to(self, vector: jax.Array, keys: jax.Array) -> State:
        """E episodes placed by given official reset vectors (E, R); keys (E, 2) serve the episodes after them."""
        everyone = jnp.ones(self.num_envs, bool)
        physics = self.physics.reset(self.physics.initial(), everyone, vector)
        return self._start(physics, vector, keys, jnp.zeros(self.num_envs, jnp.int32))

    def step(self, state: State, action: jax.Array) -> State:
        """One env step; environments whose episode ended are restarted with a new start and goal."""
        physics = self.physics.step(state.physics, action)
        obs = self.observe(physics)
        success = self.success(physics, state.target)
        time = state.time + 1
        done = (time >= self.horizon) | physics.diverged
        metrics = self._metrics(physics, state, success)
        memory = state.memory
        if self.reward is not None:
            given = Step(self.layout.reading(physics), action, state.target, memory, state.time == 0)
            reward, memory = self.reward(given)
            # As the official `step`, which pays nothing for an unstable simulation.
            metrics["official_reward"] = jnp.where(physics.diverged, 0.0, reward)
        state = state.replace(
            physics=physics, obs=obs, success=success, time=time, done=done, metrics=metrics, memory=memory
        )
        return jax.lax.cond(done.any(), self._restart, lambda same: same, state)

    def _restart(self, state: State) -> State:
        keys = jax.vmap(lambda key: jax.random.split(key, 1)[0])(state.key)
        vector = self._draw(keys)
        physics = self.physics.reset(state.physics, state.done, vector)
        fresh = self._start(physics, vector, keys, state.episode + 1)
        fresh = fresh.replace(physics=None, metrics=None)

        def select(new: jax.Array, old: jax.Array) -> jax.Array:
            return jnp.where(state.done.reshape((-1,) + (1,) * (new.ndim - 1)), new, old)

        mixed = jax.tree.map(select, fresh, state.replace(physics=None, metrics=None))
        return mixed.replace(physics=physics, metrics=state.metrics, done=state.done)

    def _start(self, physics: PhysicsState, vector: jax.Array, keys: jax.Array, episode: jax.Array) -> State:
        target = self.target(physics, vector)
        state = State(
            physics=physics,
            obs=self.observe(physics),
            goal=self.task_goal(target),
            target=target,
            start=self.layout.point(physics, self.task.achieved),
            vector=vector,
            episode=episode,
            time=jnp.zeros(self.num_envs, jnp.int32),
            key=keys,
            success=self.success(physics, target),
            done=jnp.zeros(self.num_envs, bool),
            metrics={},
            memory=self._remember(physics, vector),
        )
        metrics = self._metrics(physics, state, state.success)
        if self.reward is not None:
            metrics["official_reward"] = jnp.zeros(self.num_envs)  # No action has been taken yet.
        return state.replace(metrics=metrics)

    def _remember(self, physics: PhysicsState, vector: jax.Array) -> Memory:
        """What the official reward remembers of a reset to `vector` (E, R) that left `physics`."""
        if self.reward is None:
            return {}
        stale = {part: jnp.asarray(point) for part, point in self._stale.items()}
        return self.reward.remember(Start(self.layout.reading(physics), stale, vector))

    def _metrics(self, physics: PhysicsState, state: State, success: jax.Array) -> dict[str, jax.Array]:
        achieved = self.layout.point(physics, self.task.achieved)
        metrics = {
            "success": success.astype(jnp.float32),
            "distance": jnp.linalg.norm(achieved - self._met_at(state.target), axis=-1),
            "diverged": physics.diverged.astype(jnp.float32),
        }
        if self.task.achieved != TCP:
            moved = jnp.linalg.norm(achieved - state.start, axis=-1) > MOVED
            metrics["object_moved"] = moved.astype(jnp.float32)
        return metrics

    def picture(self, physics: PhysicsState, target: np.ndarray, index: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """One simulation's model and data for a renderer, the goal mark moved to `target[index]`; on the host."""
        model, data = self.physics.materialise(physics, index)
        for site in range(model.nsite):
            if "goal" in model.site(site).name and model.site_bodyid[site] == 0:
                model.site_pos[site] = data.site_xpos[site] = target[index]
        return model, data

    def _draw(self, keys: jax.Array) -> jax.Array:
        """(E, R) reset vectors, uniform in [low, high]; those with object and goal too near are redrawn."""
        low, high = jnp.asarray(self._low), jnp.asarray(self._high)

        def draw(key: jax.Array) -> jax.Array:
            if not self.task.min_xy:
                return jax.random.uniform(key, low.shape, minval=low, maxval=high)
            draws = jax.random.uniform(key, (_REDRAWS, *low.shape), minval=low, maxval=high)
            fixed = self.task.min_xy_from
            other = draws[:, 3:5] if fixed is None else jnp.asarray(fixed, jnp.float32)
            apart = jnp.linalg.norm(draws[:, :2] - other, axis=-1) >= self.task.min_xy
            return draws[jnp.argmax(apart)]

        # Folded, so that a reset's draw and the environment's next key never share a key.
        return jax.vmap(lambda key: draw(jax.random.fold_in(key, 1)))(keys)


def gripper_opening(layout_: Layout, physics: PhysicsState) -> jax.Array:
    """(E, 1) official gripper opening, see `Layout.opening`."""
    return layout_.opening(physics)
