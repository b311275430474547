"""ClonEx (BC): a KL term keeps the actor near its earlier policies, on stored states of earlier tasks.

"Disentangling Transfer in Continual Reinforcement Learning" (arXiv:2209.13900): at a task's end, some states of its
replay are stored with the policy's mean and log_std at these states. In later tasks the actor's loss gains
clone_weight * E[KL(stored policy || current policy)] over the stored states. Each task has its own last layer; only
this term trains the last layers of earlier tasks. With one task the method is the plain actor.

Departures: the term takes equally many states of each earlier task. The paper samples all stored states uniformly: the
same, since all tasks store equally many. The paper's ClonEx also explores with an earlier task's policy at a task's
start. That belongs to acting and is not implemented: this is the paper's BC.

Axis letters: B batch, A action, N tasks, M stored states of a task.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from crl_jax.config import NetworkConfig
from crl_jax.config.continual import ContinualConfig
from crl_jax.continual import trees
from crl_jax.continual.method import Base, Carried, Inputs, Memory, Method, Params, Sizes, first_task


class MultiHead(struct.PyTreeNode):
    """The trained parameters: an actor without its last layer, and a last layer for each task, leaves (N, ...)."""

    trunk: Any
    heads: Any


class Stored(struct.PyTreeNode):
    """ClonEx's memory: task () int32; each finished task's states (N, M, ...) and their mean and log_std (N, M, A)."""

    task: jax.Array
    states: Inputs
    mean: jax.Array
    log_std: jax.Array


def gaussian_kl(mean: jax.Array, log_std: jax.Array, other_mean: jax.Array, other_log_std: jax.Array) -> jax.Array:
    """KL(N(mean, std^2) || N(other mean, other std^2)): (..., A) -> (...), nats, summed over the action axis."""
    ratio, distance = jnp.exp(2 * (log_std - other_log_std)), (mean - other_mean) * jnp.exp(-other_log_std)
    return jnp.sum(other_log_std - log_std + 0.5 * (ratio + distance**2 - 1), axis=-1)


def make(config: ContinualConfig, network: NetworkConfig, sizes: Sizes) -> Method:
    """Behavioural cloning of earlier tasks' policies, for the actor."""
    base, tasks, kept = Base(network, sizes), sizes.tasks, config.stored_states
    each = -(-config.clone_batch // tasks)

    def actor(params: MultiHead, task: jax.Array) -> Params:
        return trees.with_head(params.trunk, trees.take(params.heads, task))

    def init(key: jax.Array) -> Carried:
        trunk_key, heads_key = jax.random.split(key)
        heads = jax.vmap(lambda one: trees.head_of(base.init(one)))(jax.random.split(heads_key, tasks))
        mlp = dict(base.init(trunk_key)["params"]["mlp"])
        first = mlp.pop("head")
        heads = trees.put(heads, first, first_task())
        outputs = jnp.zeros((tasks, kept, sizes.action))
        states = Inputs(jnp.zeros((tasks, kept, sizes.obs)), jnp.zeros((tasks, kept, sizes.goal)))
        return MultiHead({"params": {"mlp": mlp}}, heads), Stored(first_task(), states, outputs, jnp.copy(outputs))

    def apply(params: MultiHead, memory: Memory, inputs: Inputs) -> tuple[jax.Array, jax.Array]:
        return base(actor(params, memory.task), inputs)

    def loss(params: MultiHead, memory: Stored, inputs: Inputs, key: jax.Array) -> jax.Array:
        rows = jax.random.randint(key, (tasks, each), 0, kept)
        known = jax.tree.map(
            lambda leaf: jnp.take_along_axis(leaf, rows[..., None], axis=1),
            (memory.states, memory.mean, memory.log_std),
        )

        def divergence(task: jax.Array, states: Inputs, mean: jax.Array, log_std: jax.Array) -> jax.Array:
            return gaussian_kl(mean, log_std, *base(actor(params, task), states))

        numbers = jnp.arange(tasks)
        divergences = jax.vmap(divergence)(numbers, *known)
        seen = jnp.where(numbers < memory.task, jnp.mean(divergences, axis=1), 0.0)
        return config.clone_weight * jnp.sum(seen) / jnp.maximum(memory.task, 1)

    def end(params: MultiHead, memory: Stored, inputs: Inputs, key: jax.Array) -> Carried:
        mean, log_std = apply(params, memory, inputs)
        stored = trees.put((memory.states, memory.mean, memory.log_std), (inputs, mean, log_std), memory.task)
        return params, Stored(memory.task, *stored)

    def start(params: MultiHead, memory: Stored, key: jax.Array) -> Carried:
        return params, memory.replace(task=memory.task + 1)

    def view(params: MultiHead, memory: Stored, task: jax.Array) -> Carried:
        return params, memory.replace(task=jnp.minimum(task, memory.task))

    return Method(init, apply, start, view, added_loss=loss, end=end, states=kept)
