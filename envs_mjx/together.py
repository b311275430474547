"""Several tasks as one vector of environments, for one policy that learns them all at once (mt10, mt50).

The first E / K environments are of the first of K tasks, the next of the second, and so on. An observation ends with
the task's one-hot code. Axis letters: E environments, K tasks, D observation, G goal, A action.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from envs_mjx.aligned import Aligned, achieved_by_code, align
from envs_mjx.base import EnvError, GoalEnv, Snapshot, State


class Together:
    """`GoalEnv` of K tasks with equally many environments each.

    What only makes sense for one task (the object, its tool, films, success from goals) is asked of a part: see
    `split`. `State.physics` is the tuple of the parts' states. `State.vector` is empty, because the tasks' reset
    vectors differ in length.

    Args:
        envs: an environment of each task; their actions and horizons must agree.
        tasks: their names.

    Raises:
        EnvError: the tasks cannot be learned by one policy, in one line.

    Attributes:
        parts: the tasks' environments, padded to one shape. tasks: their names.
    """

    def __init__(self, envs: Sequence[GoalEnv], tasks: Sequence[str]):
        self.parts, self.tasks = align(envs, coded=True), tuple(tasks)
        horizons = {env.spec.horizon for env in envs}
        if len(horizons) > 1:
            told = ", ".join(map(str, sorted(horizons)))
            raise EnvError(f"tasks with episodes of {told} steps cannot run side by side; set horizon")
        self.num_envs = sum(part.num_envs for part in self.parts)
        self.spec = self.parts[0].spec
        self.free_object = self.held_object = False
        self.tool = None

    def split(self, state: State) -> Iterator[tuple[Aligned, State]]:
        """Each part with its own state."""
        return zip(self.parts, state.physics, strict=True)

    def columns(self, number: int) -> slice:
        """The environments of a task, by its number."""
        each = self.num_envs // len(self.parts)
        return slice(number * each, (number + 1) * each)

    def reset(self, key: jax.Array) -> State:
        """E fresh episodes from one key."""
        keys = jax.random.split(key, len(self.parts))
        return self._joined([part.reset(one) for part, one in zip(self.parts, keys, strict=True)])

    def reset_each(self, keys: jax.Array) -> State:
        """E fresh episodes from keys (E, 2); episode i depends on keys[i] only."""
        return self._joined([part.reset_each(keys[self.columns(at)]) for at, part in enumerate(self.parts)])

    def reset_to(self, vector: jax.Array, keys: jax.Array) -> State:
        """Refused: the tasks' reset vectors differ in length."""
        self._one_task("reset vectors are")

    def step(self, state: State, action: jax.Array) -> State:
        """One env step; ended episodes are restarted."""
        return self._joined([part.step(own, action[self.columns(at)]) for at, (part, own) in self._numbered(state)])

    def advance(self, state: State, action: jax.Array) -> State:
        """One env step without a restart: where `done`, the state is the last of its episode."""
        return self._joined([part.advance(own, action[self.columns(at)]) for at, (part, own) in self._numbered(state)])

    def restart(self, state: State) -> State:
        """Begin the next episode, with a new start and goal, where `done`."""
        return self._joined([part.restart(own) for part, own in self.split(state)])

    def achieved_goal(self, obs: jax.Array) -> jax.Array:
        """(..., D) -> (..., G): by the task whose code the observation ends with."""
        return achieved_by_code(self.parts, obs)

    def frames(self, snapshots: Iterable[Snapshot], width: int, height: int, camera: str) -> np.ndarray:
        """Refused: a film shows one task."""
        self._one_task("films are")

    def goal_success(self, achieved_goal: jax.Array, goal: jax.Array) -> jax.Array:
        """Refused: goals do not tell their task."""
        self._one_task("success from goals is")

    def commanded_goal(self, target: jax.Array) -> jax.Array:
        """Refused, as are the functions below: see `split`."""
        self._one_task("goals are")

    def commanded_point(self, target: jax.Array) -> jax.Array:
        self._one_task("goals are")

    def touch_goal(self, start: jax.Array) -> jax.Array:
        self._one_task("goals are")

    def object_point(self, obs: jax.Array) -> jax.Array:
        self._one_task("objects are")

    def hand_in_goal(self) -> jax.Array:
        self._one_task("goals are")

    def _one_task(self, what: str) -> NoReturn:
        raise EnvError(f"tasks={'+'.join(self.tasks)}: {what} of one task; take a part of them")

    def _numbered(self, state: State) -> Iterator[tuple[int, tuple[Aligned, State]]]:
        return enumerate(self.split(state))

    def _joined(self, states: Sequence[State]) -> State:
        """The state of all environments from those of the parts. Metrics are those that every task has."""

        def joined(leaves: Sequence[Any]) -> jax.Array:
            return jnp.concatenate(leaves, axis=0)

        names = [name for name in states[0].metrics if all(name in state.metrics for state in states)]
        fields = ("obs", "goal", "target", "start", "episode", "time", "key", "success", "done")
        values: dict[str, Any] = {name: joined([getattr(state, name) for state in states]) for name in fields}
        metrics = {name: joined([state.metrics[name] for state in states]) for name in names}
        return State(physics=tuple(states), vector=jnp.zeros((self.num_envs, 0)), metrics=metrics, **values)
