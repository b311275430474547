"""MaskNet: fixed random weights under learned binary masks, one set of masks for each task.

"Lifelong Reinforcement Learning with Modulating Masks" (arXiv:2212.11110), the balanced linear combination. A weight is
used where its score is at least 0; the gradient ignores this threshold. Scores of task k are sum_j softmax(beta)_j s_j
over the earlier tasks' scores and its own scores, with beta = 0 at the start. The task trains its own scores and beta.
At its end the sum becomes the task's scores s_k. Weights are +-sqrt(2 / fan_in), with signs drawn once; scores start at
U[-1, 1] / sqrt(fan_in).

Departures: biases stay 0 and LayerNorm, where the network has one, stays at scale 1: the paper's layers have neither.
The last layer is masked like the others, and its two outputs are mean and log_std. With one task the actor is one
masked random network.

Axis letters: B batch, A action, N tasks.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from crl_jax.config import NetworkConfig
from crl_jax.config.continual import ContinualConfig
from crl_jax.continual import trees
from crl_jax.continual.method import Base, Carried, Inputs, Memory, Method, Params, Sizes, first_task


class Scores(struct.PyTreeNode):
    """The trained parameters: scores, a tree like the actor (unused for biases and LayerNorm), and beta (N,)."""

    own: Any
    beta: jax.Array


class Masked(struct.PyTreeNode):
    """MaskNet's memory: task () int32, the fixed weights, and the finished tasks' scores, leaves (N, ...)."""

    task: jax.Array
    weights: Any
    finished: Any


def combined(scores: Scores, memory: Masked) -> Any:
    """The current task's scores: its own scores and those of earlier tasks, weighted by softmax(beta)."""
    place = jnp.arange(scores.beta.size)
    share = jax.nn.softmax(jnp.where(place <= memory.task, scores.beta, -jnp.inf))
    earlier = jnp.where(place < memory.task, share, 0.0)
    mine = share[memory.task]
    return jax.tree.map(lambda own, old: mine * own + jnp.tensordot(earlier, old, axes=1), scores.own, memory.finished)


def straight_through(scores: jax.Array) -> jax.Array:
    """1 where a score is at least 0, else 0; its gradient is that of the identity."""
    mask = (scores >= 0).astype(scores.dtype)
    return mask + (scores - jax.lax.stop_gradient(scores))


def signed_constant(path: tuple[Any, ...], leaf: jax.Array) -> jax.Array:
    """A layer's weights (..., in, out) as +-sqrt(2 / in) with the same signs; other leaves unchanged."""
    return jnp.sign(leaf) * np.sqrt(2 / leaf.shape[-2]) if trees.is_kernel(path) else leaf


def make(config: ContinualConfig, network: NetworkConfig, sizes: Sizes) -> Method:
    """MaskNet for the actor."""
    base, tasks = Base(network, sizes), sizes.tasks

    def compose(scores: Scores, memory: Masked) -> Params:
        def masked(path: tuple[Any, ...], weights: jax.Array, score: jax.Array) -> jax.Array:
            return weights * straight_through(score) if trees.is_kernel(path) else weights

        return jax.tree_util.tree_map_with_path(masked, memory.weights, combined(scores, memory))

    def init(key: jax.Array) -> Carried:
        weights_key, scores_key = jax.random.split(key)
        weights = jax.tree_util.tree_map_with_path(signed_constant, base.init(weights_key))
        own = base.init(scores_key)  # Layers start at U[-1, 1] / sqrt(fan_in), which is how scores start.
        return Scores(own, jnp.zeros(tasks)), Masked(first_task(), weights, trees.shelf(own, tasks))

    def apply(params: Scores, memory: Memory, inputs: Inputs) -> tuple[jax.Array, jax.Array]:
        return base(compose(params, memory), inputs)

    def start(params: Scores, memory: Masked, key: jax.Array) -> Carried:
        finished = trees.put(memory.finished, combined(params, memory), memory.task)
        return Scores(base.init(key), jnp.zeros(tasks)), memory.replace(task=memory.task + 1, finished=finished)

    def view(params: Scores, memory: Masked, task: jax.Array) -> Carried:
        # A finished task is viewed as a first task: its consolidated scores have the weight 1.
        old = Scores(trees.take(memory.finished, task), jnp.zeros(tasks)), memory.replace(task=first_task())
        return trees.choose(task < memory.task, old, (params, memory))

    return Method(init, apply, start, view)
