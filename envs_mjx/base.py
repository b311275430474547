"""What a learner may know of an environment: sizes, scales, and pure batched `reset` and `step`.

Axis letters: E environments, D observation, G goal, A action.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

Tree = TypeVar("Tree")
Snapshot = tuple[Any, np.ndarray, int]
"""What a picture is drawn of: (physics of a State, target (E, 3), index of the environment)."""


class EnvError(ValueError):
    """A bad request to the environments: one line that names the field, the value and what would do."""


class State(struct.PyTreeNode):
    """State of E environments between two steps.

    Attributes:
        physics: opaque state of the physics engine, leaves (E, ...).
        obs: (E, D) float32 compact state, SI units.
        goal: (E, G) float32 commanded goal of the running episode.
        target: (E, 3) float32 where the object should go.
        start: (E, 3) float32 the object's position at the start of the episode.
        vector: (E, R) float32 the official reset vector of the running episode.
        episode: (E,) int32 episode number of each environment; every reset adds one.
        time: (E,) int32 steps taken in the running episode.
        key: (E, 2) uint32 each environment's own PRNG key.
        success: (E,) bool native success predicate at `obs`.
        done: (E,) bool the step just taken ended its episode (the state is that of the NEXT episode's start).
        metrics: name -> (E,) float32 values at the end of the step just taken, before any reset.
        memory: name -> (E, ...) what the task's reward remembers of the running episode.
    """

    physics: Any
    obs: jax.Array
    goal: jax.Array
    target: jax.Array
    start: jax.Array
    vector: jax.Array
    episode: jax.Array
    time: jax.Array
    key: jax.Array
    success: jax.Array
    done: jax.Array
    metrics: dict[str, jax.Array]
    memory: dict[str, jax.Array] = struct.field(default_factory=dict)


class EnvSpec(struct.PyTreeNode):
    """Sizes and fixed input scales; the learner normalises with `(x - shift) / scale`.

    Attributes:
        obs_size, goal_size, action_size: D, G, A.
        horizon: env steps of one episode.
        obs_shift, obs_scale: (D,) float32. goal_shift, goal_scale: (G,) float32.
        buffers: (name, size) of the engine's buffers of fixed size; the metric `<name>_used` is the largest use of each
            since the reset. Beyond its size contacts are lost: see `check_buffers`.
        goal_names: what each number of a goal is, so that goals of several tasks are aligned; (): known by place alone.
    """

    obs_size: int = struct.field(pytree_node=False)
    goal_size: int = struct.field(pytree_node=False)
    action_size: int = struct.field(pytree_node=False)
    horizon: int = struct.field(pytree_node=False)
    obs_shift: jax.Array
    obs_scale: jax.Array
    goal_shift: jax.Array
    goal_scale: jax.Array
    buffers: tuple[tuple[str, int], ...] = struct.field(pytree_node=False, default=())
    goal_names: tuple[str, ...] = struct.field(pytree_node=False, default=())


class GoalEnv(Protocol):
    """E goal-conditioned environments as pure functions; `step` resets finished episodes with a NEW start and goal."""

    num_envs: int
    spec: EnvSpec
    free_object: bool
    """Whether the object can be put anywhere, rather than moving along a mechanism's own way."""

    def reset(self, key: jax.Array) -> State: ...

    def reset_each(self, keys: jax.Array) -> State:
        """E fresh episodes, each a function of its own key (E, 2) alone."""
        ...

    def reset_to(self, vector: jax.Array, keys: jax.Array) -> State:
        """E episodes placed by given reset vectors (E, R); keys (E, 2) serve the episodes after them."""
        ...

    def step(self, state: State, action: jax.Array) -> State:
        """`restart` after `advance`."""
        ...

    def advance(self, state: State, action: jax.Array) -> State:
        """One env step and no restart: where `done`, the state is the end of its episode."""
        ...

    def restart(self, state: State) -> State:
        """Begin the next episode, with a new start and goal, where `done`."""
        ...

    def frames(self, snapshots: Iterable[Snapshot], width: int, height: int, camera: str) -> np.ndarray:
        """(T, H, W, 3) uint8 pictures of T snapshots; on the host."""
        ...

    def achieved_goal(self, obs: jax.Array) -> jax.Array:
        """(..., D) -> (..., G): the goal that an observation achieves."""
        ...

    def goal_success(self, achieved_goal: jax.Array, goal: jax.Array) -> jax.Array:
        """(..., G), (..., G) -> (...,) bool native success by goals alone; EnvError where they do not decide it."""
        ...

    def commanded_goal(self, target: jax.Array) -> jax.Array:
        """(E, 3) -> (E, G): the goal of having the object (or body) at a position."""
        ...

    def commanded_point(self, target: jax.Array) -> jax.Array:
        """(E, 3) -> (E, 3): where episodes with that `State.target` ask the object to go; often the target itself."""
        ...

    def touch_goal(self, start: jax.Array) -> jax.Array:
        """(E, 3) where the object lies -> (E, G): the goal of being about to take it: the hand at it, open."""
        ...

    def object_point(self, obs: jax.Array) -> jax.Array:
        """(E, D) -> (E, 3): where the object (or body) is; 0 in a coordinate that is not observed."""
        ...

    def hand_in_goal(self) -> jax.Array:
        """(3, G) how a goal changes with the hand's position."""
        ...


def check_buffers(spec: EnvSpec, metrics: Mapping[str, Any]) -> None:
    """Refuse results for which the engine lacked room; on the host, with `State.metrics` or their maxima.

    Raises:
        EnvError: a buffer overflowed, with the size to set.
    """
    for name, size in spec.buffers:
        used = int(np.max(metrics[f"{name}_used"]))
        if used > size:
            # Half as much again, in whole 64s: what was dropped cannot ask for more.
            wanted = -(-3 * used // 2 // 64) * 64
            raise EnvError(f"{name}={size}: a step needed {used}, and the engine dropped the rest; set {name}={wanted}")


def select(mask: jax.Array, yes: Tree, no: Tree) -> Tree:
    """Environment by environment over trees of leaves (E, ...): `yes` where `mask` (E,), else `no`."""

    def pick(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(mask.reshape((-1,) + (1,) * (new.ndim - 1)), new, old)

    return jax.tree.map(pick, yes, no)
