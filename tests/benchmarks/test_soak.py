"""A tiny soak, and one test for each fault that the soak must detect."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import common, soak

SMALL = soak.Settings(
    tasks=("push",), env_steps=8 * 10 * 4, num_envs=8, unroll=10, horizon=15, planted=2, memory_bound=100.0
)


def test_a_soak_passes_and_is_kept(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    assert soak.main(SMALL) == 0
    row, memory = common.read_rows("soak")
    assert row["env_steps"] == 320 and row["planted"] == 8 == row["diverged"]
    # Two whole episodes of most environments; those that diverged had another.
    assert row["episodes"] >= 16 and row["goals"] == row["distinct_goals"] == row["episodes"] + 8
    assert not any(row[name] for name in soak.FAULTS) and len(memory["memory_mib"]) == 3
    assert "320 env steps" in capsys.readouterr().out


def _steps(**changes) -> tuple[soak.Before, soak.Steps]:
    """Three faultless steps of two environments, with episode ends at the second step; `changes` overwrite values."""
    before = soak.Before(time=np.array([1, 1]), episode=np.array([0, 4]), goal=np.zeros((2, 1)))
    parts = {
        "finite": np.ones((3, 2), bool),
        "diverged": np.zeros((3, 2), bool),
        "done": np.array([[0, 0], [1, 1], [0, 0]], bool),
        "time": np.array([[2, 2], [0, 0], [1, 1]]),
        "episode": np.array([[0, 4], [1, 5], [1, 5]]),
        "goal": np.array([[0.0, 0.0], [1.0, 2.0], [1.0, 2.0]])[..., None],
    }
    for name, (at, value) in changes.items():
        parts[name][at] = value
    return before, soak.Steps(**parts)


@pytest.mark.parametrize(
    ("fault", "changes"),
    [
        (None, {}),
        ("not_finite", {"finite": ((0, 1), False)}),
        ("not_restarted", {"done": ((1, 0), False)}),
        ("not_restarted", {"time": ((1, 1), 3)}),
        ("not_restarted", {"episode": ((slice(1, 3), 0), 0)}),
        ("not_restarted", {"diverged": ((0, 1), True)}),
        ("stale_goals", {"goal": ((slice(1, 3), 0), 0.0)}),
        ("lost_goals", {"goal": ((2, 1), 9.0)}),
    ],
)
def test_each_fault_is_seen(fault: str | None, changes: dict) -> None:
    before, steps = _steps(**changes)
    counts = soak.judge(before, np.array([], int), steps, horizon=3)
    assert (counts["env_steps"], counts["planted"]) == (6, 0)
    seen = {name for name in soak.FAULTS if counts[name]}
    assert fault in seen if fault else not seen
    assert seen <= {fault, "lost_goals"}, "an end that is not told makes its new goal look lost"
    told = soak.faults([{"task": "push"} | counts], [100.0, 120.0], 16.0)
    assert told[-1] == "memory grew by 20.0 MiB, 16 allowed" and len(told) == 1 + len(seen)


def test_a_divergence_that_is_missed_is_seen() -> None:
    before, steps = _steps()
    assert soak.judge(before, np.array([0, 1]), steps, horizon=3)["missed"] == 2


def test_too_short_a_soak_is_refused() -> None:
    with pytest.raises(SystemExit, match="env_steps=80"):
        soak.soak(soak.Settings(tasks=("push",), env_steps=80, num_envs=8, unroll=10))
