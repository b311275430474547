"""What goal environments share whose goal is where something is to be: a part of the observation, of up to 3 numbers.

Axis letters: E environments, R reset vector, G goal.
"""

from __future__ import annotations

import abc
from typing import Any

import jax
import jax.numpy as jnp

from envs_mjx.base import EnvSpec, State, select


class Planar(abc.ABC):
    """The parts of `GoalEnv` that follow from a goal (G,), G at most 3, that is a part of the observation."""

    free_object = True
    num_envs: int
    spec: EnvSpec
    radius: float
    """Success: nearer to the goal than this, in the units of the observation."""
    others: tuple[tuple[str, float], ...] = ()
    """Name -> another radius, of a metric `success_<name>`."""
    goal_from: int = 0
    """The achieved goal is observation[goal_from : goal_from + G]."""
    hand_is_goal: bool = True
    """Whether the goal is where the body itself is, rather than an object."""
    cached_reset: bool = False
    """Whether an environment restarts for ever at its first start and goal, as Brax's `AutoResetWrapper` does."""

    @abc.abstractmethod
    def advance(self, state: State, action: jax.Array) -> State:
        """One env step and no restart: where `done`, the state is the end of its episode."""

    @abc.abstractmethod
    def _draw(self, keys: jax.Array) -> jax.Array:
        """Reset vectors (E, R), the goal (G,) last, each a function of its own key (E, 2) alone."""

    @abc.abstractmethod
    def _place(self, vector: jax.Array, running: State | None) -> tuple[Any, jax.Array, jax.Array]:
        """Physics, observations (E, D) and positions (E, 3) at the start, from reset vectors (E, R).

        Args:
            running: the state whose ended episodes (`done`) are to be replaced; the others' results are not looked at.
        """

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
        """(..., D) -> (..., G): where the body, or the object, is."""
        return obs[..., self.goal_from : self.goal_from + self.spec.goal_size]

    def goal_success(self, achieved_goal: jax.Array, goal: jax.Array) -> jax.Array:
        """(..., G), (..., G) -> (...,) bool."""
        return jnp.linalg.norm(achieved_goal - goal, axis=-1) < self.radius

    def commanded_goal(self, target: jax.Array) -> jax.Array:
        """(E, 3) position -> (E, G): as many of its coordinates as a goal has."""
        return target[:, : self.spec.goal_size]

    def commanded_point(self, target: jax.Array) -> jax.Array:
        """(E, 3): the target itself."""
        return target

    def touch_goal(self, start: jax.Array) -> jax.Array:
        """(E, 3) -> (E, G): where the body, or the object, starts."""
        return self.commanded_goal(start)

    def object_point(self, obs: jax.Array) -> jax.Array:
        """(E, D) -> (E, 3): where the body, or the object, is; 0 in a coordinate that no goal has."""
        return jnp.pad(self.achieved_goal(obs), ((0, 0), (0, 3 - self.spec.goal_size)))

    def hand_in_goal(self) -> jax.Array:
        """(3, G): the body is all of its goal; where an object is, none of it."""
        return self.hand_is_goal * jnp.eye(3, self.spec.goal_size)

    def _restart(self, state: State) -> State:
        keys = jax.vmap(lambda key: jax.random.split(key, 1)[0])(state.key)
        vector = state.vector if self.cached_reset else self._draw(keys)
        fresh = self._start(vector, keys, state.episode + 1, state)
        return select(state.done, fresh, state).replace(done=state.done, metrics=state.metrics)

    def _start(self, vector: jax.Array, keys: jax.Array, episode: jax.Array, running: State | None = None) -> State:
        physics, obs, start = self._place(vector, running)
        goal, no = vector[:, -self.spec.goal_size :], jnp.zeros(self.num_envs, bool)
        state = State(
            physics=physics,
            obs=obs,
            goal=goal,
            target=self._point_of(goal),
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

    def _point_of(self, goal: jax.Array) -> jax.Array:
        """(E, G) -> (E, 3): the position that a goal asks for."""
        return lifted(goal)

    def _scored(self, state: State, diverged: jax.Array) -> State:
        """The state with success and metrics at its observation."""
        achieved = self.achieved_goal(state.obs)
        success = self.goal_success(achieved, state.goal)
        distance = jnp.linalg.norm(achieved - state.goal, axis=-1)
        metrics = {
            "success": success.astype(jnp.float32),
            "distance": distance,
            "diverged": diverged.astype(jnp.float32),
        }
        metrics |= {f"success_{name}": (distance < radius).astype(jnp.float32) for name, radius in self.others}
        return state.replace(success=success, metrics=metrics)


def lifted(position: jax.Array) -> jax.Array:
    """(E, G) -> (E, 3), G at most 3: coordinates that are not given are zero."""
    return jnp.pad(position, ((0, 0), (0, 3 - position.shape[1])))
