"""The interface of an environment to a learner: sizes, scales, and pure batched `reset` and `step`.

Axis letters: E environments, D observation, G goal, A action.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

Tree = TypeVar("Tree")
Snapshot = tuple[Any, np.ndarray, int]
"""What one picture shows: (physics of a State, target (E, 3), index of the environment to draw)."""


class EnvError(ValueError):
    """A bad request to the environments. The message is one line: the field, its value and a valid alternative."""


class State(struct.PyTreeNode):
    """State of E environments between two steps.

    Attributes:
        physics: opaque state of the physics engine, leaves (E, ...).
        obs: (E, D) float32 compact state, SI units.
        goal: (E, G) float32 commanded goal of the running episode.
        target: (E, 3) float32 goal position of the object.
        start: (E, 3) float32 the object's position at the start of the episode.
        vector: (E, R) float32 reset vector that placed the running episode (Meta-World: the official one).
        episode: (E,) int32 episode number of each environment; every reset adds one.
        time: (E,) int32 steps taken in the running episode.
        key: (E, 2) uint32 each environment's own PRNG key.
        success: (E,) bool native success predicate at `obs`.
        done: (E,) bool the last step ended its episode (after `step`, `obs` is already the NEXT episode's start).
        metrics: name -> (E,) float32 values at the end of the last step, before any restart.
        memory: name -> (E, ...) values from earlier in the running episode that the task's reward needs.
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
        horizon: steps of one episode, of `action_repeat` env steps each.
        obs_shift, obs_scale: (D,) float32. goal_shift, goal_scale: (G,) float32.
        buffers: (name, size) of each fixed-size buffer of the engine. The metric `<name>_used` is the buffer's largest
            use since `reset`. A use above the size means that contacts were lost: see `check_buffers`.
        goal_names: name of each number of a goal, by which the goals of several tasks are aligned; (): by index.
        action_repeat: env steps for which a step of this environment holds its action, see `repeated`.
        picture: (H, W, 3) where observations and goals are pictures, flattened, uint8; (): they are numbers.
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
    action_repeat: int = struct.field(pytree_node=False, default=1)
    picture: tuple[int, ...] = struct.field(pytree_node=False, default=())


class ToolGoals(NamedTuple):
    """Goals about a tool that the hand takes to move the object with.

    Attributes:
        lies: state -> (E, 3) position of the tool's working end at the start of the episode, metres.
        reaches: (E, 3) position of the object -> (E, 3) position of the working end in the commanded goal.
        touch: obs (E, D) -> (E, G): the open hand at the tool; object and tool stay where they are.
        bring: obs (E, D), (E, 3) -> (E, G): the hand holds the tool with its working end at a position; the object
            stays where it is.
    """

    lies: Callable[[State], jax.Array]
    reaches: Callable[[jax.Array], jax.Array]
    touch: Callable[[jax.Array], jax.Array]
    bring: Callable[[jax.Array, jax.Array], jax.Array]


class GoalEnv(Protocol):
    """E goal-conditioned environments as pure functions; `step` resets finished episodes with a NEW start and goal."""

    num_envs: int
    spec: EnvSpec
    free_object: bool
    """True: the object can be put anywhere. False: a mechanism (door, drawer, button) restricts its motion."""
    held_object: bool
    """True: the hand holds the object on its way, so that it can be at any height."""

    @property
    def tool(self) -> ToolGoals | None:
        """Set where the hand moves the object with a tool, not with its fingers."""
        ...

    def reset(self, key: jax.Array) -> State: ...

    def reset_each(self, keys: jax.Array) -> State:
        """E fresh episodes from keys (E, 2); episode i depends on keys[i] only."""
        ...

    def reset_to(self, vector: jax.Array, keys: jax.Array) -> State:
        """E episodes placed by given reset vectors (E, R); keys (E, 2) seed the later episodes."""
        ...

    def step(self, state: State, action: jax.Array) -> State:
        """One env step: `advance`, then `restart`."""
        ...

    def advance(self, state: State, action: jax.Array) -> State:
        """One env step without a restart: where `done`, the state is the last of its episode."""
        ...

    def restart(self, state: State) -> State:
        """Begin the next episode, with a new start and goal, where `done`."""
        ...

    def frames(self, snapshots: Iterable[Snapshot], width: int, height: int, camera: str) -> np.ndarray:
        """(T, H, W, 3) uint8 pictures of T snapshots; runs on the host."""
        ...

    def achieved_goal(self, obs: jax.Array) -> jax.Array:
        """(..., D) -> (..., G): the goal that an observation achieves."""
        ...

    def goal_success(self, achieved_goal: jax.Array, goal: jax.Array) -> jax.Array:
        """(..., G), (..., G) -> (...,) bool native success; EnvError where success depends on more than goals."""
        ...

    def commanded_goal(self, target: jax.Array) -> jax.Array:
        """(E, 3) -> (E, G): the goal that asks for the object (or body) at a position."""
        ...

    def commanded_point(self, target: jax.Array) -> jax.Array:
        """(E, 3) `State.target` -> (E, 3) commanded position of the object; often the target itself."""
        ...

    def touch_goal(self, start: jax.Array) -> jax.Array:
        """(E, 3) position of the object -> (E, G): the goal with the open hand at the object, before a grasp."""
        ...

    def object_point(self, obs: jax.Array) -> jax.Array:
        """(E, D) -> (E, 3): position of the object (or body); 0 in a coordinate that is not observed."""
        ...

    def hand_in_goal(self) -> jax.Array:
        """(3, G) Jacobian of a goal with respect to the hand's position."""
        ...


def with_physics(env: Any) -> Any:
    """The environment, or the one that it pads to the sizes of several tasks: the first that has physics of its own."""
    while not hasattr(env, "physics") and hasattr(env, "env"):
        env = env.env
    return env


def check_buffers(spec: EnvSpec, metrics: Mapping[str, Any]) -> None:
    """Raise if a buffer of the engine overflowed; runs on the host, on `State.metrics` or their maxima.

    Raises:
        EnvError: a buffer overflowed; the message gives the size to set.
    """
    for name, size in spec.buffers:
        used = int(np.max(metrics[f"{name}_used"]))
        if used > size:
            # 1.5 x used, rounded up to a multiple of 64: `used` is too low, since dropped contacts need room, too.
            wanted = -(-3 * used // 2 // 64) * 64
            raise EnvError(f"{name}={size}: a step needed {used}, and the engine dropped the rest; set {name}={wanted}")


def select(mask: jax.Array, yes: Tree, no: Tree) -> Tree:
    """`yes` in the environments where `mask` (E,) is true, else `no`; trees with leaves (E, ...)."""

    def pick(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(mask.reshape((-1,) + (1,) * (new.ndim - 1)), new, old)

    return jax.tree.map(pick, yes, no)
