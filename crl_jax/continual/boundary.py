"""The agent's state as the next task begins: what `config.continual.Boundary` keeps, and what starts anew.

The actor is not decided here: the continual method makes the next one. `critic_mode="cka"`: see `critic.py`.
"""

from __future__ import annotations

from typing import Any

from crl_jax.config.continual import Boundary

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
