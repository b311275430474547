"""Continual methods: frozen parameters stay equal to the last bit, shared ones move, one program serves all tasks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crl_jax import continual
from crl_jax.config import ConfigError
from crl_jax.config.continual import NAMES, ContinualConfig
from tests.support.continual import PLAIN, RESIDUAL, SIZES, SMALL, TRACES, sequence
from tests.support.rotation import rotating

KEPT = ("scratch", "ftn", "cka_rl", "packnet", "componet", "prognet", "masknet")
"""Methods in which the policies of finished tasks never change."""
LAST = SIZES.tasks - 1
QUICK = {"ft1", "packnet"} | {one.values[0] for one in rotating(NAMES) if not one.marks}


def slow_unless_quick(names: Iterable[str]) -> list:
    """Parameters for pytest: the methods in QUICK run in the quick suite, the others are marked slow."""
    return [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in names]


def same(one, other) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))


def test_the_table_is_the_list_of_names() -> None:
    assert tuple(continual.METHODS) == NAMES


@pytest.mark.parametrize("name", slow_unless_quick(NAMES))
def test_one_program_serves_all_tasks_and_learns_each(name: str) -> None:
    method, tasks = sequence(name)
    assert TRACES[method] == 1
    for number, left in enumerate(tasks):
        assert left.memory.task == number
        assert np.isfinite(left.settled).all() and np.isfinite(left.losses).all()
        before = tasks[number - 1].started[number] if number else None
        assert before is None or not np.array_equal(left.settled[number], before)
    shapes = [jax.tree.map(np.shape, (left.params, left.memory)) for left in tasks]
    assert shapes[0] == shapes[1] == shapes[2]


@pytest.mark.parametrize("name", slow_unless_quick(KEPT))
def test_finished_policies_do_not_change_by_a_bit(name: str) -> None:
    _, tasks = sequence(name, reset=False)  # Adam's moments of the last task would move what is only masked.
    for number in range(LAST):
        for later in tasks[number + 1 :]:
            assert np.array_equal(later.settled[number], tasks[number].settled[number])
            assert np.array_equal(later.trained[number], tasks[number].trained[number]) or name == "packnet"
    assert not np.array_equal(tasks[0].settled[0], tasks[1].settled[1])


@pytest.mark.slow
@pytest.mark.parametrize("name", KEPT)
def test_finished_policies_of_residual_networks_do_not_change_by_a_bit(name: str) -> None:
    network = dataclasses.replace(RESIDUAL, skip_last_norm=name == "prognet")
    _, tasks = sequence(name, network, reset=False)
    for number in range(LAST):
        assert np.array_equal(tasks[LAST].settled[number], tasks[number].settled[number])


@pytest.mark.parametrize("name", slow_unless_quick(name for name in NAMES if name != "packnet"))
def test_a_tasks_end_leaves_its_policy(name: str) -> None:
    for number, left in enumerate(sequence(name)[1]):
        assert np.array_equal(left.ended[number], left.trained[number])


@pytest.mark.parametrize("name", slow_unless_quick(("ft1", "crelus", "cbp")))
def test_one_model_is_scored_on_all_tasks(name: str) -> None:
    for left in sequence(name)[1]:
        assert np.array_equal(left.settled[0], left.settled[LAST])


def test_ft1_and_ftn_train_alike() -> None:
    for one, other in zip(sequence("ft1")[1], sequence("ftn")[1], strict=True):
        assert same(one.params, other.params)
        np.testing.assert_array_equal(one.losses, other.losses)


@pytest.mark.parametrize("name", slow_unless_quick(("scratch", "ftn", "packnet", "l2", "ewc", "mas", "cka_rl")))
def test_in_the_first_task_a_method_is_the_plain_actor(name: str) -> None:
    plain, ours = sequence("ft1")[1][0], sequence(name)[1][0]
    np.testing.assert_allclose(ours.trained[0], plain.trained[0], rtol=1e-5, atol=1e-6)


def test_with_one_task_packnet_keeps_every_weight() -> None:
    method = continual.make(dataclasses.replace(SMALL, learner="packnet"), PLAIN, SIZES._replace(tasks=1))
    params, memory = method.init(jax.random.key(0))
    assert method.end is not None
    kept, after = method.end(params, memory, None, jax.random.key(1))  # type: ignore[arg-type]
    assert same(kept, params) and after.pruned


def test_new_heads_leave_the_trunk() -> None:
    first, second = sequence("ftn")[1][:2]
    stored = jax.tree.map(lambda leaf: leaf[0], second.memory.finished)
    assert same(stored, first.params)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"learner": "paknet"}, "learner='paknet': unknown; nearest: packnet"),
        ({"adapt": "all", "trunk": "finetune"}, "trunk='finetune'.*adapt='heads'"),
        ({"pool_size": 0}, "pool_size=0.*nearest: 1"),
        ({"pull": -1.0}, "pull=-1.0.*nearest: 0"),
        ({"learner": "cbp", "replacement_rate": 0.5}, "replacement_rate=0.5.*nearest: 0.125"),
    ],
)
def test_bad_settings_are_refused_in_one_line(changes, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        continual.make(ContinualConfig(**changes), PLAIN, SIZES)
    assert "\n" not in str(caught.value)


def test_crelus_take_an_even_width() -> None:
    with pytest.raises(ConfigError, match=r"width=7.*nearest: 8"):
        continual.make(ContinualConfig(learner="crelus"), dataclasses.replace(PLAIN, width=7), SIZES)
    params = continual.make(ContinualConfig(learner="crelus"), PLAIN, SIZES).init(jax.random.key(0))[0]
    body = params["params"]["mlp"]["hidden"]
    assert body["dense_0"]["kernel"].shape == (5, 4) and body["dense_1"]["kernel"].shape == (8, 4)
    assert jnp.isfinite(body["dense_1"]["kernel"]).all()
