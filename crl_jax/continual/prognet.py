"""ProgNet: a column for each task, with lateral connections from the hidden layers of all earlier columns.

"Progressive Neural Networks" (arXiv:1606.04671, equation 1): h_i of column k is
f(W_i h_(i-1) + sum over j < k of U_i^(k:j) h_(i-1) of column j); only column k is trained, the others are frozen. The
output layer has lateral connections too, the first layer has none: its input is the same in all columns.

Departures: laterals are linear (equation 1), without the adapters of equation 2. In a residual network, only the first
layer of each block has laterals; they read the streams that the same block reads in the earlier columns. LayerNorm acts
on the sum. U is initialised like a layer's weights. In the first task the method is the plain actor.

Each pair of columns has lateral matrices, so that memory grows with the square of the number of tasks.

Axis letters: B batch, H width, N tasks, S hidden layers (or blocks) with laterals, U units of a layer.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from crl_jax.config import NetworkConfig
from crl_jax.config.continual import ContinualConfig
from crl_jax.continual import trees
from crl_jax.continual.method import Base, Carried, Filed, Inputs, Memory, Method, Params, Sizes, first_task
from crl_jax.networks.residual import LAYERS_PER_BLOCK, OUTPUTS_PER_UNIT, Laterals


class Column(struct.PyTreeNode):
    """One task's network.

    Attributes:
        actor: parameters of the plain actor. hidden: (N, S, H, U) and head: (N, H, 2 A) laterals from each column;
            only the laterals from earlier columns are in use.
    """

    actor: Params
    hidden: jax.Array
    head: jax.Array


def layers_with_laterals(network: NetworkConfig) -> int:
    """S: the number of hidden layers (or blocks) with laterals in an actor of this network."""
    depth = network.actor_depth
    return depth - 1 if depth < LAYERS_PER_BLOCK else depth // LAYERS_PER_BLOCK


def streams(intermediates: Any) -> jax.Array:
    """(S + 1, B, H): the inputs of a column's layers with laterals, and last the input of its output layer."""
    body = intermediates["mlp"]
    if "hidden" in body:
        return jnp.stack([body["hidden"][f"active_{index}"][0] for index in range(len(body["hidden"]))])
    blocks = [body["blocks"]["stream"][0]] if "blocks" in body else []
    last = [body["last"]["stream"][0][None]] if "last" in body else []
    return jnp.concatenate([*blocks, *last, body["stream"][0][None]])


def make(config: ContinualConfig, network: NetworkConfig, sizes: Sizes) -> Method:
    """Progressive networks for the actor."""
    base, tasks, width = Base(network, sizes), sizes.tasks, network.width
    layers = layers_with_laterals(network)
    units = width // OUTPUTS_PER_UNIT.get(network.activation, 1)

    def column(key: jax.Array) -> Column:
        actor_key, hidden_key, head_key = jax.random.split(key, 3)
        bound = width**-0.5
        hidden = jax.random.uniform(hidden_key, (tasks, layers, width, units), minval=-bound, maxval=bound)
        head = jax.random.uniform(head_key, (tasks, width, 2 * sizes.action), minval=-bound, maxval=bound)
        return Column(base.init(actor_key), hidden, head)

    def forward(one: Column, others: jax.Array, inputs: Inputs) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        """Mean and log_std (B, A), and the column's streams (S + 1, B, H).

        `others` (N, S + 1, B, H): streams of the earlier columns, 0 for all other columns.
        """
        hidden = jnp.einsum("nsbh,nshu->sbu", others[:, :-1], one.hidden)
        head = jnp.einsum("nbh,nhu->bu", others[:, -1], one.head)
        output, told = base.actor.apply(
            one.actor, inputs.obs, inputs.goal, Laterals(hidden, head), mutable=["intermediates"]
        )
        return output, streams(told["intermediates"]).astype(jnp.float32)

    def init(key: jax.Array) -> Carried:
        one = column(key)
        return one, Filed(first_task(), trees.shelf(one, tasks))

    def apply(params: Column, memory: Memory, inputs: Inputs) -> tuple[jax.Array, jax.Array]:
        def append(place: jax.Array, others: jax.Array) -> jax.Array:
            return others.at[place].set(forward(trees.take(memory.finished, place), others, inputs)[1])

        others = jnp.zeros((tasks, layers + 1, inputs.obs.shape[0], width))
        others = jax.lax.stop_gradient(jax.lax.fori_loop(0, memory.task, append, others))
        return forward(params, others, inputs)[0]

    def start(params: Column, memory: Filed, key: jax.Array) -> Carried:
        return column(key), Filed(memory.task + 1, trees.put(memory.finished, params, memory.task))

    def view(params: Column, memory: Filed, task: jax.Array) -> Carried:
        known = trees.chosen(params, memory.finished, memory.task, task)
        return known, memory.replace(task=jnp.minimum(task, memory.task))

    return Method(init, apply, start, view)
