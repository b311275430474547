"""L2, EWC, MAS: fine-tuning in which each weight is pulled back to the last solution, by its importance.

The actor's loss gains pull * sum_i Omega_i (theta_i - theta*_i)^2. theta* are the parameters at the last task's end:

L2   Omega = 1.
EWC  "Overcoming catastrophic forgetting in neural networks" (arXiv:1612.00796): the diagonal of the policy's Fisher
     information, summed over the tasks so far. For a Gaussian: E[sum_a (d mean_a)^2 / std_a^2 + 2 (d log std_a)^2].
MAS  "Memory Aware Synapses" (arXiv:1711.09601): E[|d |(mean, log_std)|^2|], summed over the tasks so far.

As in Continual World (arXiv:2105.10919), each task has its own last layer, which is not pulled, and the Fisher
information is at least 1e-5. It is computed before the tanh (with the same result: the tanh is a bijection).

Departures: EWC's paper keeps a theta* for each task; here, as in Continual World, there is only the last one. With one
task each method is the plain actor.

Axis letters: B batch, A action, N tasks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from crl_jax.config import NetworkConfig
from crl_jax.config.continual import ContinualConfig
from crl_jax.continual import trees
from crl_jax.continual.method import Base, Carried, Inputs, Memory, Method, Params, Sizes, first_task

FISHER_MIN = 1e-5
Importance = Callable[[Base, Params, Inputs], Any]
"""(actor, parameters, one state (1, D), (1, G)) -> importance, a tree like the parameters."""


class Anchored(struct.PyTreeNode):
    """Memory: task () int32, theta* and Omega (trees like the actor), the finished tasks' last layers (N, ...)."""

    task: jax.Array
    anchor: Any
    importance: Any
    heads: Any


def fisher(base: Base, params: Params, state: Inputs) -> Any:
    """Diagonal of the Fisher information of the policy at one state."""
    mean, log_std = jax.jacrev(lambda theta: jax.tree.map(lambda out: out[0], base(theta, state)))(params)
    std = jnp.exp(base(params, state)[1][0])

    def information(by_mean: jax.Array, by_log_std: jax.Array) -> jax.Array:
        return jnp.tensordot(std**-2, by_mean**2, axes=1) + 2 * jnp.sum(by_log_std**2, axis=0)

    return jax.tree.map(information, mean, log_std)


def sensitivity(base: Base, params: Params, state: Inputs) -> Any:
    """|d |(mean, log_std)|^2| at one state: absolute gradient of the outputs' squared norm."""

    def squared(theta: Params) -> jax.Array:
        mean, log_std = base(theta, state)
        return jnp.sum(mean**2) + jnp.sum(log_std**2)

    return jax.tree.map(jnp.abs, jax.grad(squared)(params))


def averaged(measure: Importance, base: Base, params: Params, inputs: Inputs) -> Any:
    """Mean importance over the states of `inputs` (B, ...), one state at a time, so that one fits in memory."""

    def one(total: Any, state: Inputs) -> tuple[Any, None]:
        return trees.add(total, measure(base, params, jax.tree.map(lambda leaf: leaf[None], state))), None

    total, _ = jax.lax.scan(one, trees.scaled(0.0, params), inputs)
    return trees.scaled(1 / inputs.obs.shape[0], total)


def l2(config: ContinualConfig, network: NetworkConfig, sizes: Sizes) -> Method:
    """L2: all weights of the trunk are pulled alike."""
    return _method(config, Base(network, sizes), lambda memory, measured: jax.tree.map(jnp.ones_like, measured), None)


def ewc(config: ContinualConfig, network: NetworkConfig, sizes: Sizes) -> Method:
    """EWC: each weight is pulled by its Fisher information."""

    def summed(memory: Anchored, measured: Any) -> Any:
        return jax.tree.map(lambda old, new: old + jnp.maximum(new, FISHER_MIN), memory.importance, measured)

    return _method(config, Base(network, sizes), summed, fisher)


def mas(config: ContinualConfig, network: NetworkConfig, sizes: Sizes) -> Method:
    """MAS: each weight is pulled by the sensitivity of the outputs' squared norm to it."""
    return _method(
        config, Base(network, sizes), lambda memory, measured: trees.add(memory.importance, measured), sensitivity
    )


def _method(
    config: ContinualConfig, base: Base, accumulate: Callable[[Anchored, Any], Any], measure: Importance | None
) -> Method:
    """Fine-tuning with the pull; `accumulate`: (memory, importance measured at a task's end) -> Omega."""

    def init(key: jax.Array) -> Carried:
        params = base.init(key)
        anchor, importance = trees.scaled(0.0, params), trees.scaled(0.0, params)  # Separate buffers: both are donated.
        return params, Anchored(first_task(), anchor, importance, trees.shelf(trees.head_of(params), base.sizes.tasks))

    def apply(params: Params, memory: Memory, inputs: Inputs) -> tuple[jax.Array, jax.Array]:
        return base(params, inputs)

    def loss(params: Params, memory: Anchored, inputs: Inputs, key: jax.Array) -> jax.Array:
        def pulled(weight: jax.Array, theta: jax.Array, anchor: jax.Array) -> jax.Array:
            return jnp.sum(weight * jnp.square(theta - anchor))

        terms = jax.tree.map(pulled, memory.importance, params, memory.anchor)
        return config.pull * sum(jax.tree.leaves(terms), jnp.zeros(()))

    def end(params: Params, memory: Anchored, inputs: Inputs, key: jax.Array) -> Carried:
        measured = params if measure is None else averaged(measure, base, params, inputs)
        importance = accumulate(memory, measured)
        free = trees.scaled(0.0, trees.head_of(importance))
        anchor = jax.tree.map(jnp.copy, params)  # Separate buffers: both are donated.
        return params, memory.replace(anchor=anchor, importance=trees.with_head(importance, free))

    def start(params: Params, memory: Anchored, key: jax.Array) -> Carried:
        heads = trees.put(memory.heads, trees.head_of(params), memory.task)
        fresh = trees.with_head(params, trees.head_of(base.init(key)))
        return fresh, memory.replace(task=memory.task + 1, heads=heads)

    def view(params: Params, memory: Anchored, task: jax.Array) -> Carried:
        head = trees.choose(task < memory.task, trees.take(memory.heads, task), trees.head_of(params))
        return trees.with_head(params, head), memory

    states = 0 if measure is None else config.importance_states
    return Method(init, apply, start, view, added_loss=loss, end=end, states=states)
