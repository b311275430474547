"""What is carried over the boundary between two tasks, as data; the actor is the method's business, not the boundary's.

The default keeps the critic and its target ("Disentangling Transfer in Continual Reinforcement Learning",
arXiv:2209.13900: a carried critic transfers most) and starts the optimisers, alpha and the replay anew. `RESET_CRITIC`
is what CompoNet's and CKA-RL's code does. `critic_mode="cka"`: see `critic.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from crl_jax.checks import require

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

CRITIC = ("phi", "psi", "critic")
"""The fields of the agents' states (CRLState, SACState) that are a critic's parameters."""
PARTS: dict[str, tuple[str, ...]] = {
    "target_mode": ("target",),
    "optimiser_mode": ("critic_opt", "actor_opt", "alpha_opt"),
    "alpha_mode": ("log_alpha",),
}
"""Which fields each choice is about."""


def critic_of(state: Any) -> dict[str, Any]:
    """Name -> parameters of an agent's critic."""
    return {name: getattr(state, name) for name in CRITIC if hasattr(state, name)}


def crossed(boundary: Boundary, state: Any, fresh: Any) -> Any:
    """The agent's state at a task's begin: `state` with what is reset from `fresh`, a state just made.

    Its actor is still that of the last task: `Method.start` makes the next one; and with critic_mode "cka" so is its
    critic. A critic that is not drawn anew takes a kept target on, and a reset target starts as its copy (to be
    donated, it needs buffers of its own: call this in a jit).
    """
    boundary.validate()
    taken: dict[str, Any] = critic_of(fresh) if boundary.critic_mode == "reset" else {}
    for choice, names in PARTS.items():
        if getattr(boundary, choice) == "reset":
            taken |= {name: getattr(fresh, name) for name in names if hasattr(state, name)}
    state = state.replace(**taken)
    copied = boundary.target_mode == "reset" and getattr(state, "target", None) is not None
    return with_target_copied(state) if copied else state


def with_target_copied(state: Any) -> Any:
    """The state with the critic's parameters as its target."""
    critic = state.critic if hasattr(state, "critic") else (state.phi, state.psi)
    return state.replace(target=critic)
