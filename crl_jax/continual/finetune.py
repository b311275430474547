"""Learning from scratch, and fine-tuning one actor (FT-1, FT-N): the baselines of arXiv:2506.14811 and 2510.19314.

scratch: each task has a new actor and is scored with it. Its learning curves are the reference for forward transfer.
FT-1: the trunk is kept from task to task, the last layer is new in each task. Every task is scored with the newest
actor. FT-N: trained like FT-1, but each task is scored with the actor that its training ended with.

Departure: FT-1 and FT-N can also keep the last layer (`new_head=False`).
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
    """A new actor for each task; all actors are kept."""
    base = Base(network, sizes)
    return _method(base, lambda params, key: base.init(key), files=True)


def ft1(config: ContinualConfig, network: NetworkConfig, sizes: Sizes) -> Method:
    """One actor trained through all tasks; earlier versions are not kept."""
    base = Base(network, sizes)
    return _method(base, renewal(base, config.new_head), files=False)


def ftn(config: ContinualConfig, network: NetworkConfig, sizes: Sizes) -> Method:
    """One actor trained through all tasks; the version at each task's end is kept."""
    base = Base(network, sizes)
    return _method(base, renewal(base, config.new_head), files=True)


def renewal(base: Base, new_head: bool) -> Renew:
    """(params, key) -> the parameters that the next task starts with."""

    def renew(params: Params, key: jax.Array) -> Params:
        return trees.with_head(params, trees.head_of(base.init(key))) if new_head else params

    return renew


def _method(base: Base, renew: Renew, files: bool) -> Method:
    """Fine-tuning: `renew` turns the last task's parameters into the next task's. `files`: finished actors are kept."""

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
