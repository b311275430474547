"""The interface of a continual method: a frozen tuple of pure functions.  Axis letters: B batch, A action, N tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from crl_jax.config import NetworkConfig
from crl_jax.networks.residual import Actor

Params = Any
Memory = Any
Carried = tuple[Params, Memory]


class Inputs(struct.PyTreeNode):
    """Normalised (shifted and scaled) inputs of a policy: obs (B, D), goal (B, G)."""

    obs: jax.Array
    goal: jax.Array


class Sizes(NamedTuple):
    """Sizes that all tasks of a sequence share: observation, goal and action sizes, and the number of tasks N."""

    obs: int
    goal: int
    action: int
    tasks: int


class Stepped(NamedTuple):
    """One step of the optimiser: parameters before and after it, and its state (Adam's) after it."""

    before: Params
    after: Params
    opt_state: optax.OptState


Apply = Callable[[Params, Memory, Inputs], tuple[jax.Array, jax.Array]]
Loss = Callable[[Params, Memory, Inputs, jax.Array], jax.Array]
After = Callable[[Stepped, Memory, Inputs, jax.Array], tuple[Params, optax.OptState, Memory]]
End = Callable[[Params, Memory, Inputs, jax.Array], Carried]


class Method(NamedTuple):
    """A continual method for an actor; see the docstring of `crl_jax.continual` for the order of calls.

    Attributes:
        init: key -> (params, memory) at the start of task 0. The optimiser trains `params`; `memory` is the rest of the
            actor. `memory.task` is the () int32 number of the task being learned. Neither changes shape.
        apply: (params, memory, inputs) -> mean, log_std (B, A) of the policy, before the tanh.
        start: (params, memory, key) -> (params, memory) of the next task: keeps the last task, adds 1 to `memory.task`.
        view: (params, memory, task) -> (params, memory) for which `apply` is the policy that is scored on `task`, one
            of 0 ... `memory.task`; `task` is () int32 and may be traced.
        added_loss: (params, memory, inputs, key) -> () term added to the actor's loss. None: nothing.
        after: (step, memory, inputs, key) -> params, optimiser state and memory after a step; `inputs` are the batch's.
            None: what the optimiser returned.
        end: (params, memory, inputs, key) -> (params, memory) when a task's training ends; `inputs` are `states` rows
            of its replay. None: unchanged.
        states: number of rows that `end` reads; 0: none.
        told: (params, memory) -> scalars about the method, logged at every evaluation. None: nothing.
        retrain: number of updates after `end`, from replay and without new env steps. The optimiser's state is cleared
            before and after them.
    """

    init: Callable[[jax.Array], Carried]
    apply: Apply
    start: Callable[[Params, Memory, jax.Array], Carried]
    view: Callable[[Params, Memory, jax.Array], Carried]
    added_loss: Loss | None = None
    after: After | None = None
    end: End | None = None
    states: int = 0
    told: Callable[[Params, Memory], dict[str, jax.Array]] | None = None
    retrain: int = 0


class Base:
    """The plain actor that a method builds on: `networks.Actor` with its sizes; immutable."""

    def __init__(self, network: NetworkConfig, sizes: Sizes, extra_inputs: int = 0) -> None:
        self.network, self.sizes = network, sizes
        self.actor = Actor(network, sizes.action)
        self.inputs = sizes.obs, sizes.goal + extra_inputs

    def init(self, key: jax.Array) -> Params:
        """Fresh parameters."""
        obs, goal = (jnp.zeros((1, size)) for size in self.inputs)
        return self.actor.init(key, obs, goal)

    def __call__(self, params: Params, inputs: Inputs) -> tuple[jax.Array, jax.Array]:
        """Mean and log_std (B, A)."""
        output: Any = self.actor.apply(params, inputs.obs, inputs.goal)
        return output


class Filed(struct.PyTreeNode):
    """The memory of a method that keeps something of each finished task.

    Attributes:
        task: () int32, the task being learned. finished: what is kept, leaves (N, ...).
    """

    task: jax.Array
    finished: Any


def first_task() -> jax.Array:
    """() int32 zero: the number of the first task."""
    return jnp.zeros((), jnp.int32)
