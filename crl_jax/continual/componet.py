"""CompoNet: each task has a policy module, which attends to the actions that all earlier modules propose.

"Self-Composing Policies for Scalable Continual Reinforcement Learning" (arXiv:2506.14811, section 4). With s the input,
Phi (k, A) the means of the k earlier modules, E the sinusoidal encoding of positions and d the attention size:

    v = softmax(W_q s (W_k (Phi + E))^T / sqrt(d)) Phi                     output attention
    u = softmax(W'_q s (W'_k (P + E))^T / sqrt(d)) W'_v P,  P = [Phi; v]   input attention
    mean = v + internal(s, u)                                              internal policy: the plain actor, u an input

The first module has no attention: its v and u are 0, so that it is the plain actor on (s, 0). Earlier modules are
frozen. log_std comes from the internal policy, so it is new with each task.

Departures: s is the normalised observation and goal, without an encoder, as in the published Meta-World experiment.
Means are taken before the tanh. The published code leaves E out of the output attention of the second module; here E is
always added. log_std shares the internal policy's layers; in the published code it is a separate network.

Axis letters: B batch, A action, N tasks, M attention size.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from crl_jax.config import NetworkConfig
from crl_jax.config.continual import ContinualConfig
from crl_jax.continual import trees
from crl_jax.continual.method import Base, Carried, Filed, Inputs, Memory, Method, Params, Sizes, first_task

PROJECTIONS = ("out_query", "out_key", "in_query", "in_key", "in_value")


def positions(rows: int, size: int) -> np.ndarray:
    """(rows, size) sinusoidal encoding (arXiv:1706.03762, section 3.5); the last column of an odd size is 0."""
    pairs = size // 2
    angle = np.arange(rows)[:, None] / 10_000 ** (2 * np.arange(pairs)[None] / size)
    encoding = np.zeros((rows, size), np.float32)
    encoding[:, 0 : 2 * pairs : 2], encoding[:, 1 : 2 * pairs : 2] = np.sin(angle), np.cos(angle)
    return encoding


def attention(query: jax.Array, keys: jax.Array, values: jax.Array, used: jax.Array) -> jax.Array:
    """Scaled dot-product attention of (B, M) to the `used` (R,) rows of keys (B, R, M), values (B, R, F): (B, F)."""
    logits = jnp.einsum("bm,brm->br", query, keys) / np.sqrt(query.shape[-1])
    weights = jax.nn.softmax(jnp.where(used, logits, jnp.finfo(logits.dtype).min), axis=-1)
    return jnp.einsum("br,brf->bf", jnp.where(used, weights, 0.0), values)


def _linear(params: Any, x: jax.Array) -> jax.Array:
    return x @ params["kernel"] + params["bias"]


def make(config: ContinualConfig, network: NetworkConfig, sizes: Sizes) -> Method:
    """CompoNet for the actor."""
    tasks, width = sizes.tasks, config.attention_size
    internal = Base(network, sizes, extra_inputs=width)
    encoding = positions(tasks + 1, sizes.action)

    def module(key: jax.Array) -> Params:
        key, policy_key = jax.random.split(key)
        state, action = sizes.obs + sizes.goal, sizes.action
        made: dict[str, Any] = {"policy": internal.init(policy_key)}
        for name, one in zip(PROJECTIONS, jax.random.split(key, len(PROJECTIONS)), strict=True):
            fan_in = state if "query" in name else action
            kernel = jax.random.uniform(one, (fan_in, width), minval=-(fan_in**-0.5), maxval=fan_in**-0.5)
            made[name] = {"kernel": kernel, "bias": jnp.zeros(width)}
        return made

    def forward(unit: Params, phi: jax.Array, task: jax.Array, inputs: Inputs) -> tuple[jax.Array, jax.Array]:
        """Mean and log_std (B, A) of the module of `task`, given the means phi (B, N, A) of the earlier modules."""
        state = jnp.concatenate([inputs.obs, inputs.goal], axis=-1)
        rows = jnp.arange(tasks + 1)
        keys = _linear(unit["out_key"], phi + encoding[:tasks])
        tentative = attention(_linear(unit["out_query"], state), keys, phi, rows[:tasks] < task)
        proposed = jnp.pad(phi, ((0, 0), (0, 1), (0, 0))).at[:, task].set(tentative)
        keys, values = _linear(unit["in_key"], proposed + encoding), _linear(unit["in_value"], proposed)
        read = attention(_linear(unit["in_query"], state), keys, values, rows <= task)
        read = jnp.where(task > 0, read, 0.0)
        goal = jnp.concatenate([inputs.goal, read], axis=-1)
        mean, log_std = internal(unit["policy"], Inputs(inputs.obs, goal))
        return tentative + mean, log_std

    def init(key: jax.Array) -> Carried:
        unit = module(key)
        return unit, Filed(first_task(), trees.shelf(unit, tasks))

    def apply(params: Params, memory: Memory, inputs: Inputs) -> tuple[jax.Array, jax.Array]:
        def append(place: jax.Array, phi: jax.Array) -> jax.Array:
            return phi.at[:, place].set(forward(trees.take(memory.finished, place), phi, place, inputs)[0])

        phi = jnp.zeros((inputs.obs.shape[0], tasks, sizes.action))
        phi = jax.lax.stop_gradient(jax.lax.fori_loop(0, memory.task, append, phi))
        return forward(params, phi, memory.task, inputs)

    def start(params: Params, memory: Filed, key: jax.Array) -> Carried:
        return module(key), Filed(memory.task + 1, trees.put(memory.finished, params, memory.task))

    def view(params: Params, memory: Filed, task: jax.Array) -> Carried:
        known = trees.chosen(params, memory.finished, memory.task, task)
        return known, memory.replace(task=jnp.minimum(task, memory.task))

    return Method(init, apply, start, view)
