"""Waypoint control: the hand goes to the place that the action names, and each env step is commanded as told."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs_mjx
from configs import PRESETS
from crl_jax.config import Config, ConfigError, with_overrides
from crl_jax.start import ready
from envs_mjx import EnvError
from envs_mjx.control import HOLD, Waypoint, make_control
from envs_mjx.metaworld.tasks import TASKS

ENVS, REPEAT = 4, 5


def test_a_held_action_is_the_action() -> None:
    obs, action = jnp.ones((ENVS, 7)), jnp.linspace(-2, 2, 4 * ENVS).reshape(ENVS, 4)
    np.testing.assert_array_equal(HOLD.act(obs + 1, HOLD.begin(obs, action)), action)


def test_a_waypoint_is_a_place_that_the_hand_is_moved_to_in_proportion() -> None:
    control = Waypoint(step=0.01, repeat=5)
    obs, action = jnp.array([[0.1, 0.6, 0.2, 9.0]]), jnp.array([[1.0, -3.0, 0.2, -0.7]])
    aim = control.begin(obs, action)
    np.testing.assert_allclose(aim, [[0.15, 0.55, 0.21, -0.7]], rtol=1e-6)  # 5 cm at most, as 5 held steps of 1 cm.
    np.testing.assert_allclose(control.act(obs, aim), [[1.0, -1.0, 0.25, -0.7]], rtol=1e-5)  # 25 / m, clipped.
    np.testing.assert_allclose(control.act(aim, aim), [[0.0, 0.0, 0.0, -0.7]], atol=1e-7)


@pytest.mark.parametrize("task", ["push", "FetchReach"])
def test_a_decision_is_its_env_steps_bit_for_bit(task: str) -> None:
    if task == "FetchReach":
        pytest.importorskip("gymnasium_robotics")
    settings: dict[str, Any] = {"physics": "c", "goal": "auto", "horizon": 2 * REPEAT}
    single = envs_mjx.make(task, ENVS, **settings)
    aimed = envs_mjx.make(task, ENVS, action_repeat=REPEAT, control="waypoint", **settings)
    control = make_control("waypoint", single, REPEAT)
    key = jax.random.PRNGKey(3)
    state, decided = jax.jit(single.reset)(key), jax.jit(aimed.reset)(key)
    step, decide = jax.jit(single.step), jax.jit(aimed.step)
    begin, act = jax.jit(control.begin), jax.jit(control.act)
    for number in range(3):  # an episode and a half
        action = jax.random.uniform(jax.random.fold_in(key, number), (ENVS, 4), minval=-1)
        aim = begin(state.obs, action)
        for _ in range(REPEAT):
            state = step(state, act(state.obs, aim))
        decided = decide(decided, action)
        for mine, told in zip(jax.tree.leaves(decided.physics), jax.tree.leaves(state.physics), strict=True):
            np.testing.assert_array_equal(mine, told)
        np.testing.assert_array_equal(decided.obs, state.obs)


def test_the_hand_arrives_where_it_is_sent_and_stays() -> None:
    """Within 5 mm after four decisions that name the same place; a held command of the same size goes on."""
    made = [
        envs_mjx.make("reach", ENVS, physics="c", action_repeat=REPEAT, control=name) for name in ("waypoint", "hold")
    ]
    moved = []
    for env in made:
        state = jax.jit(env.reset)(jax.random.PRNGKey(0))
        place, step = state.obs[:, :3] + jnp.array([0.05, 0.0, 0.03]), jax.jit(env.step)
        for _ in range(4):
            towards = jnp.clip((place - state.obs[:, :3]) / 0.05, -1, 1)
            state = step(state, jnp.concatenate([towards, jnp.zeros((ENVS, 1))], axis=-1))
        moved.append(float(jnp.linalg.norm(state.obs[:, :3] - place, axis=-1).max()))
    assert moved[0] < 0.005 < moved[1]


def test_the_official_package_is_played_by_waypoints_too() -> None:
    """A policy that names the target reaches it there; an action that is held would not stop."""
    env = envs_mjx.make("reach", 1, physics="c", goal="auto", action_repeat=REPEAT, control="waypoint")

    def act(obs: np.ndarray, goal: np.ndarray) -> np.ndarray:
        towards = np.clip((goal - np.asarray(obs)[:, :3]) / 0.05, -1, 1)
        return np.concatenate([towards, np.zeros((len(obs), 1))], axis=-1)

    assert envs_mjx.score_official(env, act, 4, 150, 0)["success_final"] == 1.0


def test_what_cannot_be_aimed_at_is_refused_in_one_line() -> None:
    with pytest.raises(EnvError, match=r"^control='jump': one of auto, hold, waypoint$"):
        envs_mjx.make("push", 1, physics="c", action_repeat=5, control="jump")
    with pytest.raises(EnvError, match=r"^control='waypoint': action_repeat=1 leaves no way to go; take 2 or more$"):
        envs_mjx.make("push", 1, physics="c", control="waypoint")
    with pytest.raises(EnvError, match=r"^control='waypoint': only Meta-World and Fetch"):
        envs_mjx.make("point_U", 1, action_repeat=5, control="waypoint")
    with pytest.raises(ConfigError, match=r"^control='waypoint': action_repeat=1 leaves no way to go"):
        with_overrides(Config(), control="waypoint").validate()
    with pytest.raises(ConfigError, match=r"^control='jump': one of auto, hold, waypoint"):
        with_overrides(Config(), control="jump").validate()


def test_auto_is_what_the_row_of_the_task_names() -> None:
    aimed = {task for task in TASKS if envs_mjx.control_of(task, "auto", 5) == "waypoint"}
    assert aimed == {"basketball", "lever-pull"}
    assert envs_mjx.control_of("lever-pull+push", "auto", 5) == "auto", "each by its own row"
    assert envs_mjx.control_of("point_U", "auto", 5) == envs_mjx.control_of("lever-pull", "auto", 1) == "hold"
    for task in ("lever-pull", "push"):
        env = envs_mjx.make(task, 1, physics="c", action_repeat=5, control="auto")
        assert isinstance(env.control, Waypoint) == (task == "lever-pull")
    config = with_overrides(PRESETS["metaworld_cpu"], task="lever-pull")
    assert ready(config).env.control == "waypoint"
    assert ready(with_overrides(config, task="push")).env.control == "hold"
