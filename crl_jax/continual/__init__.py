"""Continual learning: methods as values of pure functions that the one training loop calls.

A sequence of N tasks is learned in one process. The actor is then a pair: the optimiser trains `params`, and only the
method changes `memory` (frozen columns, a pool of vectors, owners of weights, stored states). Both keep their shapes
through the whole sequence. Whatever grows with the tasks is an array with a place for each task, never a list of
networks; `memory.task`, a traced int32, says how many places are in use. So all tasks of the same sizes run the same
compiled programs, and checkpoints hold a method's memory like any other array. A `Method` (see `method.py`) is called
in this order:

    params, memory = init(key)
    for each task:
        for each update:                 mean, log_std = apply(params, memory, inputs)       # acting, and the loss
                                         actor_loss = the agent's own + added_loss(params, memory, inputs, key)
                                         params, optimiser, memory = after(step, memory, inputs, key)
        params, memory = end(params, memory, inputs of `states` rows of the task's replay, key)
        `retrain` updates from replay, without new steps, between two resets of the optimiser
        params, memory = start(params, memory, key)                                          # not after the last task
    to score task i at any time:         apply(*view(params, memory, i), inputs)

Rules that every method keeps, and its tests check:
- Gradients are taken with respect to `params` only. Frozen weights do not change by a single bit. Masking their
  gradients is not enough, because Adam's moments still move them: `after` restores the weights and clears the moments.
- `view` of an earlier task does not read what is being trained, unless the method shares it on purpose (FT-1, CReLUs,
  CBP, and the trunk of L2, EWC, MAS and ClonEx).
- `end` leaves the policy unchanged, except where it prunes (PackNet).
- With one task a method is its base: the plain actor, or what its file says.

A method does not decide whether critic, target, optimiser, replay and alpha are kept at a task boundary: the sequence's
config does (`boundary.py`). A method's inputs are normalised, and all tasks of a sequence have the same `Sizes`.

CRL and SAC take a method as `agents.make(config, spec, axis, method)`. In the agent's state, `actor` is then `params`,
and `memory` is the method's memory. After `start` or `view`, the state's `average` must be set to the new `actor` too:
deterministic acting uses `average`.
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
        ConfigError: an invalid setting.
    """
    config.validate()
    return METHODS[config.learner](config, network, sizes)
