"""Action noise against its theory; replay goals. tests/crl_jax/test_loop.py has the goals that touch an object."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest

import envs_mjx
from configs import PRESETS
from crl_jax import agents, loop
from crl_jax.config import ExploreConfig, with_overrides
from crl_jax.experience import buffer
from crl_jax.experience.explore import behaviour_goal, replay_goals
from crl_jax.experience.noise import COLOURS, THETA, action_noise, noisy, ornstein_uhlenbeck, pink
from crl_jax.experience.rollout import random_policy
from crl_jax.types import Agent
from tests.support.probe import TINY, Line

KEY = jax.random.PRNGKey(0)
T, E = 100, 2048


@given(kind=st.sampled_from(sorted(COLOURS)), steps=st.integers(2, 300))
def test_noise_has_variance_one_at_every_step(kind, steps):
    matrix = COLOURS[kind](steps)
    assert matrix.shape == (steps, steps)
    np.testing.assert_allclose(np.square(matrix).sum(axis=1), 1, rtol=1e-9)


@given(steps=st.integers(2, 200))
def test_ou_forgets_at_its_rate(steps):
    matrix = ornstein_uhlenbeck(steps)
    lag = np.abs(np.subtract.outer(np.arange(steps), np.arange(steps)))
    np.testing.assert_allclose(matrix @ matrix.T, (1 - THETA) ** lag, atol=1e-9)


@given(steps=st.integers(8, 300))
def test_pink_is_stationary_with_power_1_over_f(steps):
    matrix = pink(steps)
    covariance = matrix @ matrix.T
    np.testing.assert_allclose(covariance[1:, 1:], covariance[:-1, :-1], atol=1e-9)
    power = np.square(np.abs(np.fft.rfft(matrix, axis=0))).sum(axis=1)[1 : (steps - 1) // 2 + 1]
    slope = np.polyfit(np.log(np.arange(1, len(power) + 1)), np.log(power), 1)[0] if len(power) > 2 else -1.0
    assert slope == pytest.approx(-1, abs=1e-6)


@pytest.fixture(scope="module")
def drawn():
    """Kind -> (T, E, 2) noise, drawn one step at a time as in the loop."""
    keys = jax.random.split(KEY, E)

    def episode(kind):
        step = lambda time: action_noise(kind, keys, jnp.full(E, time), T, 2)  # noqa: E731
        return np.asarray(jax.jit(lambda: jax.lax.map(step, jnp.arange(T)))())

    return {kind: episode(kind) for kind in COLOURS}


@pytest.mark.parametrize("kind", COLOURS)
def test_what_is_drawn_is_normal_and_has_the_covariance_of_theory(drawn, kind):
    noise = drawn[kind]
    assert noise.shape == (T, E, 2)
    for step in (0, 37, T - 1):
        assert kstest(noise[step].ravel(), "norm").pvalue > 1e-3
    rows = noise.transpose(1, 2, 0).reshape(-1, T)
    matrix = COLOURS[kind](T)
    # The standard error of a covariance of normals of variance 1 from 4,096 rows is at most sqrt(2 / 4096) = 0.022.
    assert np.abs(rows.T @ rows / len(rows) - matrix @ matrix.T).max() < 5 * 0.022
    between = np.mean(noise[:, :, 0] * noise[:, :, 1])
    assert abs(between) < 0.02, "each action dimension has its own"


def test_the_spectrum_of_what_is_drawn(drawn):
    """The log-log slope of the mean periodogram is 0 for white noise and -1 for pink noise."""
    frequency = np.arange(1, T // 2)
    for kind, wanted in (("white", 0.0), ("pink", -1.0)):
        power = np.square(np.abs(np.fft.rfft(drawn[kind], axis=0))).mean(axis=(1, 2))[1 : T // 2]
        assert np.polyfit(np.log(frequency), np.log(power), 1)[0] == pytest.approx(wanted, abs=0.05)


def test_noise_is_a_function_of_episode_and_step_alone(drawn):
    keys = jax.random.split(KEY, E)
    times = jnp.arange(E) % T
    mixed = np.asarray(action_noise("pink", keys, times, T, 2))
    np.testing.assert_allclose(mixed, drawn["pink"][np.arange(E) % T, np.arange(E)], atol=1e-5)


def test_noisy_actions_stay_actions():
    state = Line(E, horizon=T).reset(KEY)
    action = jnp.zeros((E, 1))
    assert noisy(action, state, T, ExploreConfig()) is action
    small = np.asarray(noisy(action, state, T, ExploreConfig(action_noise="ou", action_noise_scale=0.2)))
    assert small.std() == pytest.approx(0.2, rel=0.1)
    large = np.asarray(noisy(action, state, T, ExploreConfig(action_noise="white", action_noise_scale=3.0)))
    assert np.abs(large).max() == 1


def seeker(env):
    """An agent without parameters whose action is its goal, so that tests can read the behaviour goal."""
    return Agent(
        init=lambda key: (),
        act=lambda state, obs, goal, key, deterministic: goal,
        update=lambda state, batch, key: (state, {}),
    )


@pytest.fixture(scope="module")
def filled():
    """A maze of horizon 100, the loop's state after two unrolls of 40 random steps, and a function that unrolls on."""
    env = envs_mjx.make("point_U", 256, horizon=T)
    train = with_overrides(PRESETS["reach_cpu"], unroll_length=40, min_replay=256 * 80, replay_capacity=256 * 320).train
    state = loop.init(env, seeker(env), train, KEY)
    step = jax.jit(lambda state: loop.collect(env, random_policy(2), state, 40)[0])
    return env, step(step(state)), step


def asked(env, before, now, **explore):
    config = ExploreConfig(**{"behaviour_goals": "replay", **explore})
    return np.asarray(behaviour_goal(env, now.env, config, replay_goals(env, before.ring, before.env, 40)))


def test_replay_goals_lie_in_the_ring(filled):
    env, state, _ = filled
    stored = {row.tobytes() for row in np.asarray(state.ring.obs[:80]).reshape(-1, 2)}
    goal = asked(env, state, state)
    assert all(row.tobytes() in stored for row in goal)
    assert len({row.tobytes() for row in goal}) > 200, "each episode has its own"


def test_replay_rows_are_uniform_over_what_was_stored(filled):
    """Each row of this ring stores its own number: goals of new episodes are uniform over the rows."""
    env = Line(2048, horizon=T)
    ring = buffer.init(320, 2048, 1, 1, 1)
    rows = jnp.broadcast_to(jnp.arange(320.0)[:, None, None], ring.obs.shape)
    ring = ring.replace(obs=rows, written=jnp.asarray(640))
    state = env.reset(KEY)  # as if its episodes began with this unroll, at row 640
    row = np.asarray(replay_goals(env, ring, state, 40)(state))[:, 0]
    # Rows 320 ... 459 may be overwritten by the 140 that come while these episodes run; at index 0 ... 139.
    assert row.min() >= 140 and row.max() <= 319
    counts, _ = np.histogram(row, bins=9, range=(140, 320))
    assert chisquare(counts).pvalue > 1e-3


def test_an_episode_keeps_its_replay_goal_through_its_unrolls(filled):
    env, state, step = filled
    goals, episodes = [], []
    for _ in range(12):  # the ring goes round: 12 * 40 > 320
        goals.append(asked(env, state, state))
        episodes.append(np.asarray(state.env.episode))
        after = step(state)
        # What began within the unroll has the same goal in the next (at time 0 no policy was asked in this one).
        began = np.asarray(after.env.time) > 0
        np.testing.assert_array_equal(asked(env, state, after)[began], asked(env, after, after)[began])
        state = after
    kept = moved = 0
    for index in range(1, 12):
        same = episodes[index] == episodes[index - 1]
        equal = (goals[index] == goals[index - 1]).all(axis=1)
        kept, moved = kept + same.sum(), moved + (~same).sum()
        assert equal[same].all() and not equal[~same].any()
    assert kept and moved


def test_mixed_asks_for_replay_in_its_share(filled):
    env, state, _ = filled
    for share in (0.0, 0.3, 1.0):
        goal = asked(env, state, state, behaviour_goals="mixed", explore_share=share)
        commanded = (goal == np.asarray(state.env.goal)).all(axis=1)
        assert abs((1 - commanded.mean()) - share) < 0.1
        np.testing.assert_array_equal(goal[~commanded], asked(env, state, state)[~commanded])


def test_goal_noise_is_in_goal_scales_and_holds_for_an_episode(filled):
    env, state, _ = filled
    scale, commanded = np.asarray(env.spec.goal_scale), np.asarray(state.env.goal)
    away = (asked(env, state, state, behaviour_goals="commanded", goal_noise=0.3) - commanded) / scale
    assert kstest(away.ravel() / 0.3, "norm").pvalue > 1e-3
    later = state.replace(env=state.env.replace(time=state.env.time + 1))
    again = (asked(env, state, later, behaviour_goals="commanded", goal_noise=0.3) - commanded) / scale
    np.testing.assert_array_equal(away, again)


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"behaviour_goals": "mixed", "action_noise": "pink"}, {"goal_noise": 0.1}])
def test_the_loop_explores_so(changes):
    """In a whole round, the donated ring is updated in place, although the policy reads it."""
    config = with_overrides(
        PRESETS["reach_cpu"],
        **TINY,
        updates_per_iteration=1,
        iterations_per_round=2,
        **changes,
    ).validate()
    env = Line(4, horizon=5)
    agent = agents.make(config, env.spec)
    state = jax.jit(loop.make_warm_up(env, config.train))(loop.init(env, agent, config.train, KEY))
    leaf = state.ring.obs
    state, metrics, episodes = jax.jit(loop.make_round(env, agent, config), donate_argnums=0)(state)
    assert leaf.is_deleted() and int(state.ring.written) == 24
    assert "distinct_goals" in metrics and episodes.object_moved is not None, "told whatever the behaviour goals"
    assert np.abs(np.asarray(state.ring.action)).max() <= 1
