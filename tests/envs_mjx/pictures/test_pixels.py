"""Observations that are pictures, tiny, on the CPU: engine `warp` draws them inside jit, engine `c` on the host.

Axis letters: E environments, H height, W width.
"""

from __future__ import annotations

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs_mjx import EnvError, camera_of, make
from envs_mjx.base import State
from envs_mjx.pictures import render
from envs_mjx.pictures.pictured import Pictured
from tests.envs_mjx.physics.test_mjx import ENVS, as_dynamics

WIDTH, HEIGHT = 48, 36
SIZE = {"width": WIDTH, "height": HEIGHT}
LEFT = np.array([-1.0, -0.3, 0.0, 0.0], np.float32)


@pytest.fixture(scope="module")
def env() -> Pictured:
    return as_pictured(make("window-close", ENVS, physics="warp", obs="pixels", **SIZE))


def as_pictured(env: object) -> Pictured:
    assert isinstance(env, Pictured)
    return env


@pytest.fixture(scope="module")
def states(env: Pictured) -> list[State]:
    """The start, and a state with the hand moved in odd environments; simulated by engine `c`, converted for `warp`."""
    exact = make("window-close", ENVS, physics="c")
    vectors = np.array([(0, y, 0.2) for y in (0.75, 0.8, 0.85, 0.9)], np.float32)
    first = jax.jit(exact.reset_to)(vectors, jax.random.split(jax.random.PRNGKey(0), ENVS))
    state, step = first, jax.jit(exact.step)
    for _ in range(12):
        state = step(state, np.arange(ENVS)[:, None] % 2 * LEFT)
    return [one.replace(physics=as_dynamics(exact, one.physics)) for one in (first, state)]


@pytest.fixture(scope="module")
def pictures(env: Pictured, states: list[State]) -> list[np.ndarray]:
    observe = jax.jit(lambda inner: env.observe_pixels(env._seen(inner, inner.goal)))
    return [np.asarray(observe(state)).astype(int) for state in states]


def changed(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """(E,) share of pixels that differ by more than 30 of 255."""
    return (np.abs(before - after) > 30).any(axis=-1).mean(axis=(1, 2))


def test_each_environment_has_a_picture_of_its_own(pictures: list[np.ndarray]) -> None:
    start = pictures[0]
    assert start.shape == (ENVS, HEIGHT, WIDTH, 3)
    assert start.std(axis=(1, 2, 3)).min() > 20, "an empty picture"
    moved = changed(start[:1], start[1:])
    assert (moved > 0.005).all() and moved[-1] > 0.02, "the window stands elsewhere in each"


def test_a_picture_follows_its_own_arm(pictures: list[np.ndarray]) -> None:
    moved = changed(*pictures)
    assert moved[::2].max() > 0, "the fingers close a little at rest"
    assert moved[1::2].min() > 1.5 * moved[::2].max(), moved


def test_pictures_are_those_of_the_renderer(env: Pictured, states: list, pictures: list, monkeypatch) -> None:
    """Compare with the host renderer on the same states: fixtures, camera, lights and goal marks agree."""
    monkeypatch.setattr(render, "backend", lambda: "warp")
    for state, ours in zip(states, pictures, strict=True):
        target = np.asarray(state.target)
        theirs = env.env.frames([(state.physics, target, index) for index in range(ENVS)], WIDTH, HEIGHT, "corner")
        error = np.abs(ours - theirs).max(axis=-1)
        print(f"pixels: mean difference {error.mean():.2f} of 255, {(error > 30).mean():.2%} differ clearly")
        assert (error > 30).mean() < 0.01


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"physics": "jax", "obs": "pixels"}, "obs='pixels': physics='jax' draws no pictures; take physics='c'"),
        ({"task": "point_U", "obs": "pixels"}, "obs='pixels': point_U is no scene of Meta-World or Fetch"),
        ({"physics": "c", "obs": "pixel"}, "obs='pixel': no such observation; one of state, pixels"),
        ({"physics": "warp", "obs": "pixels", "camera": "front"}, "camera='front': no such camera; one of .*corner"),
        ({"physics": "warp", "obs": "pixels", "width": 0}, "width=0, height=84: both must be at least 1"),
    ],
)
def test_bad_requests_are_refused_in_one_line(settings: dict, told: str) -> None:
    with pytest.raises(EnvError, match=told):
        make(**{"task": "push", "num_envs": 2, **settings})


# -- engine c ---------------------------------------------------------------------------------------------------------

SIDE = 64
TASKS = ("FetchPush", *(pytest.param(task, marks=pytest.mark.slow) for task in ("push", "drawer-open")))


@pytest.fixture(scope="module", params=TASKS)
def seen(request: pytest.FixtureRequest) -> tuple[Pictured, State]:
    """An environment that is seen through a camera, and its state after a few steps."""
    env = as_pictured(make(request.param, 2, physics="c", goal="auto", obs="pixels", width=SIDE, height=SIDE))
    state = jax.jit(env.reset)(jax.random.PRNGKey(0))
    for _ in range(5):
        state = jax.jit(env.step)(state, jnp.tile(LEFT, (2, 1)))
    return env, state


def test_a_picture_is_that_of_mujocos_own_renderer(seen: tuple[Pictured, State]) -> None:
    """Software OpenGL shades, casts shadows and smooths edges otherwise; what is where agrees.

    Tolerance: grey values of 8 x 8 blocks correlate by 0.9, and differ by 25 of 255 in the mean.
    """
    env, state = seen
    snapshots = [(state.physics, np.asarray(state.target), index) for index in range(2)]
    theirs = env.frames(snapshots, SIDE, SIDE, env._camera.name)
    ours = np.asarray(env.observe_pixels(state))
    blocks = [
        np.asarray(one, float).mean(-1).reshape(2, 8, 8, 8, 8).mean(axis=(2, 4)).ravel() for one in (ours, theirs)
    ]
    agree, apart = np.corrcoef(*blocks)[0, 1], np.abs(blocks[0] - blocks[1]).mean()
    print(f"{env.task.name}: correlation {agree:.3f}, mean difference {apart:.1f} of 255")
    assert agree > 0.9 and apart < 25


def test_goal_pictures_show_the_goal(seen: tuple[Pictured, State]) -> None:
    """The drawn state achieves the goal, its picture is another than the start's, and no goal mark is in it."""
    env, _ = seen
    state = jax.jit(env.reset)(jax.random.PRNGKey(1))
    inner = state.physics.inner
    placed = jax.jit(env._goal_poses)(inner)
    missing = np.abs(np.asarray(env.env.achieved_goal(env.env.observe(placed)) - inner.goal))
    assert missing.max() < 0.05, "the hand reaches a little less far than the goal asks"
    assert missing[:, :3].max() < 0.02, "the object is where the goal asks for it"
    again = np.asarray(env._draw(placed)[0]).reshape(2, -1)
    np.testing.assert_array_equal(again, np.asarray(state.goal))
    assert (np.abs(again.astype(int) - np.asarray(state.obs)) > 30).mean() > 0.005


def test_an_episode_keeps_its_goal_and_the_next_has_another() -> None:
    env = as_pictured(make("FetchReach", 2, physics="c", obs="pixels", width=16, height=16, horizon=3))
    step, action = jax.jit(env.step), jnp.zeros((2, 4))
    first = state = jax.jit(env.reset)(jax.random.PRNGKey(0))
    again = jax.jit(env.reset)(jax.random.PRNGKey(0))
    for one, other in ((first.obs, again.obs), (first.goal, again.goal)):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other), "the first picture that is drawn")
    assert state.obs.dtype == state.goal.dtype == jnp.uint8 and state.obs.shape == (2, 16 * 16 * 3)
    for _ in range(2):
        state = step(state, action)
        np.testing.assert_array_equal(np.asarray(state.goal), np.asarray(first.goal))
        assert not state.done.any()
    ended, state = jax.jit(env.advance)(state, action), step(state, action)
    assert ended.done.all() and state.done.all() and (state.episode == 1).all() and (state.time == 0).all()
    assert (np.asarray(state.goal) != np.asarray(first.goal)).any(axis=1).all()
    np.testing.assert_array_equal(np.asarray(jax.jit(env.restart)(ended).goal), np.asarray(state.goal))
    with pytest.raises(EnvError, match="obs='pixels'"):
        env.goal_success(state.obs, state.goal)


def test_gymnasium_sees_fetch_through_its_own_camera() -> None:
    options = {"physics": "c", "obs": "pixels", "width": 16, "height": 16}
    ours = gymnasium.make_vec("crl_jax/FetchReach-v4", num_envs=1, **options)
    named = gymnasium.make_vec("crl_jax/FetchReach-v4", num_envs=1, camera=camera_of("FetchReach"), **options)
    first, second = (one.reset(seed=0)[0] for one in (ours, named))
    assert first.shape == (1, 16, 16, 3) and first.std() > 5 and (first == second).all()


@pytest.mark.slow
def test_gymnasium_observes_pixels() -> None:
    options = {"physics": "warp", "obs": "pixels", "horizon": 3, "goal_dict": True, **SIZE}
    envs = gymnasium.make_vec("crl_jax/push-v3", num_envs=2, **options)
    assert envs.single_observation_space["observation"] == gymnasium.spaces.Box(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    obs, _ = envs.reset(seed=0)
    seen = [obs]
    for _ in range(3):
        obs, _, _, truncated, info = envs.step(np.tile(LEFT, (2, 1)))
        seen.append(obs)
    assert all(one in envs.observation_space for one in seen)
    assert truncated.all()
    last = np.stack([one["observation"] for one in info["final_obs"]])
    before, after = (one["observation"].astype(int) for one in seen[-2:])
    assert changed(before, last).max() < changed(after, last).min(), "the end is seen, then a new start"
    assert (seen[0]["observation"][0] != seen[0]["observation"][1]).any()
