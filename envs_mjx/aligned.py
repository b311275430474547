"""Pads the observations and goals of several tasks to one shape, so that one network serves all tasks.

An observation keeps its own numbers first; padding follows, and last, where one policy learns all tasks at once, the
task's one-hot code. Goals are aligned by the names of their numbers
(`EnvSpec.goal_names`): tasks share a column where they share a name. A task without a gripper opening in its goal
leaves that column empty. An empty place holds the fixed shift of its column, which a network sees as 0.

Axis letters: E environments, D observation of the widest task, G goal with the names of all tasks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from envs_mjx.base import EnvError, EnvSpec, GoalEnv, Snapshot, State, ToolGoals


def align(envs: Sequence[GoalEnv], coded: bool = False) -> list[Aligned]:
    """The environments with shared sizes and scales; a task may occur more than once.

    Args:
        coded: end each observation with the one-hot code of its task.

    Raises:
        EnvError: the action sizes differ.
    """
    sizes = {env.spec.action_size for env in envs}
    if len(sizes) > 1:
        told = ", ".join(map(str, sorted(sizes)))
        raise EnvError(f"tasks with actions of {told} numbers cannot be learned by one policy; take tasks of one robot")
    longest = max((env.spec for env in envs), key=lambda spec: spec.obs_size)
    names = tuple(dict.fromkeys(name for spec in _widest_first(envs) for name in _names(spec)))
    scaled: dict[str, tuple[float, float]] = {}
    for env in envs:
        shift, scale = np.asarray(env.spec.goal_shift), np.asarray(env.spec.goal_scale)
        for name, *numbers in zip(_names(env.spec), shift, scale, strict=True):
            scaled.setdefault(name, (numbers[0], numbers[1]))
    goal_shift, goal_scale = np.array([scaled[name] for name in names], np.float32).T
    codes = np.eye(len(envs) if coded else 0, dtype=np.float32)
    spec = longest.replace(
        obs_size=longest.obs_size + len(codes),
        obs_shift=jnp.concatenate([longest.obs_shift, jnp.zeros(len(codes))]),
        obs_scale=jnp.concatenate([longest.obs_scale, jnp.ones(len(codes))]),
        goal_size=len(names),
        goal_shift=jnp.asarray(goal_shift),
        goal_scale=jnp.asarray(goal_scale),
        goal_names=names,
    )
    shared = ("obs_size", "obs_shift", "obs_scale", "goal_size", "goal_shift", "goal_scale", "goal_names")
    changes = {name: getattr(spec, name) for name in shared}
    return [Aligned(env, env.spec.replace(**changes), codes[index] if coded else ()) for index, env in enumerate(envs)]


def _widest_first(envs: Sequence[GoalEnv]) -> list[EnvSpec]:
    return sorted((env.spec for env in envs), key=lambda spec: -spec.goal_size)


def _names(spec: EnvSpec) -> tuple[str, ...]:
    return spec.goal_names or tuple(str(place) for place in range(spec.goal_size))


def achieved_by_code(parts: Sequence[Aligned], obs: jax.Array) -> jax.Array:
    """Achieved goals (..., G) of observations (..., D) of coded tasks, each by the task whose code it ends with."""
    codes = obs[..., -len(parts) :]
    goals = jnp.stack([part.achieved_goal(obs) for part in parts], axis=-2)
    return jnp.sum(codes[..., None] * goals, axis=-2)


class Aligned:
    """`GoalEnv` that pads `env` to the sizes of `spec`; physics, episodes and scores stay those of `env`.

    Args:
        code: numbers with which every observation ends.
    """

    def __init__(self, env: GoalEnv, spec: EnvSpec, code: Sequence[float] | np.ndarray = ()):
        self.env, self.spec, self.code = env, spec, np.asarray(code, np.float32)
        self.num_envs, self.free_object, self.held_object = env.num_envs, env.free_object, env.held_object
        self._columns = np.array([_names(spec).index(name) for name in _names(env.spec)])

    def wide_obs(self, obs: jax.Array) -> jax.Array:
        """An observation of `env` (..., d) -> (..., D)."""
        padding = self.spec.obs_shift[obs.shape[-1] : self.spec.obs_size - len(self.code)]
        rest = jnp.concatenate([padding, self.code])
        return jnp.concatenate([obs, jnp.broadcast_to(rest, (*obs.shape[:-1], len(rest)))], axis=-1)

    def wide_goal(self, goal: jax.Array) -> jax.Array:
        """A goal of `env` (..., g) -> (..., G)."""
        empty = jnp.broadcast_to(self.spec.goal_shift, (*goal.shape[:-1], self.spec.goal_size))
        return empty.at[..., self._columns].set(goal)

    def _own_obs(self, obs: jax.Array) -> jax.Array:
        return obs[..., : self.env.spec.obs_size]

    def _own_goal(self, goal: jax.Array) -> jax.Array:
        return goal[..., self._columns]

    def _wide(self, state: State) -> State:
        return state.replace(obs=self.wide_obs(state.obs), goal=self.wide_goal(state.goal))

    def _own(self, state: State) -> State:
        return state.replace(obs=self._own_obs(state.obs), goal=self._own_goal(state.goal))

    def reset(self, key: jax.Array) -> State:
        """E fresh episodes from one key."""
        return self._wide(self.env.reset(key))

    def reset_each(self, keys: jax.Array) -> State:
        """E fresh episodes from keys (E, 2); episode i depends on keys[i] only."""
        return self._wide(self.env.reset_each(keys))

    def reset_to(self, vector: jax.Array, keys: jax.Array) -> State:
        """E episodes placed by given reset vectors (E, R); keys (E, 2) seed the later episodes."""
        return self._wide(self.env.reset_to(vector, keys))

    def step(self, state: State, action: jax.Array) -> State:
        """One env step; ended episodes are restarted."""
        return self._wide(self.env.step(self._own(state), action))

    def advance(self, state: State, action: jax.Array) -> State:
        """One env step without a restart: where `done`, the state is the last of its episode."""
        return self._wide(self.env.advance(self._own(state), action))

    def restart(self, state: State) -> State:
        """Begin the next episode, with a new start and goal, where `done`."""
        return self._wide(self.env.restart(self._own(state)))

    def frames(self, snapshots: Iterable[Snapshot], width: int, height: int, camera: str) -> np.ndarray:
        """(T, H, W, 3) uint8 pictures, drawn by `env`."""
        return self.env.frames(snapshots, width, height, camera)

    def achieved_goal(self, obs: jax.Array) -> jax.Array:
        """(..., D) -> (..., G)."""
        return self.wide_goal(self.env.achieved_goal(self._own_obs(obs)))

    def goal_success(self, achieved_goal: jax.Array, goal: jax.Array) -> jax.Array:
        """(..., G), (..., G) -> (...,) bool; EnvError where success depends on more than goals."""
        return self.env.goal_success(self._own_goal(achieved_goal), self._own_goal(goal))

    def commanded_goal(self, target: jax.Array) -> jax.Array:
        """(E, 3) -> (E, G)."""
        return self.wide_goal(self.env.commanded_goal(target))

    def commanded_point(self, target: jax.Array) -> jax.Array:
        """(E, 3) -> (E, 3)."""
        return self.env.commanded_point(target)

    def touch_goal(self, start: jax.Array) -> jax.Array:
        """(E, 3) position of the object -> (E, G)."""
        return self.wide_goal(self.env.touch_goal(start))

    def object_point(self, obs: jax.Array) -> jax.Array:
        """(E, D) -> (E, 3) position of the object."""
        return self.env.object_point(self._own_obs(obs))

    @property
    def tool(self) -> ToolGoals | None:
        """The tool's goals, padded."""
        own = self.env.tool
        if own is None:
            return None
        return ToolGoals(
            lies=lambda state: own.lies(self._own(state)),
            reaches=own.reaches,
            touch=lambda obs: self.wide_goal(own.touch(self._own_obs(obs))),
            bring=lambda obs, end: self.wide_goal(own.bring(self._own_obs(obs), end)),
        )

    def hand_in_goal(self) -> jax.Array:
        """(3, G) Jacobian of a goal with respect to the hand's position; 0 in empty columns."""
        return jnp.zeros((3, self.spec.goal_size)).at[:, self._columns].set(self.env.hand_in_goal())
