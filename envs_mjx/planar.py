"""What goal environments of one body over a plane share: a goal is where the body is to be, seen from above.

Axis letters: E environments, R reset vector.
"""

from __future__ import annotations

import abc
from typing import Any

import jax
import jax.numpy as jnp

from envs_mjx.base import EnvSpec, State, select


class Planar(abc.ABC):
    """The parts of `GoalEnv` that follow from a goal (2,) which is the beginning of an observation."""

    free_object = True
    num_envs: int
    spec: EnvSpec
    radius: float
    """Success: the body nearer to the goal than this, in the units of the observation."""

    @abc.abstractmethod
    def advance(self, state: State, action: jax.Array) -> State:
        """One env step and no restart: where `done`, the state is the end of its episode."""

    @abc.abstractmethod
    def _draw(self, keys: jax.Array) -> jax.Array:
        """Reset vectors (E, R), the goal (2,) last, each a function of its own key (E, 2) alone."""

    @abc.abstractmethod
    def _place(self, vector: jax.Array) -> tuple[Any, jax.Array, jax.Array]:
        """Physics, observations (E, D) and the body's positions (E, 3) at the start, from reset vectors (E, R)."""

    def reset(self, key: jax.Array) -> State:
        """E fresh episodes from one key."""
        return self.reset_each(jax.random.split(key, self.num_envs))

    def reset_each(self, keys: jax.Array) -> State:
        """E fresh episodes, each a function of its own key (E, 2) alone."""
        return self.reset_to(self._draw(keys), keys)

    def reset_to(self, vector: jax.Array, keys: jax.Array) -> State:
        """E episodes from given reset vectors (E, R); keys (E, 2) serve the episodes after them."""
        return self._start(vector, keys, jnp.zeros(self.num_envs, jnp.int32))

    def step(self, state: State, action: jax.Array) -> State:
        """One env step; environments whose episode ended are restarted."""
        return self.restart(self.advance(state, action))

    def restart(self, state: State) -> State:
        """Begin the next episode, with a new start and goal, where `done`."""
        # Most steps end no episode.
        return jax.lax.cond(jnp.any(state.done), self._restart, lambda same: same, state)

    def achieved_goal(self, obs: jax.Array) -> jax.Array:
        """(..., D) -> (..., 2): where the body is."""
        return obs[..., :2]

    def goal_success(self, achieved_goal: jax.Array, goal: jax.Array) -> jax.Array:
        """(..., 2), (..., 2) -> (...,) bool."""
        return jnp.linalg.norm(achieved_goal - goal, axis=-1) < self.radius

    def commanded_goal(self, target: jax.Array) -> jax.Array:
        """(E, 3) position, the height unused -> (E, 2)."""
        return target[:, :2]

    def commanded_point(self, target: jax.Array) -> jax.Array:
        """(E, 3): the target itself."""
        return target

    def touch_goal(self, start: jax.Array) -> jax.Array:
        """(E, 3) -> (E, 2): where the body starts."""
        return self.commanded_goal(start)

    def hand_in_goal(self) -> jax.Array:
        """(3, 2): the body is all of its goal."""
        return jnp.eye(3, 2)

    def _restart(self, state: State) -> State:
        keys = jax.vmap(lambda key: jax.random.split(key, 1)[0])(state.key)
        fresh = self._start(self._draw(keys), keys, state.episode + 1)
        return select(state.done, fresh, state).replace(done=state.done, metrics=state.metrics)

    def _start(self, vector: jax.Array, keys: jax.Array, episode: jax.Array) -> State:
        physics, obs, start = self._place(vector)
        goal, no = vector[:, -2:], jnp.zeros(self.num_envs, bool)
        state = State(
            physics=physics,
            obs=obs,
            goal=goal,
            target=lifted(goal),
            start=start,
            vector=vector,
            episode=episode,
            time=jnp.zeros(self.num_envs, jnp.int32),
            key=keys,
            success=no,
            done=no,
            metrics={},
        )
        return self._scored(state, no)

    def _scored(self, state: State, diverged: jax.Array) -> State:
        """The state with success and metrics at its observation."""
        achieved = self.achieved_goal(state.obs)
        success = self.goal_success(achieved, state.goal)
        metrics = {
            "success": success.astype(jnp.float32),
            "distance": jnp.linalg.norm(achieved - state.goal, axis=-1),
            "diverged": diverged.astype(jnp.float32),
        }
        return state.replace(success=success, metrics=metrics)


def lifted(position: jax.Array) -> jax.Array:
    """(E, 2) -> (E, 3) on the ground."""
    return jnp.pad(position, ((0, 0), (0, 1)))
