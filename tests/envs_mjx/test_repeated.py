"""Action repeat: a decision is its env steps one by one, and what they reached is not lost."""

from __future__ import annotations

import copy
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs_mjx
from crl_jax.evaluate import evaluate
from envs_mjx import EnvError
from envs_mjx.aligned import align
from envs_mjx.base import select
from envs_mjx.repeated import Repeated
from tests.support.probe import Line

ENVS, REPEAT = 4, 5


def _same(one: Any, other: Any) -> None:
    for left, right in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(np.asarray(left), np.asarray(right))


@pytest.mark.parametrize("task", ["push", "point_U"])
def test_a_decision_is_its_env_steps_bit_for_bit(task: str) -> None:
    """Physics, observations, success, restarts and what the metrics add up, over an episode and a half."""
    settings = {"physics": "c", "goal": "auto", "horizon": 4 * REPEAT}
    single, held = (envs_mjx.make(task, ENVS, action_repeat=repeat, **settings) for repeat in (1, REPEAT))
    assert held.spec.horizon == 4 and held.spec.action_repeat == REPEAT and single.spec.action_repeat == 1
    key = jax.random.PRNGKey(3)
    state, decided = jax.jit(single.reset)(key), jax.jit(held.reset)(key)
    step, decide = jax.jit(single.step), jax.jit(held.step)
    for number in range(6):
        action = jax.random.uniform(jax.random.fold_in(key, number), (ENVS, single.spec.action_size), minval=-1)
        seen = []
        for _ in range(REPEAT):
            state = step(state, action)
            seen.append(state.metrics)
        decided = decide(decided, action)
        _same((decided.physics, decided.obs, decided.goal), (state.physics, state.obs, state.goal))
        _same((decided.key, decided.episode, decided.done), (state.key, state.episode, state.done))
        np.testing.assert_array_equal(decided.time * REPEAT, state.time)
        for name in state.metrics.keys() - {"official_reward", "diverged"}:
            np.testing.assert_array_equal(decided.metrics[name], seen[-1][name])
        totals = {"steps_in_success": ("success", np.sum), "nearest": ("distance", np.min)}
        totals |= {"official_reward": ("official_reward", np.sum)} if "official_reward" in state.metrics else {}
        for name, (part, total) in totals.items():
            expected = total([np.asarray(one[part]) for one in seen], axis=0)
            np.testing.assert_allclose(decided.metrics[name], expected, rtol=1e-6)


def test_success_on_the_way_counts_and_a_lost_episode_ends() -> None:
    """A point that runs past its goal within a decision has been there; one that breaks ends its episode then."""
    passing = Repeated(Line(2, 10), 5)
    state = passing.reset(jax.random.PRNGKey(0))
    towards = jnp.sign(state.goal)
    after = passing.advance(state, towards)
    assert not after.success.any() and (after.metrics["steps_in_success"] > 0).all() and not after.done.any()
    breaking = Repeated(Line(2, 10, breaks_at=2.0), 5)
    after = breaking.advance(breaking.reset(jax.random.PRNGKey(0)), towards)
    assert after.done.all() and (after.metrics["diverged"] == 1).all()
    assert (breaking.restart(after).time == 0).all() and (breaking.restart(after).episode == 1).all()


def test_evaluation_counts_env_steps() -> None:
    env = Line(8, 10)

    def policy(state: Any, key: jax.Array) -> jax.Array:
        return 0.2 * jnp.sign(state.goal)

    metrics = [evaluate(one, policy, jax.random.PRNGKey(1)) for one in (env, Repeated(env, 5))]
    for name in ("success_any", "success_final", "time_at_goal", "min_distance", "final_distance"):
        assert float(metrics[0][name]) == pytest.approx(float(metrics[1][name])), name


def test_aligned_tasks_may_repeat_their_actions() -> None:
    made = [envs_mjx.make(task, 2, physics="c", goal="auto", action_repeat=5) for task in ("reach", "push")]
    for env in align(made):
        state = jax.jit(env.step)(env.reset(jax.random.PRNGKey(0)), jnp.zeros((2, 4)))
        assert env.spec.horizon == 30 and state.obs.shape == (2, env.spec.obs_size)


@pytest.mark.parametrize("repeat", [0, 7])
def test_a_repeat_that_does_not_fit_is_refused_in_one_line(repeat: int) -> None:
    with pytest.raises(EnvError, match=f"^action_repeat={repeat}: must be at least 1 and divide horizon=150$"):
        envs_mjx.make("push", 2, physics="c", action_repeat=repeat)
    with pytest.raises(EnvError, match="action_repeat"):
        Repeated(Line(2, 10), 3)


def test_an_ended_episode_stands_still_for_the_rest_of_its_decision() -> None:
    """An ant that falls in mid-decision: its state at the end is that of the env step at which it fell."""
    settings = {"physics": "c", "horizon": 200}
    single, held = (envs_mjx.make("ant", 4, action_repeat=repeat, **settings) for repeat in (1, 10))
    key = jax.random.PRNGKey(0)
    state, decided = jax.jit(single.reset)(key), jax.jit(held.reset)(key)
    advance, decide = jax.jit(single.advance), jax.jit(held.advance)
    ended = np.zeros(4, bool)
    for number in range(20):
        action = jnp.sign(jax.random.normal(jax.random.fold_in(key, number), (4, single.spec.action_size)))
        decided = decide(decided, action)
        for _ in range(10):
            after = advance(state, action)
            state = select(state.done, state, after)
        np.testing.assert_array_equal(decided.obs, state.obs)
        np.testing.assert_array_equal(decided.done, state.done)
        ended |= np.asarray(state.done) & (np.asarray(state.time) % 10 > 0)
        if state.done.any():
            break
    assert ended.any(), "no ant fell in mid-decision; take other actions"


def test_the_official_package_takes_an_environment_that_repeats() -> None:
    env = envs_mjx.make("reach", 1, physics="c", goal="auto", action_repeat=5)
    asked: list[int] = []

    def act(obs: Any, goal: Any) -> np.ndarray:
        asked.append(len(obs))
        return np.zeros((len(obs), 4), np.float32)

    found = envs_mjx.score_official(env, act, 2, 150, 0)
    assert len(asked) == 30 and found["episodes"] == 2
    with pytest.raises(EnvError, match="action_repeat=0: all must be at least 1"):
        envs_mjx.official.zero_shot(env.env, act, 1, 150, 0, action_repeat=0)
    with pytest.raises(EnvError, match=r"action_repeat=2[.]5"):
        envs_mjx.make("reach", 1, physics="c", action_repeat=2.5)  # type: ignore[arg-type]
    assert copy.copy(env).repeat == 5
