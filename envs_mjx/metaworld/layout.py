"""What a task reads from its scene: named points, rotations, joints and contacts of a readout, and the compact state.

Axis letters: E environments, D observation.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from envs_mjx.metaworld import scenes, single_goal
from envs_mjx.metaworld.jax_scenes import load_jax_model
from envs_mjx.metaworld.rewards import REWARDS, Reading
from envs_mjx.metaworld.rewards.base import HAND, LEFT_CLAW, LEFT_FINGER, RIGHT_CLAW, RIGHT_FINGER
from envs_mjx.metaworld.success import PREDICATES
from envs_mjx.metaworld.tasks import KNOB, TCP, TaskSpec
from envs_mjx.physics.base import MocapControl, Part, Parts, PhysicsState, Scene

DIAL, KNOB_JOINT, KNOB_RADIUS = Part("body", "dial"), "knob_Joint_1", 0.05
"""Body, joint and radius (metres) of `KNOB` (metaworld/envs/sawyer_dial_turn_v3.py, `_get_pos_objects`)."""


@dataclass(frozen=True)
class Layout:
    """Looks up the named points, joints and contacts of a task in a readout."""

    parts: Parts
    index: dict[Part, int]

    def reading(self, physics: PhysicsState) -> Reading:
        """The readout by name, as rewards read it."""
        return Reading(
            {part: physics.points[:, place_] for part, place_ in self.index.items()},
            {part: physics.rotations[:, place_] for place_, part in enumerate(self.parts.rotations)},
            {name: physics.joints[:, place_] for place_, name in enumerate(self.parts.joints)},
        )

    def point(self, physics: PhysicsState, part: Part) -> jax.Array:
        """(E, 3) position of a part; TCP is the mean of the two finger sites, KNOB a point on the dial's rim."""
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
        """(E,) bool whether two geoms, a pair of `Parts.touches`, press on each other."""
        assert physics.touch is not None
        return physics.touch[:, self.parts.touches.index(pair)]

    def opening(self, physics: PhysicsState, right: Part = RIGHT_CLAW, left: Part = LEFT_CLAW) -> jax.Array:
        """(E, 1) official gripper opening: clip(|right claw - left claw| / 0.1 m, 0, 1), or that of other parts."""
        apart = self.point(physics, right) - self.point(physics, left)
        return jnp.clip(jnp.linalg.norm(apart, axis=-1, keepdims=True) / 0.1, 0.0, 1.0)


def layout(task: TaskSpec, reward: bool = True) -> Layout:
    """What `task` reads each step: points, rotations, joints, contacts. What only its reward reads comes last."""
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
    """(E, D) compact state: hand, gripper opening in [0, 1], achieved point, hand - achieved, tools; metres.

    With `TaskSpec.full_state`: hand, finger opening, achieved point, quaternion.
    """
    hand, achieved = places.point(physics, HAND), places.point(physics, task.achieved)
    if task.full_state:
        opening = places.opening(physics, RIGHT_FINGER, LEFT_FINGER)
        return jnp.concatenate([hand, opening, achieved, single_goal.turned(task, physics)], axis=-1)
    parts = [hand, places.opening(physics), achieved, hand - achieved]
    return jnp.concatenate([*parts, *(places.point(physics, extra) for extra in task.extras)], axis=-1)


def make_scene(task: TaskSpec, reward: bool = True) -> Scene:
    """The settled official scene with the readout, control and placement of `task`."""
    parts, fixture = layout(task, reward).parts, task.placement.fixture
    keep = [part.name for part in (*parts.points, *parts.rotations) if part.kind == "body"]
    return Scene(
        name=task.scene,
        model=scenes.load_model(task.scene, parts.touches),
        data=scenes.settle(task.scene, task.hand_init, task.settle_extra, parts.touches),
        parts=parts,
        control=MocapControl(task.mocap_low, task.mocap_high),
        placement=task.placement,
        hand_init=task.hand_init,
        settle_steps=scenes.SETTLE_STEPS + task.settle_extra,
        simplified=lambda: load_jax_model(task.scene, tuple(keep + [fixture] * bool(fixture)), parts.touches),
    )
