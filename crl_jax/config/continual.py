"""Settings of a sequence of tasks: the continual method (each field says which methods read it), and the boundary.

The boundary decides what is kept from one task to the next. By default the critic and its target are kept
("Disentangling Transfer in Continual Reinforcement Learning", arXiv:2209.13900: a kept critic transfers most); the
optimisers, alpha and the replay ring start anew. `RESET_CRITIC` is what the code of CompoNet and CKA-RL does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from crl_jax.config.checks import nearest, require
from crl_jax.config.section import Section

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
"""Names of the continual methods, the keys of `crl_jax.continual.METHODS`."""
READS_AT_END = ("packnet", "ewc", "mas", "clonex")
"""Methods that read the finished task's steps from the replay ring at its end: none of another task may be there."""


@dataclass(frozen=True)
class ContinualConfig(Section):
    """The continual method and its settings."""

    learner: str = "ft1"
    """Continual method: a name of crl_jax.continual.METHODS."""
    new_head: bool = True
    """With ft1, ftn, crelus, cbp: draw the actor's last layer anew for each task; else keep it."""
    pool_size: int = 8
    """Knowledge vectors that cka_rl keeps. When there is one more, the two most similar are replaced by their mean."""
    adapt: Literal["heads", "all"] = "all"
    """Parameters that a vector of cka_rl covers: the last layer (its code), or the whole actor (its paper)."""
    trunk: Literal["frozen", "finetune"] = "frozen"
    """With adapt=heads: whether the layers below the last one are frozen after the first task, or trained further."""
    retrain_updates: int = 100_000
    """Updates from replay after packnet has pruned (Continual World's number)."""
    attention_size: int = 256
    """Units of componet's queries, keys and values (d_model)."""
    replacement_rate: float = 1e-4
    """Share of a layer's mature units (see maturity) that cbp draws anew per update."""
    maturity: int = 10_000
    """Age in updates that a unit must exceed before cbp may replace it."""
    utility_decay: float = 0.99
    """Decay per update of cbp's running means of activation and utility."""
    pull: float = 1e4
    """Weight in l2, ewc, mas of the squared distance to the last task's parameters (Continual World: 1e5, 1e4, 1e4)."""
    importance_states: int = 2560
    """States on which ewc and mas measure the importance of the parameters."""
    stored_states: int = 10_000
    """States of each task that clonex keeps."""
    clone_batch: int = 128
    """Stored states per update on which clonex compares policies, spread evenly over all N tasks."""
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
CRITIC_MODES = ("persistent", "reset", "keep_phi", "keep_psi", "cka")


@dataclass(frozen=True)
class Boundary(Section):
    """What is kept and what starts anew when a task begins."""

    critic_mode: Literal["persistent", "reset", "keep_phi", "keep_psi", "cka"] = "persistent"
    """The critic's parameters at a new task: kept; drawn anew; drawn anew but for phi (states and actions), or but for
    psi (goals); or CKA-RL's combination of the earlier critics."""
    target_mode: Choice = "keep"
    """The target critic, where there is one."""
    optimiser_mode: Choice = "reset"
    """Adam's moments and counts for actor, critic and alpha."""
    alpha_mode: Choice = "reset"
    """The entropy coefficient."""
    replay_mode: Choice = "reset"
    """The replay ring. With keep, batches mix the tasks and the next task begins without random actions; it needs
    --task-code, and room for all tasks in --replay-capacity to forget none."""

    def validate(self) -> None:
        """Refuse bad settings.

        Raises:
            ConfigError: an unknown choice, or a kept target or optimiser state for a critic that is not persistent.
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
