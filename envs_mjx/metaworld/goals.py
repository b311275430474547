"""Goal contracts: which numbers of a state a goal commands.

Axis letters: E environments, G goal.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from envs_mjx.base import EnvError
from envs_mjx.metaworld.single_goal import commanded
from envs_mjx.metaworld.tasks import TCP, TaskSpec

GOALS = ("object", "hand_object", "object_relative", "auto")
"""Names of the goal contracts.

object: [object].
hand_object: [hand, gripper opening if the task states one, object].
object_relative: [object, gripper opening if the hand holds the object on its way, hand - object]; with a tool
[object, opening, tool's working end - object, hand - grasp].
auto: object_relative where the object can be put anywhere, hand_object where it is part of a fixture. With
object_relative goals, training on hammer forgot what it had learned: the nail gives way a little
(docs/experiments/presets.md).
"""
PLACE = (0.0, 0.7, 0.1), (0.15, 0.15, 0.1)
"""Centre and spread (metres) of positions in the workspace."""
EXTRAS = 10
"""Place of the first of a task's extras in the compact state."""
TOOL = slice(4, 7)
"""Place of the tool's working end, as seen from the object, in a goal with a tool."""


def contract(task: TaskSpec, goal: str) -> str:
    """The contract that `goal` selects for `task`: "object", here [hand], where the hand is the achieved point.

    Raises:
        EnvError: no such contract.
    """
    if goal not in GOALS:
        raise EnvError(f"goal={goal!r}: no such goal contract; one of {', '.join(GOALS)}")
    return "object" if task.achieved == TCP else task.contract(goal)


def goal_of(task: TaskSpec, goal: str, target: jax.Array) -> jax.Array:
    """(E, 3) position of the achieved point -> (E, G) goal of a contract, with the hand at `hand_offset`."""
    if task.full_state:
        return commanded(task, target)
    offset = jnp.broadcast_to(jnp.asarray(task.hand_offset, jnp.float32), target.shape)
    if goal == "object":
        return target
    stated = opening(task, goal)
    grip = jnp.broadcast_to(jnp.asarray(stated, jnp.float32), (*target.shape[:-1], len(stated)))
    if goal == "hand_object":
        return jnp.concatenate([target + offset, grip, target], axis=-1)
    if task.tool:
        at = jnp.broadcast_to(jnp.asarray(task.tool.at, jnp.float32), target.shape)
        return jnp.concatenate([target, grip, at, offset], axis=-1)
    return jnp.concatenate([target, grip, offset], axis=-1)


def achieved(task: TaskSpec, goal: str, obs: jax.Array) -> jax.Array:
    """(..., D) compact state -> (..., G): the goal that the state achieves."""
    if task.full_state:
        return obs
    hand, point = obs[..., :3], obs[..., 4:7]
    if goal == "object":
        return point
    grip = obs[..., 3 : 3 + len(opening(task, goal))]
    if goal == "hand_object":
        return jnp.concatenate([hand, grip, point], axis=-1)
    if task.tool:
        grasp, end = (obs[..., EXTRAS + 3 * index :][..., :3] for index in (task.tool.grasp, task.tool.end))
        return jnp.concatenate([point, grip, end - point, hand - grasp], axis=-1)
    return jnp.concatenate([point, grip, hand - point], axis=-1)


def hand_in_goal(task: TaskSpec, goal: str) -> jax.Array:
    """(3, G) Jacobian of a goal with respect to the hand's position; identity where the hand is the achieved point."""
    (shift, _), _ = scales(task, goal)
    moved = np.zeros((3, len(shift)), np.float32)
    moved[:, :3] = np.eye(3)
    if task.achieved == TCP:
        moved[:, 4:7] = np.eye(3)
    return achieved(task, goal, jnp.asarray(moved))  # Goals are linear in the state.


def goal_names(task: TaskSpec, goal: str) -> tuple[str, ...]:
    """Names of the G numbers of a goal: axes of points, the gripper's opening, parts of a quaternion."""
    point, hand, grip = _axes("object"), _axes("hand"), ("opening",) * len(opening(task, goal))
    if task.full_state:
        return (*hand, "opening", *point, *(f"turn {index}" for index in range(len(task.full_state.quat or ()))))
    seen = (*_axes("tool from object"), *_axes("hand from tool")) if task.tool else _axes("hand from object")
    return {"object": point, "hand_object": (*hand, *grip, *point), "object_relative": (*point, *grip, *seen)}[goal]


def _axes(name: str) -> tuple[str, ...]:
    return tuple(f"{name} {axis}" for axis in "xyz")


def opening(task: TaskSpec, goal: str) -> tuple[float, ...]:
    """Commanded gripper opening: (opening,), the fourth number of the goal, or () where a goal has none."""
    in_goal = goal == "hand_object" or (goal == "object_relative" and task.held)
    return (task.hand_opening,) if in_goal and task.hand_opening is not None else ()


def scales(task: TaskSpec, goal: str) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Fixed input scales of networks: ((D,) shift, (D,) scale) of compact states, then ((G,), (G,)) of goals."""
    grip, still = ((0.5,), (0.3,)), ((0.0, 0.0, 0.0), PLACE[1])
    grips = [grip] * len(opening(task, goal))
    if task.full_state:
        turns = len(task.full_state.quat or ())
        whole = _joined(PLACE, grip, PLACE, ((0.0,) * turns, (0.5,) * turns))
        return whole, whole
    links = [still] * (2 if task.tool else 1)
    second = {"object": (), "hand_object": (*grips, PLACE), "object_relative": (*grips, *links)}[goal]
    return _joined(PLACE, grip, PLACE, still, *[PLACE] * len(task.extras)), _joined(PLACE, *second)


def _joined(*pairs: tuple[tuple[float, ...], tuple[float, ...]]) -> tuple[np.ndarray, np.ndarray]:
    shifts, widths = (np.concatenate(column, dtype=np.float32) for column in zip(*pairs, strict=True))
    return shifts, widths
