"""Synthetic task sequence for continual methods: regressions on random data, one compiled program for all tasks."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from crl_jax import continual
from crl_jax.config import NetworkConfig
from crl_jax.config.continual import ContinualConfig
from crl_jax.continual import trees
from crl_jax.continual.method import Inputs, Method, Sizes, Stepped

SIZES = Sizes(obs=3, goal=2, action=2, tasks=3)
PLAIN = NetworkConfig(width=8, critic_depth=1, actor_depth=2)
RESIDUAL = NetworkConfig(width=8, critic_depth=1, actor_depth=8)
SMALL = ContinualConfig(
    pool_size=1, attention_size=4, retrain_updates=3, importance_states=8, stored_states=8, clone_batch=6, maturity=2,
    replacement_rate=0.12, utility_decay=0.5, pull=10.0,
)  # fmt: skip
UPDATES, ROWS = 6, 8
TRACES: dict[Method, int] = {}


def inputs(key: jax.Array, *rows: int) -> Inputs:
    obs_key, goal_key = jax.random.split(key)
    return Inputs(jax.random.normal(obs_key, (*rows, SIZES.obs)), jax.random.normal(goal_key, (*rows, SIZES.goal)))


PROBE_KEY, DATA_KEY, INIT_KEY = 1, 2, 3


class Finished(NamedTuple):
    """Results of one task: losses, parameters, memory, and the policies (N, 2, B, A) of all N tasks on probe inputs.

    Attributes:
        trained, ended, settled, started: policies after the updates, after `end`, after retraining, after `start`.
    """

    losses: np.ndarray
    trained: np.ndarray
    ended: np.ndarray
    settled: np.ndarray
    started: np.ndarray
    params: Any
    memory: Any


def policies(method: Method, params: Any, memory: Any) -> jax.Array:
    """(N, 2, B, A): mean and log_std of every task's policy on B probe inputs."""
    probe = inputs(jax.random.key(PROBE_KEY), 4)
    return jax.lax.map(
        lambda task: jnp.stack(method.apply(*method.view(params, memory, task), probe)), jnp.arange(SIZES.tasks)
    )


def make_update(method: Method, optimiser: optax.GradientTransformation):
    def loss(params: Any, memory: Any, batch: Inputs, target: jax.Array, key: jax.Array) -> jax.Array:
        mean, log_std = method.apply(params, memory, batch)
        own = jnp.mean((mean - target) ** 2) + jnp.mean((log_std + 1) ** 2)
        return own if method.added_loss is None else own + method.added_loss(params, memory, batch, key)

    def update(carry: Any, given: Any) -> Any:
        params, memory, opt_state = carry
        batch, target, key = given
        loss_key, after_key = jax.random.split(key)
        value, grad = jax.value_and_grad(loss)(params, memory, batch, target, loss_key)
        step, opt_state = optimiser.update(grad, opt_state)
        after = optax.apply_updates(params, step)
        if method.after is None:
            return (after, memory, opt_state), value
        params, opt_state, memory = method.after(Stepped(params, after, opt_state), memory, batch, after_key)
        return (params, memory, opt_state), value

    return update


def program(method: Method, optimiser: optax.GradientTransformation):
    """One task as a compiled function: updates, end, retraining, and the start of the next task."""
    update = make_update(method, optimiser)

    @jax.jit
    def task(params: Any, memory: Any, opt_state: Any, data: Any, key: jax.Array, reset: jax.Array) -> Any:
        TRACES[method] = TRACES.get(method, 0) + 1
        end_key, start_key = jax.random.split(key)
        (params, memory, opt_state), losses = jax.lax.scan(update, (params, memory, opt_state), data)
        trained = policies(method, params, memory)
        if method.end is not None:
            states = inputs(end_key, max(method.states, 1))
            params, memory = method.end(params, memory, states, end_key)
        ended = policies(method, params, memory)
        if method.retrain:
            again = jax.tree.map(lambda leaf: leaf[: method.retrain], data)
            (params, memory, _), _ = jax.lax.scan(update, (params, memory, optimiser.init(params)), again)
        settled = policies(method, params, memory)
        left = (losses, trained, ended, settled)
        following = method.start(params, memory, start_key)
        opt_state = trees.choose(reset, optimiser.init(following[0]), opt_state)
        return (*following, opt_state), (*left, policies(method, *following), params, memory)

    return task


@functools.cache
def compiled(name: str, network: NetworkConfig, config: ContinualConfig):
    """The method, its optimiser, and the program of one task."""
    method = continual.make(dataclasses.replace(config, learner=name), network, SIZES)
    optimiser = optax.adam(1e-2)
    return method, optimiser, program(method, optimiser)


@functools.cache
def sequence(
    name: str, network: NetworkConfig = PLAIN, reset: bool = True, config: ContinualConfig = SMALL
) -> tuple[Method, list[Finished]]:
    """The method and the results of N tasks in order. Without `reset`, Adam's moments carry over to the next task."""
    method, optimiser, task = compiled(name, network, config)
    params, memory = jax.jit(method.init)(jax.random.key(INIT_KEY))
    carry: Any = (params, memory, optimiser.init(params))
    left = []
    for number in range(SIZES.tasks):
        key = jax.random.fold_in(jax.random.key(DATA_KEY), number)
        batch_key, target_key, update_key, task_key = jax.random.split(key, 4)
        target = jax.random.normal(target_key, (UPDATES, ROWS, SIZES.action))
        data = inputs(batch_key, UPDATES, ROWS), target, jax.random.split(update_key, UPDATES)
        carry, finished = task(*carry, data, task_key, jnp.array(reset))
        left.append(Finished(*jax.tree.map(np.asarray, finished)))
    return method, left
