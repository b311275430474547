"""Inputs of the official rewards: readouts, the memory of an episode, and the task's declaration of both.

Comments use the names of the official package (metaworld/sawyer_xyz_env.py). Its `obj_init_pos` is `memory["object"]`
here, and its `init_tcp` is `memory["tcp"]`.

Axis letters: E environments, R reset vector, A action.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from envs_mjx.physics.base import Part

HAND, RIGHT_CLAW, LEFT_CLAW = Part("body", "hand"), Part("body", "rightclaw"), Part("body", "leftclaw")
RIGHT_FINGER, LEFT_FINGER = Part("site", "rightEndEffector"), Part("site", "leftEndEffector")
RIGHT_PAD, LEFT_PAD = Part("geom", "rightpad_geom"), Part("geom", "leftpad_geom")
FINGERS = (RIGHT_FINGER, LEFT_FINGER)
PADS = (RIGHT_PAD, LEFT_PAD)
"""The pads' geoms: same centres as the bodies that official code reads, which MJX-JAX scenes fuse into the claws."""

HAND_LOW, HAND_HIGH = (-0.525, 0.348, -0.0525), (0.525, 1.025, 0.7)
"""Metres: the official `step` clips the observed hand to this box (metaworld/sawyer_xyz_env.py, `_HAND_SPACE`)."""

Memory = dict[str, jax.Array]


@dataclass(frozen=True)
class Reading:
    """Named values of E simulations, read from refreshed kinematics.

    Attributes:
        points: part -> (E, 3) metres. rotations: part -> (E, 9) row-major. joints: name -> (E,) metres or radians.
    """

    points: Mapping[Part, jax.Array]
    rotations: Mapping[Part, jax.Array]
    joints: Mapping[str, jax.Array]

    def __getitem__(self, part: Part) -> jax.Array:
        """(E, 3) metres."""
        return self.points[part]

    @property
    def tcp(self) -> jax.Array:
        """(E, 3) `tcp_center`: mean of the two finger sites."""
        return (self[RIGHT_FINGER] + self[LEFT_FINGER]) / 2.0

    @property
    def hand(self) -> jax.Array:
        """(E, 3) `obs[:3]`: the hand's position, clipped to `_HAND_SPACE` as in the official observation."""
        hand = self[HAND]
        return jnp.clip(hand, jnp.asarray(HAND_LOW, hand.dtype), jnp.asarray(HAND_HIGH, hand.dtype))

    @property
    def opening(self) -> jax.Array:
        """(E,) `obs[3]`: gripper opening in [0, 1]."""
        return jnp.clip(jnp.linalg.norm(self[RIGHT_CLAW] - self[LEFT_CLAW], axis=-1) / 0.1, 0.0, 1.0)


@dataclass(frozen=True)
class Start:
    """The start of E episodes, from which a task's memory is made.

    Attributes:
        read: the readout after the reset.
        stale: part -> (3,) position right after `_reset_hand`. The hand has settled, the object is not placed yet, and
            kinematics lag by one substep.
        vector: (E, R) official reset vector, metres.
    """

    read: Reading
    stale: Mapping[Part, jax.Array]
    vector: jax.Array

    @property
    def init_tcp(self) -> jax.Array:
        """(E, 3) `init_tcp`. Quirk: 0.07 mm off the true start, as it is read before the reset's last `mj_forward`."""
        tcp = (self.stale[RIGHT_FINGER] + self.stale[LEFT_FINGER]) / 2.0
        return jnp.broadcast_to(tcp, (len(self.vector), 3)).astype(self.read[HAND].dtype)


@dataclass(frozen=True)
class Step:
    """One env step of E simulations, as `compute_reward` sees it.

    Attributes:
        read: the readout after the step.
        action: (E, 4) as given, not clipped.
        target: (E, 3) `_target_pos`, metres.
        memory: what the reward remembers of the running episode.
        first: (E,) bool, whether this is the first step of the episode.
    """

    read: Reading
    action: jax.Array
    target: jax.Array
    memory: Memory
    first: jax.Array

    @property
    def closing(self) -> jax.Array:
        """(E,) `min(max(0, action[-1]), 1)`: the commanded closing effort of the gripper."""
        return jnp.clip(self.action[:, 3], 0.0, 1.0)


@dataclass(frozen=True)
class RewardSpec:
    """The official dense V2 reward of one task (`compute_reward`, `reward_function_version="v2"`).

    Attributes:
        reward: step -> (E,) in [0, 10].
        remember: start -> memory, leaves (E, ...): the values that the official reset stores in attributes.
        points: parts read at each step, in addition to hand, claws and fingers.
        rotations, joints: further readouts at each step, as in `Parts`.
        stale: parts that `remember` takes from `Start.stale`, in addition to the fingers.
        update: step -> memory, applied before `reward`; None: the memory is constant within an episode.
    """

    reward: Callable[[Step], jax.Array]
    remember: Callable[[Start], Memory]
    points: tuple[Part, ...] = ()
    rotations: tuple[Part, ...] = ()
    joints: tuple[str, ...] = ()
    stale: tuple[Part, ...] = ()
    update: Callable[[Step], Memory] | None = None

    @property
    def all_points(self) -> tuple[Part, ...]:
        """Every part that the reward reads, the common ones first."""
        return tuple(dict.fromkeys((HAND, RIGHT_CLAW, LEFT_CLAW, *FINGERS, *self.points)))

    @property
    def all_stale(self) -> tuple[Part, ...]:
        """Every part that `Start.stale` must hold."""
        return (*FINGERS, *self.stale)

    def __call__(self, step: Step) -> tuple[jax.Array, Memory]:
        """(E,) reward of a step and the memory for the next one."""
        if self.update is None:
            return self.reward(step), step.memory
        memory = self.update(step)
        return self.reward(Step(step.read, step.action, step.target, memory, step.first)), memory


# -- what resets remember --------------------------------------------------------------------------------------------


def from_vector(start: Start) -> Memory:
    """Memory where `obj_init_pos` is the first three values of the reset vector."""
    return {"tcp": start.init_tcp, "object": start.vector[:, :3]}


def at_height(height: float) -> Callable[[Start], Memory]:
    """Memory where `obj_init_pos` is the reset vector's xy, at the height (metres) set by the official constructor."""

    def remember(start: Start) -> Memory:
        z = jnp.full_like(start.vector[:, :1], height)
        return {"tcp": start.init_tcp, "object": jnp.concatenate([start.vector[:, :2], z], axis=-1)}

    return remember


def at_part(part: Part) -> Callable[[Start], Memory]:
    """Memory where `obj_init_pos` is the position of `part` at the start of the episode."""
    return lambda start: {"tcp": start.init_tcp, "object": start.read[part]}
