"""Where exploratory goals lie: distributions of the pure functions, and of the goals that tasks make of them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import envs_mjx
from crl_jax.config import ExploreConfig
from crl_jax.experience.explore import BRING, behaviour_goal, in_disc, on_the_way, raised
from envs_mjx.aligned import align

COUNT = 2_000
KEYS = jax.random.split(jax.random.PRNGKey(0), COUNT)


def uniform(values: Any, low: float = 0.0, high: float = 1.0) -> None:
    """Kolmogorov and Smirnov do not tell the values from a uniform sample."""
    assert stats.kstest((np.asarray(values) - low) / (high - low), "uniform").pvalue > 1e-3


def test_places_on_the_way_are_uniform_on_the_line() -> None:
    start, end = jnp.zeros((COUNT, 3)), jnp.broadcast_to(jnp.array([1.0, 2.0, -1.0]), (COUNT, 3))
    points = np.asarray(on_the_way(KEYS, start, end))
    np.testing.assert_allclose(points, points[:, :1] * np.array([1.0, 2.0, -1.0]), atol=1e-6)
    uniform(points[:, 0])


def test_heights_are_uniform_up_to_the_top_and_never_below_the_point() -> None:
    point = jnp.broadcast_to(jnp.array([0.3, 0.4, 0.1]), (COUNT, 3))
    lifted = np.asarray(raised(KEYS, point, jnp.full(COUNT, 0.35)))
    np.testing.assert_array_equal(lifted[:, :2], np.asarray(point)[:, :2])
    uniform(lifted[:, 2], 0.1, 0.35)
    np.testing.assert_array_equal(raised(KEYS, point, jnp.full(COUNT, 0.05)), point)


def test_offsets_are_uniform_in_a_horizontal_disc() -> None:
    offsets = np.asarray(in_disc(KEYS, 0.2))
    assert (offsets[:, 2] == 0).all()
    uniform((np.linalg.norm(offsets, axis=1) / 0.2) ** 2)
    uniform(np.arctan2(offsets[:, 1], offsets[:, 0]), -np.pi, np.pi)


def near(task: str, height: float, time: int = 149) -> tuple[Any, Any, np.ndarray]:
    """Environment, state and goals (E, G) of the second phase in every episode."""
    env = envs_mjx.make(task, 512, physics="c", goal="auto")
    state = jax.jit(env.reset)(jax.random.PRNGKey(4))
    config = ExploreConfig("touch_then_near", explore_share=1.0, touch_radius=0.0, near_radius=0.0, near_height=height)
    goals = behaviour_goal(env, state.replace(time=jnp.full(512, time)), config)
    return env, state, np.asarray(goals)


@pytest.mark.parametrize(("task", "held"), [("pick-place", True), ("shelf-place", True), ("push", False)])
def test_only_what_the_hand_holds_is_asked_for_above_its_way(task: str, held: bool) -> None:
    env, state, goals = near(task, 0.15)
    start, end = np.asarray(state.start), np.asarray(env.commanded_point(state.target))
    share = ((goals[:, :2] - start[:, :2]) * (end - start)[:, :2]).sum(1) / ((end - start)[:, :2] ** 2).sum(1)
    line = start[:, 2] + share * (end - start)[:, 2]
    uniform(share)
    if held:
        uniform((goals[:, 2] - line) / (np.maximum(start[:, 2], end[:, 2]) + 0.15 - line))
    else:
        np.testing.assert_allclose(goals[:, 2], line, atol=1e-5)


@pytest.mark.parametrize("task", ["stick-push", "stick-pull"])
def test_a_tool_is_touched_then_brought_to_the_object_or_moves_it(task: str) -> None:
    env, state, goals = near(task, 0.15)
    achieved = np.asarray(env.achieved_goal(state.obs))
    brings = np.abs(goals[:, :3] - achieved[:, :3]).max(axis=1) < 1e-6
    assert abs(brings.mean() - BRING) < 4 * np.sqrt(BRING * (1 - BRING) / 512)
    commanded = np.asarray(env.commanded_goal(state.start))
    np.testing.assert_allclose(goals[~brings, 3:], commanded[~brings, 3:], atol=1e-6)
    lies, reached = np.asarray(env.tool.lies(state)), np.asarray(env.tool.reaches(env.object_point(state.obs)))
    way = (goals[:, :3] + goals[:, 4:7] - lies)[brings]
    along = (reached - lies)[brings]
    share = (way[:, :2] * along[:, :2]).sum(1) / (along[:, :2] ** 2).sum(1)
    uniform(share)
    top = np.maximum(lies[:, 2], reached[:, 2])[brings] + 0.15
    assert (way[:, 2] + lies[brings, 2] <= top + 1e-5).all() and (way[:, 2] - share * along[:, 2] >= -1e-5).all()
    touch = near(task, 0.15, time=0)[2]
    np.testing.assert_allclose(touch[:, 4:7], achieved[:, 4:7], atol=1e-6)
    np.testing.assert_allclose(touch[:, :3], achieved[:, :3], atol=1e-6)
    assert (touch[:, 3] == 1).all() and np.allclose(touch[:, 7:], commanded[:, 7:], atol=1e-6)


@pytest.mark.parametrize("task", ["stick-push", "stick-pull"])
def test_a_tool_lies_where_its_row_says(task: str) -> None:
    """`Tool.start` is where the working end is at the start of every episode."""
    env = envs_mjx.make(task, 64, physics="c", goal="auto")
    state = jax.jit(env.reset)(jax.random.PRNGKey(1))
    end = np.asarray(env.achieved_goal(state.obs))[:, 4:7] + np.asarray(env.object_point(state.obs))
    np.testing.assert_allclose(end, env.tool.lies(state), atol=0.01)


def test_aligned_tasks_keep_their_tools() -> None:
    push, stick = align([envs_mjx.make(task, 4, physics="c", goal="auto") for task in ("push", "stick-push")])
    assert push.tool is None and stick.held_object and not push.held_object
    state = jax.jit(stick.reset)(jax.random.PRNGKey(0))
    config = ExploreConfig("touch_then_near", explore_share=1.0)
    goals = behaviour_goal(stick, state.replace(time=jnp.full(4, 149)), config)
    assert goals.shape == (4, stick.spec.goal_size) and np.isfinite(np.asarray(goals)).all()
    assert {"tool from object x", "hand from tool z", "hand from object x"} <= set(stick.spec.goal_names)
