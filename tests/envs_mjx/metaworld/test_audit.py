"""Goals that can be reached: tasks command what the official scripted policy achieves, or the row says why not."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import PRESETS
from crl_jax import cli
from envs_mjx.metaworld.audit import audit
from envs_mjx.metaworld.env import MetaWorld
from envs_mjx.metaworld.tasks import TASKS
from tests.support.rotation import rotating

SETTLED_AFTER, RESTS = 30, 0.025
"""Env steps after which an object that nothing touches has come to rest, and how near to its start, metres."""
BRUSHED = {"bin-picking": 0.5, "handle-press": 0.5}
"""Tasks whose object the bin's wall or the idle hand moves in some episodes -> share of episodes that must rest."""


@pytest.mark.parametrize("task", rotating(TASKS, count=1))
def test_commanded_goals_are_achieved_in_success_or_the_row_says_why(task: str) -> None:
    found = audit(task)
    assert found.script_any >= 0.5, "the script succeeds, so there is something to compare with"
    assert bool(found.beyond) == bool(found.reason), f"{task}: {found.beyond or 'nothing'} apart, row: {found.reason!r}"


@pytest.mark.parametrize("task", rotating(TASKS, count=2))
def test_an_object_starts_where_it_comes_to_rest(task: str) -> None:
    env = MetaWorld(TASKS[task], 8, "c", "auto", 100, reward=False)
    state, advance = env.reset(jax.random.PRNGKey(0)), jax.jit(env.advance)
    start = np.asarray(state.start)
    if env.task.achieved.kind == "tcp":
        return
    for _ in range(SETTLED_AFTER):
        state = advance(state, jnp.tile(jnp.array([0.0, 0.0, 0.0, -1.0]), (8, 1)))
    away = np.linalg.norm(np.asarray(env.object_point(state.obs)) - start, axis=1)
    assert np.mean(away < RESTS) >= BRUSHED.get(task, 1.0), away


def test_the_audit_is_a_command_with_a_page(tmp_path, capsys) -> None:
    page = tmp_path / "audit.md"
    assert cli.main(PRESETS, ["audit", "hammer", "--page", str(page)]) == 0
    assert "hammer" in capsys.readouterr().out
    (row,) = [line for line in page.read_text().splitlines() if line.startswith("| hammer ")]
    assert "with the hand at the nail" in row and row.count("|") == 11
    assert cli.main(PRESETS, ["audit", "hamer"]) == 2
    assert "nearest: hammer" in capsys.readouterr().err
    assert cli.main(PRESETS, ["audit", "sawyer_bin"]) == 2
