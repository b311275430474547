"""The agent's state when the next task begins: `config.continual.Boundary` says what is kept and what is reset.

The continual method, not this file, makes the next actor. For `critic_mode="cka"` see `critic.py`.
"""

from __future__ import annotations

from typing import Any

from crl_jax.config.continual import Boundary

CRITIC = ("phi", "psi", "critic")
"""The fields of the agents' states (CRLState, SACState) that hold a critic's parameters."""
RENEWED: dict[str, tuple[str, ...]] = {"reset": CRITIC, "keep_phi": ("psi",), "keep_psi": ("phi",)}
"""`critic_mode` -> the fields of `CRITIC` that it draws anew; the others draw none."""
PARTS: dict[str, tuple[str, ...]] = {
    "target_mode": ("target",),
    "optimiser_mode": ("critic_opt", "actor_opt", "alpha_opt"),
    "alpha_mode": ("log_alpha",),
}
"""Choice of `Boundary` -> the fields of the agent's state that it resets."""


def critic_of(state: Any) -> dict[str, Any]:
    """Name -> parameters of an agent's critic."""
    return {name: getattr(state, name) for name in CRITIC if hasattr(state, name)}


def crossed(boundary: Boundary, state: Any, fresh: Any) -> Any:
    """The agent's state at the start of a task: `state`, with the reset parts taken from `fresh`, a new state.

    The actor is still that of the last task: `Method.start` makes the next one. With critic_mode "cka" the critic too
    is still that of the last task. A kept target goes on with its kept critic. A reset target starts as a copy of the
    critic; call this in a jit, so that the copy has buffers of its own and can be donated.
    """
    boundary.validate()
    renewed = RENEWED.get(boundary.critic_mode, ())
    taken = {name: value for name, value in critic_of(fresh).items() if name in renewed}
    for choice, names in PARTS.items():
        if getattr(boundary, choice) == "reset":
            taken |= {name: getattr(fresh, name) for name in names if hasattr(state, name)}
    state = state.replace(**taken)
    copied = boundary.target_mode == "reset" and getattr(state, "target", None) is not None
    return with_target_copied(state) if copied else state


def with_target_copied(state: Any) -> Any:
    """The state with the critic's parameters as target."""
    critic = state.critic if hasattr(state, "critic") else (state.phi, state.psi)
    return state.replace(target=critic)
