"""Base of environments with a position as goal: a slice of the observation, of up to 3 numbers.

Axis letters: E environments, R reset vector, G goal.
"""

from __future__ import annotations

import abc
from typing import Any

import jax
import jax.numpy as jnp

from envs_mjx.base import EnvSpec, State, select


class Planar(abc.ABC):
    """`GoalEnv` for goals (G,), G at most 3, that are a slice of the observation; subclasses add the physics."""

    free_object = True
    held_object = False
    tool = None
    num_envs: int
    spec: EnvSpec
    radius: float
    """Success: distance to the goal below this, in the units of the observation."""
    others: tuple[tuple[str, float], ...] = ()
    """(name, radius) of further success metrics, called `success_<name>`."""
    goal_from: int = 0
    """The achieved goal is observation[goal_from : goal_from + G]."""
    hand_is_goal: bool = True
    """True: the goal is a position of the body itself. False: of an object."""
    cached_reset: bool = False
    """Whether every restart returns to the first start and goal, as in Brax's `AutoResetWrapper`."""

    @abc.abstractmethod
    def advance(self, state: State, action: jax.Array) -> State:
        """One env step without a restart: where `done`, the state is the last of its episode."""

    @abc.abstractmethod
    def _draw(self, keys: jax.Array) -> jax.Array:
        """Reset vectors (E, R) from keys (E, 2), the goal (G,) last; vector i depends on keys[i] only."""

    @abc.abstractmethod
    def _place(self, vector: jax.Array, running: State | None) -> tuple[Any, jax.Array, jax.Array]:
        """Physics, observations (E, D) and positions (E, 3) at the start, from reset vectors (E, R).

        Args:
            running: state with ended episodes (`done`) to replace, None at a reset. Results for others are ignored.
        """

    def reset(self, key: jax.Array) -> State:
        """E fresh episodes from one key."""
        return self.reset_each(jax.random.split(key, self.num_envs))

    def reset_each(self, keys: jax.Array) -> State:
        """E fresh episodes from keys (E, 2); episode i depends on keys[i] only."""
        return self.reset_to(self._draw(keys), keys)

    def reset_to(self, vector: jax.Array, keys: jax.Array) -> State:
        """E episodes placed by given reset vectors (E, R); keys (E, 2) seed the later episodes."""
        return self._start(vector, keys, jnp.zeros(self.num_envs, jnp.int32))

    def step(self, state: State, action: jax.Array) -> State:
        """One env step; ended episodes are restarted."""
        return self.restart(self.advance(state, action))

    def restart(self, state: State) -> State:
        """Begin the next episode where `done`, with a new start and goal unless `cached_reset`."""
        # Skips the work of a restart in most steps: they end no episode.
        return jax.lax.cond(jnp.any(state.done), self._restart, lambda same: same, state)

    def achieved_goal(self, obs: jax.Array) -> jax.Array:
        """(..., D) -> (..., G): position of the body or object."""
        return obs[..., self.goal_from : self.goal_from + self.spec.goal_size]

    def goal_success(self, achieved_goal: jax.Array, goal: jax.Array) -> jax.Array:
        """(..., G), (..., G) -> (...,) bool."""
        return jnp.linalg.norm(achieved_goal - goal, axis=-1) < self.radius

    def commanded_goal(self, target: jax.Array) -> jax.Array:
        """(E, 3) position -> (E, G): the first G coordinates."""
        return target[:, : self.spec.goal_size]

    def commanded_point(self, target: jax.Array) -> jax.Array:
        """(E, 3): the target itself."""
        return target

    def touch_goal(self, start: jax.Array) -> jax.Array:
        """(E, 3) start position of the body or object -> (E, G): the goal to be there."""
        return self.commanded_goal(start)

    def object_point(self, obs: jax.Array) -> jax.Array:
        """(E, D) -> (E, 3): position of the body or object; 0 in coordinates that are not part of a goal."""
        return jnp.pad(self.achieved_goal(obs), ((0, 0), (0, 3 - self.spec.goal_size)))

    def hand_in_goal(self) -> jax.Array:
        """(3, G) Jacobian of a goal with respect to the body's position: identity, or 0 if an object is the goal."""
        return self.hand_is_goal * jnp.eye(3, self.spec.goal_size)

    def _restart(self, state: State) -> State:
        keys = jax.vmap(lambda key: jax.random.split(key, 1)[0])(state.key)
        vector = state.vector if self.cached_reset else self._draw(keys)
        fresh = self._start(vector, keys, state.episode + 1, state)
        return select(state.done, fresh, state).replace(done=state.done, metrics=state.metrics)

    def _start(self, vector: jax.Array, keys: jax.Array, episode: jax.Array, running: State | None = None) -> State:
        physics, obs, start = self._place(vector, running)
        goal, no = self._goal_in(vector), jnp.zeros(self.num_envs, bool)
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

    def _goal_in(self, vector: jax.Array) -> jax.Array:
        """(E, R) reset vectors -> (E, G): their last numbers."""
        return vector[:, -self.spec.goal_size :]

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
    """(E, G) -> (E, 3), G at most 3: missing coordinates are zero."""
    return jnp.pad(position, ((0, 0), (0, 3 - position.shape[1])))
