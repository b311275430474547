"""Settings of a sequence of tasks: the continual method (each field says which methods read it), and the boundary.

The boundary is what crosses from one task to the next. By default the critic and its target do ("Disentangling Transfer
in Continual Reinforcement Learning", arXiv:2209.13900: a carried critic transfers most); the optimisers, alpha and the
replay start anew. `RESET_CRITIC` is what CompoNet's and CKA-RL's code does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from crl_jax.config.checks import nearest, require

NAMES = (
    "scratch",
    "ft1",
    "ftn",
    "cka_rl",
    "packnet",
    "componet",
    "prognet",
    "masknet",
    "crelus",
    "cbp",
    "l2",
    "ewc",
    "mas",
    "clonex",
)
"""The methods: rows of `crl_jax.continual.METHODS`."""


@dataclass(frozen=True)
class ContinualConfig:
    """The continual method, and what it is set to."""

    learner: str = "ft1"
    """Continual method: a name of crl_jax.continual.METHODS."""
    new_head: bool = True
    """The actor's last layer starts anew with each task, of ft1, ftn, crelus, cbp; else it is carried on."""
    pool_size: int = 8
    """Knowledge vectors that cka_rl keeps; one more, and the two most alike become their mean."""
    adapt: Literal["heads", "all"] = "all"
    """What a vector of cka_rl spans: the last layer (as in its code), or all of the actor (as in its paper)."""
    trunk: Literal["frozen", "finetune"] = "frozen"
    """With adapt=heads, the layers below after the first task: as they were, or trained on."""
    retrain_updates: int = 100_000
    """Updates from replay after packnet has pruned (Continual World's number)."""
    attention_size: int = 256
    """Units of componet's queries, keys and values (d_model)."""
    replacement_rate: float = 1e-4
    """Share of a layer's units of age that cbp draws anew per update."""
    maturity: int = 10_000
    """Updates before which cbp replaces no unit."""
    utility_decay: float = 0.99
    """Decay per update of cbp's running means."""
    pull: float = 1e4
    """Weight of the squared distance to the last solution, of l2, ewc, mas (Continual World: 1e5, 1e4, 1e4)."""
    importance_states: int = 2560
    """States that ewc and mas measure importance on."""
    stored_states: int = 10_000
    """States of each task that clonex keeps."""
    clone_batch: int = 128
    """States of earlier tasks that clonex compares policies on per update, spread evenly over all N tasks."""
    clone_weight: float = 1.0
    """Weight of clonex's KL divergence."""

    def validate(self) -> None:
        """Refuse bad settings.

        Raises:
            ConfigError: one line with the field, its value and the nearest valid one.
        """
        require(self.learner in NAMES, "learner", self.learner, f"unknown; nearest: {nearest(self.learner, NAMES)}")
        for name, choices in (("adapt", ("heads", "all")), ("trunk", ("frozen", "finetune"))):
            require(getattr(self, name) in choices, name, getattr(self, name), f"one of {', '.join(choices)}")
        only_heads = self.adapt == "heads" or self.trunk == "frozen"
        require(only_heads, "trunk", self.trunk, "adapt='all' leaves no trunk to train; take frozen, or adapt='heads'")
        for name in ("pool_size", "attention_size", "importance_states", "stored_states", "clone_batch"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "must be at least 1; nearest: 1")
        for name in ("retrain_updates", "maturity", "pull", "clone_weight"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "must be 0 or more; nearest: 0")
        require(0 <= self.replacement_rate <= 1, "replacement_rate", self.replacement_rate, "must lie in [0, 1]")
        require(0 <= self.utility_decay < 1, "utility_decay", self.utility_decay, "must be at least 0 and below 1")


Choice = Literal["keep", "reset"]
CRITIC_MODES = ("persistent", "reset", "cka")


@dataclass(frozen=True)
class Boundary:
    """What is kept, and what starts anew, when a task begins."""

    critic_mode: Literal["persistent", "reset", "cka"] = "persistent"
    """The critic's parameters at a new task: as they are; drawn anew; or CKA-RL's combination of what was learned."""
    target_mode: Choice = "keep"
    """The critic's slowly following copy, where there is one."""
    optimiser_mode: Choice = "reset"
    """Adam's moments and counts, of actor, critic and alpha."""
    alpha_mode: Choice = "reset"
    """The entropy coefficient."""
    replay_mode: Choice = "reset"
    """The ring of transitions; kept, batches mix the tasks, and no random actions begin the next one."""

    def validate(self) -> None:
        """Refuse what makes no sense.

        Raises:
            ConfigError: an unknown choice; or a critic that does not go on whose target or optimiser's state is kept.
        """
        critic, modes = self.critic_mode, CRITIC_MODES
        require(critic in modes, "critic_mode", critic, f"one of {', '.join(modes)}")
        for name in ("target_mode", "optimiser_mode", "alpha_mode", "replay_mode"):
            require(getattr(self, name) in ("keep", "reset"), name, getattr(self, name), "must be keep or reset")
        for name in ("target_mode", "optimiser_mode"):
            fits = critic == "persistent" or getattr(self, name) == "reset"
            require(fits, name, getattr(self, name), f"critic_mode={critic!r} leaves nothing it belongs to; take reset")


PERSISTENT_CRITIC = Boundary()
RESET_CRITIC = Boundary(critic_mode="reset", target_mode="reset")
