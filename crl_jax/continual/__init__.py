"""Continual learning: methods as values of pure functions that the one training loop calls.

A sequence of N tasks is learned in one process. What an agent would call its actor is then a pair: `params`, which the
optimiser trains, and `memory`, which nothing but the method changes (frozen columns, a pool of vectors, owners of
weights, stored states). Both keep their shapes through the whole sequence: what grows with the tasks is an array with
a place for each of them, and `memory.task`, a traced int32, says how many are in use. So every task of the same sizes
runs the same compiled programs, checkpoints hold a method's memory as they hold the rest, and nothing is a list of
networks. A `Method` (see `method.py`) is called in this order:

    params, memory = init(key)
    for each task:
        for each update:                 mean, log_std = apply(params, memory, inputs)       # acting, and the loss
                                         actor_loss = the agent's own + added_loss(params, memory, inputs, key)
                                         params, optimiser, memory = after(step, memory, inputs, key)
        params, memory = end(params, memory, inputs of `states` rows of the task's replay, key)
        `retrain` updates from replay, without new steps, between two resets of the optimiser
        params, memory = start(params, memory, key)                                          # but after the last task
    to score task i at any time:         apply(*view(params, memory, i), inputs)

Rules that every method keeps, and its tests check:
- gradients are taken by `params` alone, and what a method froze does not move by a bit, whatever Adam's moments are:
  masking gradients would not do that, so `after` restores the parameters and clears the moments;
- `view` of a task before the current one does not read what is being trained, unless the method shares it on purpose
  (FT-1, CReLUs, CBP, and the trunk of L2, EWC, MAS and ClonEx);
- `end` leaves the policy as it is, except where it prunes (PackNet);
- with one task a method is its base: the plain actor, or what its file says.

Whether critic, target, optimiser, replay and alpha are kept at a boundary is not a method's business: that is data of
the sequence (`boundary.py`). Inputs are normalised and a task's sizes are those of the sequence (`Sizes`).

CRL and SAC take a method as `agents.make(config, spec, axis, method)`: their state's `actor` is then `params`, and its
`memory` the method's. After `start` or `view` the state's `average`, which deterministic acting uses, must be the new
`actor` too.
"""

from __future__ import annotations

from collections.abc import Callable

from crl_jax.config import NetworkConfig
from crl_jax.config.continual import ContinualConfig
from crl_jax.continual import cbp, cka_rl, clonex, componet, crelus, finetune, masknet, packnet, prognet, regularised
from crl_jax.continual.method import Method, Sizes

__all__ = ["METHODS", "make"]

METHODS: dict[str, Callable[[ContinualConfig, NetworkConfig, Sizes], Method]] = {
    "scratch": finetune.scratch,
    "ft1": finetune.ft1,
    "ftn": finetune.ftn,
    "cka_rl": cka_rl.make,
    "packnet": packnet.make,
    "componet": componet.make,
    "prognet": prognet.make,
    "masknet": masknet.make,
    "crelus": crelus.make,
    "cbp": cbp.make,
    "l2": regularised.l2,
    "ewc": regularised.ewc,
    "mas": regularised.mas,
    "clonex": clonex.make,
}


def make(config: ContinualConfig, network: NetworkConfig, sizes: Sizes) -> Method:
    """The method that `config` names, for actors of `network` on tasks of these sizes.

    Raises:
        ConfigError: a setting that is refused, in one line.
    """
    config.validate()
    return METHODS[config.learner](config, network, sizes)
