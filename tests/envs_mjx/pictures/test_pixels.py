"""Pixel observations of engine `warp`, tiny, on the CPU.

Axis letters: E environments, H height, W width.
"""

from __future__ import annotations

import gymnasium
import jax
import numpy as np
import pytest

from envs_mjx import EnvError, make
from envs_mjx.metaworld.env import MetaWorld
from envs_mjx.pictures import render
from tests.envs_mjx.physics.test_mjx import ENVS, as_dynamics

WIDTH, HEIGHT = 48, 36
SIZE = {"width": WIDTH, "height": HEIGHT}
LEFT = np.array([-1.0, -0.3, 0.0, 0.0], np.float32)


@pytest.fixture(scope="module")
def env() -> MetaWorld:
    return make("window-close", ENVS, physics="warp", obs="pixels", **SIZE)


@pytest.fixture(scope="module")
def states(env: MetaWorld) -> list:
    """The start, and a state with the hand moved in odd environments; simulated by engine `c`, converted for `warp`."""
    exact = make("window-close", ENVS, physics="c")
    vectors = np.array([(0, y, 0.2) for y in (0.75, 0.8, 0.85, 0.9)], np.float32)
    first = jax.jit(exact.reset_to)(vectors, jax.random.split(jax.random.PRNGKey(0), ENVS))
    state, step = first, jax.jit(exact.step)
    for _ in range(12):
        state = step(state, np.arange(ENVS)[:, None] % 2 * LEFT)
    return [one.replace(physics=as_dynamics(exact, one.physics)) for one in (first, state)]


@pytest.fixture(scope="module")
def pictures(env: MetaWorld, states: list) -> list[np.ndarray]:
    observe = jax.jit(env.observe_pixels)
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


def test_pictures_are_those_of_the_renderer(env: MetaWorld, states: list, pictures: list, monkeypatch) -> None:
    """Compare with the host renderer on the same states: fixtures, camera, lights and goal marks agree."""
    monkeypatch.setattr(render, "backend", lambda: "warp")
    for state, ours in zip(states, pictures, strict=True):
        target = np.asarray(state.target)
        theirs = env.frames([(state.physics, target, index) for index in range(ENVS)], WIDTH, HEIGHT, "corner")
        error = np.abs(ours - theirs).max(axis=-1)
        print(f"pixels: mean difference {error.mean():.2f} of 255, {(error > 30).mean():.2%} differ clearly")
        assert (error > 30).mean() < 0.01


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"physics": "c", "obs": "pixels"}, "obs='pixels': physics='c' draws no batch.*physics='warp'"),
        ({"task": "point_U", "obs": "pixels"}, "obs='pixels': point_U is no scene"),
        ({"physics": "c", "obs": "pixel"}, "obs='pixel': no such observation; one of state, pixels"),
        ({"physics": "warp", "obs": "pixels", "camera": "front"}, "camera='front': no such camera; one of .*corner"),
        ({"physics": "warp", "obs": "pixels", "width": 0}, "width=0, height=84: both must be at least 1"),
    ],
)
def test_bad_requests_are_refused_in_one_line(settings: dict, told: str) -> None:
    with pytest.raises(EnvError, match=told):
        make(**{"task": "push", "num_envs": 2, **settings})


def test_an_environment_without_pixels_says_how_to_get_them() -> None:
    env = make("push", 2, physics="c")
    with pytest.raises(EnvError, match="obs='pixels'"):
        env.observe_pixels(jax.eval_shape(env.reset, jax.random.PRNGKey(0)))


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
