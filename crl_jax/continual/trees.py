"""Trees of parameters: shelves with a place for each task, the actor's head, Adam's moments.  Axis letter: N places."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

Tree = Any


def shelf(tree: Tree, places: int) -> Tree:
    """A shelf: zeros with room for `places` trees like this one, leaves (N, ...)."""
    return jax.tree.map(lambda leaf: jnp.zeros((places, *leaf.shape), leaf.dtype), tree)


def put(shelf: Tree, tree: Tree, place: jax.Array) -> Tree:
    """The shelf with `tree` at `place`."""
    return jax.tree.map(lambda kept, leaf: kept.at[place].set(leaf), shelf, tree)


def take(shelf: Tree, place: jax.Array) -> Tree:
    """The tree at `place`."""
    return jax.tree.map(lambda kept: jax.lax.dynamic_index_in_dim(kept, place, keepdims=False), shelf)


def choose(condition: jax.Array, yes: Tree, no: Tree) -> Tree:
    """One of two trees, by a () bool."""
    return jax.tree.map(lambda one, other: jnp.where(condition, one, other), yes, no)


def where(masks: Tree, yes: Tree, no: Tree) -> Tree:
    """Element by element: `yes` where the bool tree `masks` is True, else `no`."""
    return jax.tree.map(jnp.where, masks, yes, no)


def chosen(running: Tree, shelf: Tree, task: jax.Array, number: jax.Array) -> Tree:
    """The tree of task `number`: from the shelf if `number` < `task`, the task being learned; else `running`."""
    return choose(number < task, take(shelf, number), running)


def scaled(factor: jax.Array | float, tree: Tree) -> Tree:
    """Each leaf times `factor`."""
    return jax.tree.map(lambda leaf: factor * leaf, tree)


def add(one: Tree, other: Tree) -> Tree:
    """The sum of two trees, leaf by leaf."""
    return jax.tree.map(jnp.add, one, other)


def head_of(actor: Tree) -> Tree:
    """Weights and bias of an actor's last layer."""
    return actor["params"]["mlp"]["head"]


def with_head(actor: Tree, head: Tree) -> Tree:
    """The actor's parameters with another last layer."""
    return {"params": {"mlp": {**actor["params"]["mlp"], "head": head}}}


def is_kernel(path: tuple[Any, ...]) -> bool:
    """Whether a path of `jax.tree_util` leads to the weights of a Dense layer: not to a bias, not to LayerNorm."""
    return bool(path[-1].key == "kernel")


def over_moments(opt_state: optax.OptState, function: Callable[[Tree], Tree]) -> optax.OptState:
    """The optimiser's state with `function` applied to both of Adam's moments, trees like the parameters."""

    def inner(node: Any) -> Any:
        if isinstance(node, optax.ScaleByAdamState):
            return node._replace(mu=function(node.mu), nu=function(node.nu))
        return node

    return jax.tree.map(inner, opt_state, is_leaf=lambda node: isinstance(node, optax.ScaleByAdamState))


def adam_count(opt_state: optax.OptState) -> jax.Array:
    """() int32 number of steps that Adam has made.

    Raises:
        ValueError: an optimiser without Adam.
    """
    nodes = jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, optax.ScaleByAdamState))
    counts = [node.count for node in nodes if isinstance(node, optax.ScaleByAdamState)]
    if not counts:
        raise ValueError("the optimiser's state holds no moments of Adam")
    return counts[0]


def without_moments(opt_state: optax.OptState, keep: Tree) -> optax.OptState:
    """The optimiser's state with both of Adam's moments 0 where the bool tree `keep` is False."""
    return over_moments(opt_state, lambda moment: jax.tree.map(lambda kept, leaf: kept * leaf, keep, moment))
