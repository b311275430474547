"""Which parts of the agent's state are kept at the boundary between two tasks."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from crl_jax.config.checks import ConfigError
from crl_jax.config.continual import PERSISTENT_CRITIC, RESET_CRITIC, Boundary
from crl_jax.continual import critic
from crl_jax.continual.boundary import crossed


@dataclasses.dataclass(frozen=True)
class State:
    """Stand-in for an agent's state: each field is a string that names it."""

    phi: str
    psi: str
    actor: str
    target: Any
    log_alpha: str
    critic_opt: str
    actor_opt: str
    alpha_opt: str

    def replace(self, **changes: Any) -> State:
        return dataclasses.replace(self, **changes)


OLD, NEW = (State(*[f"{age} {field.name}" for field in dataclasses.fields(State)]) for age in ("old", "new"))


def ages(state: State) -> dict[str, str]:
    values = {field.name: str(getattr(state, field.name)) for field in dataclasses.fields(State)}
    return {name: "old" if "old" in value else "new" for name, value in values.items()}


def test_the_default_keeps_the_critic_alone() -> None:
    kept = {name for name, age in ages(crossed(PERSISTENT_CRITIC, OLD, NEW)).items() if age == "old"}
    assert kept == {"phi", "psi", "target", "actor"}


def test_a_reset_critic_takes_its_target_along() -> None:
    kept = {name for name, age in ages(crossed(RESET_CRITIC, OLD, NEW)).items() if age == "old"}
    assert kept == {"actor"}
    assert crossed(RESET_CRITIC, OLD, NEW).target == ("new phi", "new psi")


@pytest.mark.parametrize("kept", ["phi", "psi"])
def test_half_a_critic_can_be_kept(kept: str) -> None:
    boundary = Boundary(critic_mode=f"keep_{kept}", target_mode="reset")
    assert {name for name, age in ages(crossed(boundary, OLD, NEW)).items() if age == "old"} == {
        kept,
        "target",
        "actor",
    }
    target = crossed(boundary, OLD, NEW).target
    assert target == (("old phi", "new psi") if kept == "phi" else ("new phi", "old psi")), "a copy of the new critic"


def test_a_target_reset_under_a_kept_critic_is_its_copy() -> None:
    state = crossed(Boundary(target_mode="reset"), OLD, NEW)
    assert state.target == ("old phi", "old psi")
    without = dataclasses.replace(OLD, target=None)
    assert crossed(Boundary(target_mode="reset"), without, dataclasses.replace(NEW, target=None)).target is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"critic_mode": "reset"}, "target_mode='keep'.*take reset"),
        ({"critic_mode": "cka", "target_mode": "reset", "optimiser_mode": "keep"}, "optimiser_mode='keep'.*take reset"),
        ({"alpha_mode": "kept"}, "alpha_mode='kept'.*keep or reset"),
        ({"critic_mode": "keep"}, "critic_mode='keep'.*persistent, reset, keep_phi, keep_psi, cka"),
    ],
)
def test_what_makes_no_sense_is_refused(changes, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Boundary(**changes).validate()


def test_a_critic_of_knowledge_starts_from_the_base_and_what_was_added() -> None:
    knowledge = critic.fresh({"w": jnp.zeros(2)}, 2)
    started, knowledge = critic.adapted(knowledge, {"w": jnp.array([1.0, 2.0])}, jax.random.key(0))
    assert started["w"].tolist() == [1, 2] and int(knowledge.pool.count) == 0  # The base alone.
    started, knowledge = critic.adapted(knowledge, {"w": jnp.array([1.0, 5.0])}, jax.random.key(1))
    assert started["w"].tolist() == [1, 5] and int(knowledge.pool.count) == 1  # The one vector weighs 1.
    started, knowledge = critic.adapted(knowledge, {"w": jnp.array([2.0, 5.0])}, jax.random.key(2))
    assert int(knowledge.pool.count) == 2
    share = started["w"] - jnp.array([1.0, 2.0])  # softmax-weighted of (0, 3) and (1, 0).
    assert 0 < share[0] < 1 and abs(share[0] + share[1] / 3 - 1) < 1e-6
    _, knowledge = critic.adapted(knowledge, started, jax.random.key(3))
    assert int(knowledge.pool.count) == 2  # Merged.
