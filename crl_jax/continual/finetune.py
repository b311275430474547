"""Learning from scratch, and fine-tuning one actor (FT-1, FT-N), the base lines of arXiv:2506.14811 and 2510.19314.

scratch: a new actor for each task; every task is scored with its own. Its learning curves are the reference of forward
transfer. FT-1: the trunk is carried on, the last layer is new with each task; all tasks are scored with the newest
actor. FT-N: the same training, and each task is scored with the actor as its training left it.

Departure: FT-1 and FT-N may also carry the last layer on (`new_head=False`).
"""

from __future__ import annotations

from collections.abc import Callable

import jax

from crl_jax.config import NetworkConfig
from crl_jax.config.continual import ContinualConfig
from crl_jax.continual import trees
from crl_jax.continual.method import Base, Carried, Filed, Inputs, Memory, Method, Params, Sizes, first_task

Renew = Callable[[Params, jax.Array], Params]


def scratch(config: ContinualConfig, network: NetworkConfig, sizes: Sizes) -> Method:
    """A new actor for each task; all are kept."""
    base = Base(network, sizes)
    return _method(base, lambda params, key: base.init(key), files=True)


def ft1(config: ContinualConfig, network: NetworkConfig, sizes: Sizes) -> Method:
    """One actor trained on, none kept."""
    base = Base(network, sizes)
    return _method(base, renewal(base, config.new_head), files=False)


def ftn(config: ContinualConfig, network: NetworkConfig, sizes: Sizes) -> Method:
    """One actor trained on, each task's kept."""
    base = Base(network, sizes)
    return _method(base, renewal(base, config.new_head), files=True)


def renewal(base: Base, new_head: bool) -> Renew:
    """(params, key) -> the parameters that the next task starts with."""

    def renew(params: Params, key: jax.Array) -> Params:
        return trees.with_head(params, trees.head_of(base.init(key))) if new_head else params

    return renew


def _method(base: Base, renew: Renew, files: bool) -> Method:
    """Fine-tuning from what `renew` makes of the last task's parameters; `files`: finished actors are kept."""

    def init(key: jax.Array) -> Carried:
        params = base.init(key)
        return params, Filed(first_task(), trees.shelf(params, base.sizes.tasks) if files else None)

    def apply(params: Params, memory: Memory, inputs: Inputs) -> tuple[jax.Array, jax.Array]:
        return base(params, inputs)

    def start(params: Params, memory: Filed, key: jax.Array) -> Carried:
        finished = trees.put(memory.finished, params, memory.task) if files else None
        return renew(params, key), Filed(memory.task + 1, finished)

    def view(params: Params, memory: Filed, task: jax.Array) -> Carried:
        if not files:
            return params, memory
        return trees.chosen(params, memory.finished, memory.task, task), memory

    return Method(init, apply, start, view)
