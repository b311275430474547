"""PackNet: each task takes the largest of the weights that are still free; its weights never change afterwards.

"PackNet: Adding Multiple Tasks to a Single Network by Iterative Pruning" (arXiv:1711.05769), in the form of Continual
World (arXiv:2105.10919, appendix). A task trains the free weights and reads the weights of all earlier tasks. At its
end, in each layer, the task takes the share 1 / (left + 1) of the free weights with the largest magnitude, where `left`
is the number of tasks to come. The remaining free weights become 0, and the task trains its own weights for
`retrain_updates` more updates. Biases and LayerNorm belong to the first task. Each task has its own last layer. Task i
is scored with the weights of owners up to i, all others 0. With one task everything is kept: the plain actor.

Departures: none in what is trained. The published code masks gradients, which lets Adam's moments move frozen weights;
here the step is undone and the moments are cleared. The published threshold drops ties; here shares are exact.
Biases and LayerNorm also train in the first task's retraining.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from crl_jax.config import NetworkConfig
from crl_jax.config.continual import ContinualConfig
from crl_jax.continual import trees
from crl_jax.continual.method import Base, Carried, Inputs, Memory, Method, Params, Sizes, Stepped, first_task


class Packed(struct.PyTreeNode):
    """PackNet's memory.

    Attributes:
        task: () int32. pruned: () bool, True while the task is retrained after pruning.
        owner: int32 tree like the actor: the task that a weight belongs to; N means free.
        heads: last layers of finished tasks, leaves (N, ...).
    """

    task: jax.Array
    pruned: jax.Array
    owner: Any
    heads: Any


def trainable(memory: Packed, tasks: int) -> Any:
    """Bool tree like the actor: True where the current task may change the weight."""
    free = ~memory.pruned
    masks = jax.tree.map(lambda owner: (owner == memory.task) | ((owner == tasks) & free), memory.owner)
    return trees.with_head(masks, jax.tree.map(lambda owner: jnp.ones_like(owner, bool), trees.head_of(memory.owner)))


def largest(weights: jax.Array, free: jax.Array, parts: jax.Array) -> jax.Array:
    """Bool mask (F,) of the ceil(number of free / parts) free `weights` (F,) with the largest magnitude."""
    order = jnp.argsort(jnp.where(free, -jnp.abs(weights), jnp.inf))
    rank = jnp.zeros(weights.size, jnp.int32).at[order].set(jnp.arange(weights.size, dtype=jnp.int32))
    return free & (rank < -(-jnp.sum(free) // parts))


def owned(params: Params, memory: Packed, tasks: int) -> Any:
    """Owners of the weights after the current task has taken its share, the largest of the free weights."""
    parts = tasks - memory.task  # The tasks to come, and this one.

    def owners(path: tuple[Any, ...], weights: jax.Array, owner: jax.Array) -> jax.Array:
        if not trees.is_kernel(path):
            return owner
        layers = weights.reshape(-1, weights.shape[-2] * weights.shape[-1])  # Each scanned block by itself.
        free = (owner == tasks).reshape(layers.shape)
        mine = jax.vmap(largest, (0, 0, None))(layers, free, parts).reshape(owner.shape)
        return jnp.where(mine, memory.task, owner)

    return jax.tree_util.tree_map_with_path(owners, params, memory.owner)


def make(config: ContinualConfig, network: NetworkConfig, sizes: Sizes) -> Method:
    """PackNet for the actor."""
    base, tasks = Base(network, sizes), sizes.tasks

    def init(key: jax.Array) -> Carried:
        params = base.init(key)
        owner = jax.tree_util.tree_map_with_path(
            lambda path, leaf: jnp.full(leaf.shape, tasks if trees.is_kernel(path) else 0, jnp.int32), params
        )
        heads = trees.shelf(trees.head_of(params), tasks)
        return params, Packed(first_task(), jnp.zeros((), bool), owner, heads)

    def apply(params: Params, memory: Memory, inputs: Inputs) -> tuple[jax.Array, jax.Array]:
        return base(params, inputs)

    def after(step: Stepped, memory: Packed, inputs: Inputs, key: jax.Array) -> tuple[Params, optax.OptState, Packed]:
        masks = trainable(memory, tasks)
        params = trees.where(masks, step.after, step.before)
        return params, trees.without_moments(step.opt_state, masks), memory

    def end(params: Params, memory: Packed, inputs: Inputs, key: jax.Array) -> Carried:
        owner = owned(params, memory, tasks)
        pruned = jax.tree.map(lambda weights, own: jnp.where(own == tasks, 0.0, weights), params, owner)
        pruned = trees.with_head(pruned, trees.head_of(params))
        return pruned, memory.replace(owner=owner, pruned=jnp.ones((), bool))

    def start(params: Params, memory: Packed, key: jax.Array) -> Carried:
        heads = trees.put(memory.heads, trees.head_of(params), memory.task)
        following = memory.replace(task=memory.task + 1, pruned=jnp.zeros((), bool), heads=heads)
        return trees.with_head(params, trees.head_of(base.init(key))), following

    def view(params: Params, memory: Packed, task: jax.Array) -> Carried:
        masked = jax.tree.map(lambda weights, own: jnp.where(own <= task, weights, 0.0), params, memory.owner)
        old = trees.with_head(masked, trees.take(memory.heads, task))
        return trees.choose(task < memory.task, old, params), memory

    def free_share(params: Params, memory: Packed) -> dict[str, jax.Array]:
        owners = jax.tree_util.tree_leaves_with_path(memory.owner)
        kernels = [owner for path, owner in owners if trees.is_kernel(path)]
        free = sum(jnp.sum(owner == tasks) for owner in kernels)
        return {"free_share": free / sum(owner.size for owner in kernels)}

    return Method(init, apply, start, view, after=after, end=end, retrain=config.retrain_updates, told=free_share)
