"""Meta-World's Sawyer as a batched goal-conditioned environment: one class for every row of `tasks.TASKS`.

Axis letters: E environments, D observation, G goal, R reset vector, A action.
"""

from __future__ import annotations

from collections.abc import Iterable

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from envs_mjx.base import EnvError, EnvSpec, Snapshot, State, ToolGoals, select
from envs_mjx.metaworld import scenes, single_goal
from envs_mjx.metaworld.goals import TOOL, achieved, contract, goal_names, goal_of, hand_in_goal, opening, scales
from envs_mjx.metaworld.layout import compact_state, layout, make_scene
from envs_mjx.metaworld.observation import observation
from envs_mjx.metaworld.rewards import REWARDS, Start, Step
from envs_mjx.metaworld.rewards.base import Memory
from envs_mjx.metaworld.success import PREDICATES
from envs_mjx.metaworld.tasks import TCP, TaskSpec
from envs_mjx.physics import make_physics
from envs_mjx.physics.base import Part, PhysicsState, buffers_used, place, settled_point
from envs_mjx.pictures.goal_poses import with_hand

MOVED = 0.01
"""Distance from its start, in metres, beyond which an object counts as moved."""
_REDRAWS = 32


class MetaWorld:
    """`GoalEnv` over E simulations of one task.

    Args:
        task: row of `TASKS`.
        num_envs: E.
        engine: "c", "warp" or "jax" (see `physics.resolve`).
        goal: goal contract, one of `GOALS`. Where the hand itself is the achieved point, every contract is [hand].
        horizon: env steps of an episode.
        threads: threads of the C engine, 0 for every core.
        reward: add the official dense reward, if the task has one, to the metrics as `official_reward`.
        naconmax, njmax: buffer sizes of engine "warp", see `envs_mjx.make`.
        posed: also read how the hand is turned, which pictures of goals need.
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
        naconmax: int = 0,
        njmax: int = 0,
        posed: bool = False,
    ):
        self.task, self.num_envs, self.engine, self.horizon = task, num_envs, engine, horizon
        self.goal = contract(task, goal)
        self.free_object, self.held_object = task.moves_freely, task.held
        self.reward = REWARDS.get(task.name) if reward else None
        self.layout = layout(task, reward)
        self.scene = with_hand(make_scene(task, reward)) if posed else make_scene(task, reward)
        self.physics = make_physics(engine, self.scene, num_envs, threads, naconmax, njmax)
        self._settled = settled_point(self.scene)
        self._stale = self._read_stale()
        self._low, self._high = np.array(task.low, np.float32), np.array(task.high, np.float32)
        (obs_shift, obs_scale), (goal_shift, goal_scale) = scales(task, self.goal)
        self.spec = EnvSpec(
            obs_size=len(obs_shift),
            goal_size=len(goal_shift),
            action_size=self.scene.control.action_size,
            horizon=horizon,
            obs_shift=jnp.asarray(obs_shift),
            obs_scale=jnp.asarray(obs_scale),
            goal_shift=jnp.asarray(goal_shift),
            goal_scale=jnp.asarray(goal_scale),
            buffers=self.physics.buffers,
            goal_names=goal_names(task, self.goal),
        )

    def _read_stale(self) -> dict[Part, np.ndarray]:
        """Part -> (3,) float32 position that the official reset reads before it places anything (`Start.stale`)."""
        if self.reward is None:
            return {}
        data = scenes.unrefreshed(self.task.scene, self.task.hand_init)
        parts = self.reward.all_stale
        return {part: np.array(getattr(data, part.kind)(part.name).xpos, np.float32) for part in parts}

    # -- pure functions of a readout ------------------------------------------------------------------------------

    def observe(self, physics: PhysicsState) -> jax.Array:
        """(E, D) compact state, see `compact_state`."""
        return compact_state(self.task, self.layout, physics)

    def observe_official(self, state: State, frame: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        """Official observation (E, 39) and its frame (E, 18) for the next call; `frame=None` begins an episode."""
        return observation(self.task, state.physics, frame, state.target)

    def achieved_goal(self, obs: jax.Array) -> jax.Array:
        """(..., D) -> (..., G): the goal that `obs` achieves under the goal contract."""
        return achieved(self.task, self.goal, obs)

    def commanded_goal(self, target: jax.Array) -> jax.Array:
        """(E, 3) position of the achieved point -> (E, G) goal, with the hand at `TaskSpec.hand_offset` from it."""
        return goal_of(self.task, self.goal, target)

    def task_goal(self, target: jax.Array) -> jax.Array:
        """(E, 3) official target -> (E, G) goal that an episode commands, see `TaskSpec.goal_shift`."""
        return self.commanded_goal(self.commanded_point(target))

    def commanded_point(self, target: jax.Array) -> jax.Array:
        """(E, 3) official target -> (E, 3) position that is asked for: `TaskSpec.goal_shift`, `TaskSpec.goal_y`."""
        point = target + jnp.asarray(self.task.goal_shift, jnp.float32)
        if self.task.goal_y is None:
            return point
        return point.at[..., 1].set(jnp.clip(point[..., 1], *self.task.goal_y))

    def touch_goal(self, start: jax.Array) -> jax.Array:
        """(E, 3) position of the object -> (E, G): the hand at the object, open if the goal includes the opening."""
        goal = self.commanded_goal(start)
        opens = self.task.full_state or opening(self.task, self.goal)
        return goal.at[..., 3].set(1.0) if opens else goal

    @property
    def tool(self) -> ToolGoals | None:
        """Goals about the tool, where the task has one and the goal contract names it."""
        tool = self.task.tool
        if tool is None or self.goal != "object_relative":
            return None
        start, at = jnp.asarray(tool.start, jnp.float32), jnp.asarray(tool.at, jnp.float32)

        def touch(obs: jax.Array) -> jax.Array:
            end = self.achieved_goal(obs)[..., TOOL]
            return self.touch_goal(self.object_point(obs)).at[..., TOOL].set(end)

        def bring(obs: jax.Array, end: jax.Array) -> jax.Array:
            here = self.object_point(obs)
            return self.commanded_goal(here).at[..., TOOL].set(end - here)

        return ToolGoals(lambda state: state.vector[:, :3] + start, lambda point: point + at, touch, bring)

    def object_point(self, obs: jax.Array) -> jax.Array:
        """(E, D) compact state -> (E, 3) position of the achieved point."""
        return obs[:, 4:7]

    def hand_in_goal(self) -> jax.Array:
        """(3, G) Jacobian of a goal with respect to the hand's position."""
        return hand_in_goal(self.task, self.goal)

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
        if task.full_state:
            success &= single_goal.quat_success(task, single_goal.turned(task, physics))
        return success

    def goal_success(self, achieved_goal: jax.Array, goal: jax.Array) -> jax.Array:
        """(..., G), (..., G) -> (...,) bool native success, computed from goals only.

        Raises:
            EnvError: native success depends on more than the goals, or the commanded goal is not the official target.
        """
        task = self.task
        if task.joint or task.inserted or task.predicate or task.goal_moved:
            raise EnvError(f"task={task.name!r}: native success ({task.success_rule}) is no function of goals")
        at = slice(4, 7) if task.full_state else slice(-3, None) if self.goal == "hand_object" else slice(3)
        error = (achieved_goal - goal)[..., at] * jnp.asarray(task.weights, jnp.float32)
        success = jnp.linalg.norm(error, axis=-1) <= task.radius
        return success & single_goal.quat_success(task, achieved_goal[..., 7:]) if task.full_state else success

    def target(self, physics: PhysicsState, vector: jax.Array) -> jax.Array:
        """(E, 3) goal position of the object for the reset vector (E, R)."""
        if isinstance(self.task.target, Part):
            return self.layout.point(physics, self.task.target)
        return place(self.task.target, vector, self._settled, jnp)

    # -- GoalEnv -----------------------------------------------------------------------------------------------------

    def reset(self, key: jax.Array) -> State:
        """E fresh episodes: `key` is split into one key per environment, which draws its start and goal."""
        return self.reset_each(jax.random.split(key, self.num_envs))

    def reset_each(self, keys: jax.Array) -> State:
        """E fresh episodes from keys (E, 2); episode i depends on keys[i] only."""
        return self.reset_to(self._draw(keys), keys)

    def reset_to(self, vector: jax.Array, keys: jax.Array) -> State:
        """E episodes placed by given official reset vectors (E, R); keys (E, 2) seed the later episodes."""
        everyone = jnp.ones(self.num_envs, bool)
        physics = self.physics.reset(self.physics.initial(), everyone, vector)
        return self._start(physics, vector, keys, jnp.zeros(self.num_envs, jnp.int32))

    def step(self, state: State, action: jax.Array) -> State:
        """One env step; ended episodes are restarted with a new start and goal."""
        return self.restart(self.advance(state, action))

    def advance(self, state: State, action: jax.Array) -> State:
        """One env step without a restart: where `done`, the state is the last of its episode."""
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
            # Like the official `step`, which gives reward 0 for an unstable simulation.
            metrics["official_reward"] = jnp.where(physics.diverged, 0.0, reward)
        return state.replace(
            physics=physics, obs=obs, success=success, time=time, done=done, metrics=metrics, memory=memory
        )

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
            goal=self.task_goal(target),
            target=target,
            start=self.layout.point(physics, self.task.achieved) + jnp.asarray(self.task.rest, jnp.float32),
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
        """The official reward's memory after a reset; `physics` is the state that reset vectors (E, R) led to."""
        if self.reward is None:
            return {}
        stale = {part: jnp.asarray(point) for part, point in self._stale.items()}
        return self.reward.remember(Start(self.layout.reading(physics), stale, vector))

    def _metrics(self, physics: PhysicsState, state: State, success: jax.Array) -> dict[str, jax.Array]:
        achieved = self.layout.point(physics, self.task.achieved)
        metrics = {
            "success": success.astype(jnp.float32),
            "distance": jnp.linalg.norm(achieved - self.commanded_point(state.target), axis=-1),
            "diverged": physics.diverged.astype(jnp.float32),
        }
        if self.task.achieved != TCP:
            moved = jnp.linalg.norm(achieved - state.start, axis=-1) > MOVED
            metrics["object_moved"] = moved.astype(jnp.float32)
        return metrics | buffers_used(self.physics.buffers, physics)

    def frames(self, snapshots: Iterable[Snapshot], width: int, height: int, camera: str) -> np.ndarray:
        """(T, H, W, 3) uint8 pictures of T snapshots by one of the scene's cameras.

        Raises:
            EnvError: no such camera, or no renderer on this machine (the message says what to install).
        """
        from envs_mjx.pictures.render import render_frames

        return render_frames((self.picture(*snapshot) for snapshot in snapshots), width, height, camera)

    def picture(self, physics: PhysicsState, target: np.ndarray, index: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """One simulation's model and data for a renderer, with the goal mark at `target[index]`; on the host."""
        model, data = self.physics.materialise(physics, index)
        for site in range(model.nsite):
            if "goal" in model.site(site).name and model.site_bodyid[site] == 0:
                model.site_pos[site] = data.site_xpos[site] = target[index]
        return model, data

    def _draw(self, keys: jax.Array) -> jax.Array:
        """(E, R) reset vectors, uniform in [low, high]; redrawn if object and goal are nearer than `min_xy`."""
        low, high = jnp.asarray(self._low), jnp.asarray(self._high)

        def draw(key: jax.Array) -> jax.Array:
            if not self.task.min_xy:
                return jax.random.uniform(key, low.shape, minval=low, maxval=high)
            draws = jax.random.uniform(key, (_REDRAWS, *low.shape), minval=low, maxval=high)
            fixed = self.task.min_xy_from
            other = draws[:, 3:5] if fixed is None else jnp.asarray(fixed, jnp.float32)
            apart = jnp.linalg.norm(draws[:, :2] - other, axis=-1) >= self.task.min_xy
            return draws[jnp.argmax(apart)]

        # `fold_in` keeps the key of this draw apart from the environment's next key.
        return jax.vmap(lambda key: draw(jax.random.fold_in(key, 1)))(keys)
