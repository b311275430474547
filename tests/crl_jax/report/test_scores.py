"""Scores of a sequence of tasks, compared with values computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crl_jax.report import scores
from crl_jax.report.scores import Evaluations

# Two tasks of 40 steps each, evaluated every 10; the first is half forgotten while the second is learned.
STEPS = [10, 20, 30, 40, 50, 60, 70, 80]
FIRST = [0.0, 0.2, 0.6, 0.8, 0.6, 0.4, 0.4, 0.4]
SECOND = [0.0, 0.0, 0.0, 0.0, 0.1, 0.5, 0.9, 1.0]
TWO = Evaluations(np.array(STEPS), np.array([FIRST, SECOND]).T, np.array([40, 80]))


def test_performance_is_the_mean_over_all_tasks() -> None:
    np.testing.assert_allclose(scores.performance(TWO), [0, 0.1, 0.3, 0.4, 0.35, 0.45, 0.65, 0.7])


def test_performance_on_their_own_training_sees_no_forgetting() -> None:
    assert scores.own_performance(TWO) == pytest.approx((0.8 + 1.0) / 2)


def test_forgetting_is_the_loss_since_the_end_of_each_task() -> None:
    np.testing.assert_allclose(scores.forgetting(TWO), [0.8 - 0.4, 0.0])


def test_areas_are_of_the_tasks_own_training() -> None:
    # Trapezoids over (10, 20, 30, 40) and (50, 60, 70, 80), divided by 30 steps.
    first = (0.1 + 0.4 + 0.7) * 10 / 30
    second = (0.3 + 0.7 + 0.95) * 10 / 30
    np.testing.assert_allclose(scores.areas(TWO), [first, second])


def test_forward_transfer_by_hand() -> None:
    # areas 0.4 and 0.65 against 0.5 and 0.3 alone: (0.4 - 0.5) / 0.5 and (0.65 - 0.3) / 0.7
    np.testing.assert_allclose(scores.forward_transfer(TWO, [0.5, 0.3]), [-0.2, 0.5])


@given(st.lists(st.floats(0, 1), min_size=8, max_size=8), st.integers(1, 7))
def test_scratch_against_itself_transfers_nothing_and_steps_may_start_anywhere(curve: list[float], ended: int) -> None:
    success = np.stack([curve, curve[::-1]], axis=1) * 0.99  # An area of 1 leaves nothing to gain.
    run = Evaluations(np.array(STEPS), success, np.array([STEPS[ended - 1], 80]))
    np.testing.assert_allclose(scores.forward_transfer(run, scores.areas(run)), 0, atol=1e-12)
    assert scores.forgetting(run)[-1] == 0


def test_a_task_known_from_its_first_step_transfers_all() -> None:
    known = Evaluations(np.array([1, 2]), np.ones((2, 1)), np.array([2]))
    np.testing.assert_allclose(scores.forward_transfer(known, [0.25]), [1.0])


@pytest.mark.parametrize(
    ("steps", "success", "ends", "words"),
    [
        ([1, 2], np.zeros((2, 3)), [1, 2], r"\(T, N\)"),
        ([1, 2], [[0, 2], [0, 0]], [1, 2], r"outside"),
        ([2, 1], np.zeros((2, 2)), [1, 2], "increase"),
        ([1, 4], np.zeros((2, 3)), [1, 3, 4], "task 1 was never evaluated"),
    ],
)
def test_what_does_not_go_together_is_refused(steps, success, ends, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Evaluations(steps, success, ends)


def test_a_reference_that_cannot_be_exceeded_is_refused() -> None:
    with pytest.raises(ValueError, match="task 1 is 1"):
        scores.forward_transfer(TWO, [0.5, 1.0])
    with pytest.raises(ValueError, match="2 tasks"):
        scores.forward_transfer(TWO, [0.5])


def test_the_interval_holds_the_mean_and_narrows_to_it() -> None:
    mean, low, high = scores.mean_interval([0.2, 0.4, 0.6, 0.8])
    assert mean == pytest.approx(0.5) and 0.2 <= low < mean < high <= 0.8
    assert scores.mean_interval([0.3, 0.3, 0.3]) == pytest.approx((0.3, 0.3, 0.3))
