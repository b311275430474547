"""What is carried over the boundary between two tasks, as data; the actor is the method's business, not the boundary's.

The default keeps the critic and its target ("Disentangling Transfer in Continual Reinforcement Learning",
arXiv:2209.13900: a carried critic transfers most) and starts the optimisers, alpha and the replay anew. `RESET_CRITIC`
is what CompoNet's and CKA-RL's code does.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

from crl_jax.checks import require

Choice = Literal["keep", "reset"]


@dataclass(frozen=True)
class Boundary:
    """Keep or reset each part of an agent when a task begins."""

    critic: Choice = "keep"
    """The critic's parameters: persistent, or drawn anew."""
    target: Choice = "keep"
    """The critic's slowly following copy, where there is one."""
    optimiser: Choice = "reset"
    """Adam's moments and counts, of actor, critic and alpha."""
    alpha: Choice = "reset"
    """The entropy coefficient."""
    replay: Choice = "reset"
    """The ring of transitions; kept, batches mix the tasks."""

    def validate(self) -> None:
        """Refuse what makes no sense.

        Raises:
            ConfigError: an unknown choice; or a critic drawn anew whose target or optimiser's state is kept.
        """
        for field in fields(self):
            value = getattr(self, field.name)
            require(value in ("keep", "reset"), field.name, value, "must be keep or reset")
        for name in ("target", "optimiser"):
            fits = self.critic == "keep" or getattr(self, name) == "reset"
            require(fits, name, getattr(self, name), "critic='reset' leaves nothing that it belongs to; take reset")


PERSISTENT_CRITIC = Boundary()
RESET_CRITIC = Boundary(critic="reset", target="reset")

PARTS: dict[str, tuple[str, ...]] = {
    "critic": ("phi", "psi", "critic"),
    "target": ("target",),
    "optimiser": ("critic_opt", "actor_opt", "alpha_opt"),
    "alpha": ("log_alpha",),
}
"""Which fields of the agents' states (CRLState, SACState) each part is."""


def crossed(boundary: Boundary, state: Any, fresh: Any) -> Any:
    """The agent's state at a task's begin: `state` with what is reset from `fresh`, a state just made.

    Its actor is still that of the last task: `Method.start` makes the next one. With the critic kept, a kept target
    follows it on, and a reset one starts as its copy (to be donated, it needs buffers of its own: call this in a jit).
    """
    boundary.validate()
    taken: dict[str, Any] = {}
    for part, names in PARTS.items():
        if getattr(boundary, part) == "reset":
            taken |= {name: getattr(fresh, name) for name in names if hasattr(state, name)}
    if boundary.critic == "keep" and "target" in taken and state.target is not None:
        taken["target"] = state.critic if hasattr(state, "critic") else (state.phi, state.psi)
    return state.replace(**taken)
