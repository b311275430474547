"""CBP: fine-tuning in which the least useful units are drawn anew, a few at a time.

"Continual Backprop: Stochastic Gradient Descent with Persistent Randomness" (arXiv:2108.06325, algorithm 1). A unit has
activation h. f is the running mean of h; the utility u is the running mean of |h - f| sum|w_out| / sum|w_in|. Both are
divided by 1 - decay^age. Units of age > maturity are candidates. Each update adds `replacement_rate` times the number
of candidates to the layer's count of due replacements. When the count reaches 1, the candidate of least u is replaced:
its incoming weights are drawn as at initialisation, its outgoing weights and its age become 0.

Departures: the networks have no LayerNorm, as in the paper: through LayerNorm's mean a new unit would move its whole
layer. In a residual network only units inside blocks are treated: units of the residual stream share their outgoing
weights with the stream's other sources. A replaced unit's mean output f w_out is added to the next layer's bias, as in
the authors' code. Adam's moments of the new unit's weights are cleared, and steps of these weights have the bias
correction of the unit's own age. Scoring and new last layers are as in FT-1; with replacement_rate=0 CBP is FT-1
without LayerNorm.

Axis letters: B batch, I inputs of a layer, H units of a layer, O units of the next.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from crl_jax.config import NetworkConfig
from crl_jax.config.checks import require
from crl_jax.config.continual import ContinualConfig
from crl_jax.continual import finetune, trees
from crl_jax.continual.method import Base, Carried, Inputs, Method, Params, Sizes, Stepped, first_task
from crl_jax.networks.residual import LAYERS_PER_BLOCK

BETAS = 0.9, 0.999
"""Decays of Adam's moments: the defaults of `optax.adam`."""


class Units(struct.PyTreeNode):
    """State of a layer's units: age (H,) int32 in updates, running mean and utility (H,); replacements due ()."""

    age: jax.Array
    mean: jax.Array
    utility: jax.Array
    due: jax.Array


class Observed(struct.PyTreeNode):
    """CBP's memory: task () int32, and the `Units` of each layer; those of scanned blocks have a leading axis."""

    task: jax.Array
    layers: tuple[Units, ...]


class Layer(struct.PyTreeNode):
    """Weights on both sides of a layer's units: kernel (I, H), bias (H,); out (H, O), out_bias (O,)."""

    kernel: jax.Array
    bias: jax.Array
    out: jax.Array
    out_bias: jax.Array


def treated(mlp: Any) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """(path of a treated layer, path of the layer after it) for all treated layers of an actor's body."""
    if "hidden" in mlp:
        names = [("hidden", f"dense_{index}") for index in range(len(mlp["hidden"]))]
        return list(zip(names, [*names[1:], ("head",)], strict=True))
    groups = [group for group in ("blocks", "last") if group in mlp]
    inside = range(LAYERS_PER_BLOCK - 1)
    return [((g, "layers", f"dense_{i}"), (g, "layers", f"dense_{i + 1}")) for g in groups for i in inside]


def at(tree: Any, path: tuple[str, ...]) -> Any:
    """The branch of nested dictionaries at `path`."""
    return functools.reduce(operator.getitem, path, tree)


def replaced(tree: Any, path: tuple[str, ...], branch: Any) -> Any:
    """The nested dictionaries with `branch` at `path`."""
    return {**tree, path[0]: replaced(tree[path[0]], path[1:], branch)} if path else branch


def chosen(config: ContinualConfig, layer: Layer, units: Units, hidden: jax.Array) -> tuple[Units, jax.Array]:
    """The units one update later, from their activations `hidden` (B, H); and the mask (H,) of the unit to replace."""
    decay, age = config.utility_decay, units.age + 1
    correction = 1 - decay ** age.astype(jnp.float32)
    mean = decay * units.mean + (1 - decay) * jnp.mean(hidden, axis=0)
    spread = jnp.mean(jnp.abs(hidden - mean / correction), axis=0)
    weight = jnp.sum(jnp.abs(layer.out), axis=1) / (jnp.sum(jnp.abs(layer.kernel), axis=0) + 1e-12)
    utility = decay * units.utility + (1 - decay) * spread * weight
    candidates = age > config.maturity
    due = units.due + config.replacement_rate * jnp.sum(candidates)
    least = jnp.argmin(jnp.where(candidates, utility / correction, jnp.inf))
    now = (due >= 1) & candidates.any()
    return Units(age, mean, utility, jnp.where(now, due - 1, due)), now & (jnp.arange(age.size) == least)


def redrawn(
    config: ContinualConfig, layer: Layer, units: Units, marked: jax.Array, key: jax.Array
) -> tuple[Layer, Units]:
    """The layer with the marked unit drawn anew; the unit's mean output is added to the next layer's bias."""
    bound = layer.kernel.shape[0] ** -0.5
    fresh = jax.random.uniform(key, layer.kernel.shape, minval=-bound, maxval=bound)
    mean = units.mean / (1 - config.utility_decay ** units.age.astype(jnp.float32))
    given = jnp.where(marked, mean, 0.0) @ layer.out
    new = Layer(
        kernel=jnp.where(marked, fresh, layer.kernel),
        bias=jnp.where(marked, 0.0, layer.bias),
        out=jnp.where(marked[:, None], 0.0, layer.out),
        out_bias=layer.out_bias + given,
    )
    age = jnp.where(marked, 0, units.age)
    mean, utility = (jnp.where(marked, 0.0, value) for value in (units.mean, units.utility))
    return new, Units(age, mean, utility, units.due)


def renewed(
    config: ContinualConfig, layer: Layer, units: Units, hidden: jax.Array, key: jax.Array
) -> tuple[Layer, Units, jax.Array]:
    """A layer and its units after one update: if a replacement is due, `redrawn`. Also the mask of the new unit."""
    if hidden.ndim == 3:  # Each scanned block is a layer of its own.
        keys = jax.random.split(key, hidden.shape[0])
        return jax.vmap(functools.partial(renewed, config))(layer, units, hidden, keys)
    units, marked = chosen(config, layer, units, hidden)
    return *redrawn(config, layer, units, marked, key), marked


def unseen(bias: jax.Array) -> Units:
    """A layer's units before its first update."""
    zeros = jnp.zeros(bias.shape)
    return Units(jnp.zeros(bias.shape, jnp.int32), zeros, zeros, zeros[..., 0])


def corrected(before: jax.Array, after: jax.Array, age: jax.Array, count: jax.Array) -> jax.Array:
    """Adam's step with the bias correction of `age` steps, not `count`: cleared moments are as old as their unit."""
    own, all_ = jnp.maximum(age, 1).astype(jnp.float32), count.astype(jnp.float32)
    first, second = ((1 - beta**all_) / (1 - beta**own) for beta in BETAS)
    return jnp.where(age < count, before + (after - before) * first / jnp.sqrt(second), after)


def with_own_count(step: Stepped, layers: tuple[Units, ...], mlp: Any, count: jax.Array) -> Any:
    """The body after the step, with each weight's step corrected for the age of the younger unit at its two ends."""
    ages = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 2**31 - 1), mlp)
    for (path, following), units in zip(treated(mlp), layers, strict=True):
        age = units.age + 1
        here, there = at(ages, path), at(ages, following)
        here = {"kernel": jnp.minimum(here["kernel"], age[..., None, :]), "bias": jnp.minimum(here["bias"], age)}
        ages = replaced(ages, path, here)
        ages = replaced(ages, (*following, "kernel"), jnp.minimum(there["kernel"], age[..., :, None]))
    old, new = (tree["params"]["mlp"] for tree in (step.before, step.after))
    return jax.tree.map(lambda before, after, age: corrected(before, after, age, count), old, new, ages)


def told(params: Params, memory: Observed) -> dict[str, jax.Array]:
    """Share of replaced units: units younger than the oldest unit of the network."""
    ages = jnp.concatenate([units.age.ravel() for units in memory.layers])
    return {"replaced_share": jnp.mean(ages < jnp.max(ages))}


def make(config: ContinualConfig, network: NetworkConfig, sizes: Sizes) -> Method:
    """CBP for the actor.

    Raises:
        ConfigError: a rate that would replace more than one unit of a layer per update.
    """
    most, rate = 1 / network.width, config.replacement_rate
    require(rate <= most, "replacement_rate", rate, f"at most one unit of a layer per update; nearest: {most:g}")
    network = dataclasses.replace(network, layer_norm=False, skip_last_norm=False)
    base, plain = Base(network, sizes), finetune.ft1(config, network, sizes)

    def init(key: jax.Array) -> Carried:
        params = base.init(key)
        mlp = params["params"]["mlp"]
        return params, Observed(first_task(), tuple(unseen(at(mlp, path)["bias"]) for path, _ in treated(mlp)))

    def after(
        step: Stepped, memory: Observed, inputs: Inputs, key: jax.Array
    ) -> tuple[Params, optax.OptState, Observed]:
        mlp = step.after["params"]["mlp"]
        mlp = with_own_count(step, memory.layers, mlp, trees.adam_count(step.opt_state))
        _, seen = base.actor.apply({"params": {"mlp": mlp}}, inputs.obs, inputs.goal, mutable=["intermediates"])
        keep = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, bool), mlp)
        layers: list[Units] = []
        for (path, following), units in zip(treated(mlp), memory.layers, strict=True):
            here, there = at(mlp, path), at(mlp, following)
            layer = Layer(here["kernel"], here["bias"], there["kernel"], there["bias"])
            key, own = jax.random.split(key)
            active = (*path[:-1], path[-1].replace("dense", "active"))
            hidden = at(seen["intermediates"]["mlp"], active)[0]
            layer, units, marked = renewed(config, layer, units, hidden, own)
            layers.append(units)
            mlp = replaced(mlp, path, {"kernel": layer.kernel, "bias": layer.bias})
            mlp = replaced(mlp, following, {"kernel": layer.out, "bias": layer.out_bias})
            kept, on = at(keep, path), at(keep, following)
            keep = replaced(keep, path, {"kernel": kept["kernel"] & ~marked[..., None, :], "bias": ~marked})
            keep = replaced(keep, (*following, "kernel"), on["kernel"] & ~marked[..., :, None])
        opt_state = trees.without_moments(step.opt_state, {"params": {"mlp": keep}})
        return {"params": {"mlp": mlp}}, opt_state, memory.replace(layers=tuple(layers))

    def start(params: Params, memory: Observed, key: jax.Array) -> Carried:
        return finetune.renewal(base, config.new_head)(params, key), memory.replace(task=memory.task + 1)

    return Method(init, plain.apply, start, plain.view, after=after, told=told)
