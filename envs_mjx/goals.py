"""Goal contracts: what of a state a goal commands.

Axis letters: E environments, G goal.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from envs_mjx.base import EnvError
from envs_mjx.tasks import TCP, TaskSpec

GOALS = ("object", "hand_object", "object_relative")
"""Goal contracts: [object]; [hand, object]; [object, hand - object] (the lab journal's)."""


def contract(task: TaskSpec, goal: str) -> str:
    """The goal contract `goal` as it is for `task`: [hand] where the hand itself is the achieved point.

    Raises:
        EnvError: no such contract.
    """
    if goal not in GOALS:
        raise EnvError(f"goal={goal!r}: no such goal contract; one of {', '.join(GOALS)}")
    return "object" if task.achieved == TCP else goal


def goal_of(task: TaskSpec, goal: str, target: jax.Array) -> jax.Array:
    """(E, 3) position of the achieved point -> (E, G) goal of a contract, the hand at the task's stated offset."""
    offset = jnp.broadcast_to(jnp.asarray(task.hand_offset, jnp.float32), target.shape)
    if goal == "object":
        return target
    if goal == "hand_object":
        return jnp.concatenate([target + offset, target], axis=-1)
    return jnp.concatenate([target, offset], axis=-1)
