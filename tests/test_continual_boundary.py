"""What crosses the boundary between two tasks."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from crl_jax.checks import ConfigError
from crl_jax.continual.boundary import PERSISTENT_CRITIC, RESET_CRITIC, Boundary, crossed


@dataclasses.dataclass(frozen=True)
class State:
    """The fields of an agent's state, each told by its value."""

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
    return {field.name: str(getattr(state, field.name)).split()[0] for field in dataclasses.fields(State)}


def test_the_default_keeps_the_critic_alone() -> None:
    kept = {name for name, age in ages(crossed(PERSISTENT_CRITIC, OLD, NEW)).items() if age == "old"}
    assert kept == {"phi", "psi", "target", "actor"}


def test_a_reset_critic_takes_its_target_along() -> None:
    kept = {name for name, age in ages(crossed(RESET_CRITIC, OLD, NEW)).items() if age == "old"}
    assert kept == {"actor"}


def test_a_target_reset_under_a_kept_critic_is_its_copy() -> None:
    state = crossed(Boundary(target="reset"), OLD, NEW)
    assert state.target == ("old phi", "old psi")
    without = dataclasses.replace(OLD, target=None)
    assert crossed(Boundary(target="reset"), without, dataclasses.replace(NEW, target=None)).target is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"critic": "reset"}, "target='keep'.*take reset"),
        ({"critic": "reset", "target": "reset", "optimiser": "keep"}, "optimiser='keep'.*take reset"),
        ({"alpha": "kept"}, "alpha='kept'.*keep or reset"),
    ],
)
def test_what_makes_no_sense_is_refused(changes, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Boundary(**changes).validate()
