"""CKA-RL: an actor is the sum of a base, a learned mixture of earlier tasks' knowledge vectors, and its own vector.

"Continual Knowledge Adaptation for Reinforcement Learning" (arXiv:2510.19314): theta_base is the first task's solution.
Task k uses theta_k = theta_base + sum_j alpha_j v_j + v_k with alpha = softmax(beta) over the pool. It starts with
v_k = 0 and beta ~ N(0, 1), and trains only v_k and beta. When the pool has more than `pool_size` vectors, the two with
the largest cosine similarity, computed over the whole vectors, are replaced by their mean.

Departures: `adapt="heads"` follows the published code, where vectors span only the last layer; `trunk="finetune"` also
trains the other layers, as that code does. The published code never reaches a merge; here vectors merge as in the
paper. The pool starts with the second task's vector, because the first task's solution is the base. Each finished task
is scored with theta_k as its training left it: a merge changes the pools of later tasks, but no score.

The functions on trees work on any parameters; `critic.py` uses them for the critic.  Axis letter: P pool.
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
from crl_jax.continual.method import Base, Carried, Inputs, Memory, Method, Params, Sizes, first_task


class Pool(struct.PyTreeNode):
    """Knowledge vectors: leaves (P, ...). The first `count` (() int32) vectors are in use."""

    vectors: Any
    count: jax.Array


class Adapted(struct.PyTreeNode):
    """The trained parameters: the task's own vector, which spans the whole actor, and beta (P,)."""

    vector: Any
    beta: jax.Array


class Knowledge(struct.PyTreeNode):
    """CKA-RL's memory.

    Attributes:
        task: () int32. base: theta_base; in the first task, the initial actor. pool: vectors of the adapted layers.
        finished: theta_k of each finished task, leaves (N, ...).
    """

    task: jax.Array
    base: Any
    pool: Pool
    finished: Any


def weights_of(pool: Pool, beta: jax.Array) -> jax.Array:
    """(P,) softmax(beta) over the vectors in use, 0 elsewhere."""
    used = jnp.arange(beta.size) < pool.count
    largest = jax.lax.stop_gradient(jnp.max(jnp.where(used, beta, jnp.finfo(beta.dtype).min)))
    powers = jnp.where(used, jnp.exp(jnp.where(used, beta - largest, 0.0)), 0.0)
    return powers / jnp.maximum(jnp.sum(powers), 1.0)  # At least 1 if any is in use: the largest gives exp(0).


def combination(pool: Pool, beta: jax.Array) -> Any:
    """sum_j softmax(beta)_j v_j over the vectors in use; zeros for an empty pool."""
    weights = weights_of(pool, beta)
    return jax.tree.map(lambda leaf: jnp.tensordot(weights, leaf, axes=1), pool.vectors)


def most_alike(vectors: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Indices i < j of the two rows of (P + 1, F) with the largest cosine similarity."""
    unit = vectors / jnp.maximum(jnp.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    cosine = jnp.matmul(unit, unit.T, precision=jax.lax.Precision.HIGHEST)
    pairs = jnp.where(jnp.triu(jnp.ones_like(cosine, bool), 1), cosine, -jnp.inf)
    first, second = jnp.unravel_index(jnp.argmax(pairs), pairs.shape)
    return first, second


def pushed(pool: Pool, vector: Any) -> Pool:
    """The pool with one more vector; if the pool is full, the two most alike of the P + 1 vectors become their mean."""
    size = jax.tree.leaves(pool.vectors)[0].shape[0]
    everything = jax.tree.map(lambda kept, leaf: jnp.concatenate([kept, leaf[None]]), pool.vectors, vector)
    rows = jnp.concatenate([leaf.reshape(size + 1, -1) for leaf in jax.tree.leaves(everything)], axis=1)
    first, second = most_alike(rows)

    def merged(leaf: jax.Array) -> jax.Array:
        mean = (leaf[first] + leaf[second]) / 2
        # The new vector (the last) moves to the place that the merge frees; if it was merged, the mean contains it.
        return leaf.at[second].set(leaf[size]).at[first].set(mean)[:size]

    full = pool.count == size
    put = trees.put(pool.vectors, vector, jnp.minimum(pool.count, size - 1))
    return Pool(trees.choose(full, jax.tree.map(merged, everything), put), jnp.minimum(pool.count + 1, size))


def view(params: Adapted, memory: Knowledge, task: jax.Array) -> Carried:
    """The actor of a task. A finished task is viewed as a first task: its theta_k is the base, the pool is empty."""
    alone = memory.replace(
        task=first_task(),
        base=trees.take(memory.finished, task),
        pool=memory.pool.replace(count=jnp.zeros((), jnp.int32)),
    )
    old = Adapted(trees.scaled(0.0, params.vector), params.beta), alone
    return trees.choose(task < memory.task, old, (params, memory))


def told(params: Adapted, memory: Knowledge) -> dict[str, jax.Array]:
    """Number of vectors in the pool, their largest weight, and the norms of their mixture and of the task's vector."""
    known = combination(memory.pool, params.beta)
    return {
        "pool": memory.pool.count.astype(jnp.float32),
        "largest_alpha": jnp.max(weights_of(memory.pool, params.beta)),
        "mixture_norm": optax.global_norm(known),
        "vector_norm": optax.global_norm(params.vector),
    }


def make(config: ContinualConfig, network: NetworkConfig, sizes: Sizes) -> Method:
    """CKA-RL for the actor; the first task trains the plain actor, as base + v."""
    base, heads = Base(network, sizes), config.adapt == "heads"

    def adapted(tree: Any) -> Any:
        return trees.head_of(tree) if heads else tree

    def compose(params: Adapted, memory: Knowledge) -> Params:
        """theta_k: parameters of the whole actor."""
        theta = trees.add(memory.base, params.vector)
        known = combination(memory.pool, params.beta)
        if not heads:
            return trees.add(theta, known)
        if config.trunk == "frozen":  # The trunk itself: Adam's old moments move it without a gradient.
            theta = trees.choose(memory.task > 0, trees.with_head(memory.base, trees.head_of(theta)), theta)
        return trees.with_head(theta, trees.add(trees.head_of(theta), known))

    def init(key: jax.Array) -> Carried:
        theta = base.init(key)
        zeros = trees.scaled(0.0, theta)
        pool = Pool(trees.shelf(adapted(theta), config.pool_size), jnp.zeros((), jnp.int32))
        memory = Knowledge(first_task(), theta, pool, trees.shelf(theta, sizes.tasks))
        return Adapted(zeros, jnp.zeros(config.pool_size)), memory

    def apply(params: Adapted, memory: Memory, inputs: Inputs) -> tuple[jax.Array, jax.Array]:
        return base(compose(params, memory), inputs)

    def start(params: Adapted, memory: Knowledge, key: jax.Array) -> Carried:
        finished = trees.put(memory.finished, compose(params, memory), memory.task)
        first = memory.task == 0
        whole = trees.add(memory.base, params.vector)
        kept = (
            trees.with_head(whole, trees.head_of(memory.base)) if heads and config.trunk == "finetune" else memory.base
        )
        pool = trees.choose(first, memory.pool, pushed(memory.pool, adapted(params.vector)))
        following = Knowledge(memory.task + 1, trees.choose(first, whole, kept), pool, finished)
        fresh = Adapted(trees.scaled(0.0, params.vector), jax.random.normal(key, params.beta.shape))
        return fresh, following

    return Method(init, apply, start, view, told=told)
