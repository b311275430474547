"""Small films of tasks and the contact sheet. test_train.py tests their command line.

Axis letters: T frames, H height, W width.
"""

from __future__ import annotations

import jax
import numpy as np
import pytest

import envs_mjx
from envs_mjx import EnvError, film
from envs_mjx.metaworld.tasks import TASKS

SIZE = (64, 48)


def test_every_task_has_a_policy_to_be_shown_with() -> None:
    policies = {task: film.policy_of(task) for task in envs_mjx.names()}
    assert {task for task, policy in policies.items() if policy == "scripted"} == set(TASKS)
    assert film.policy_of("push", "random") == "random" == policies["point_U"] == policies["sawyer_bin"]


@pytest.mark.parametrize(
    ("task", "settings", "words"),
    [
        ("psh", {}, ["task='psh'", "push"]),
        ("push", {"policy": "trained"}, ["policy='trained'", "scripted, random"]),
        ("sawyer_bin", {"policy": "scripted"}, ["sawyer_bin", "'random'"]),
        ("push", {"camera": "front"}, ["camera='front'", "close", "corner3"]),
        ("push", {"physics": "d"}, ["physics='d'"]),
    ],
)
def test_bad_requests_are_refused_in_one_line(task: str, settings: dict, words: list[str]) -> None:
    with pytest.raises(EnvError) as caught:
        film.film(task, **settings)
    assert all(word in str(caught.value) for word in words) and "\n" not in str(caught.value)


@pytest.mark.slow
def test_the_scripted_policy_reaches_and_the_film_ends_soon_after() -> None:
    env = envs_mjx.make("reach", 2, physics="c", reward=False)
    success = np.array([state.success for state in film.play(env, "scripted", 1, 120, compiled=False)])
    firsts = success.argmax(axis=0)
    assert success.any(axis=0).all() and not success[0].any()
    frames, fps = film.film("reach", episodes=2, seed=1, size=SIZE)
    assert frames.shape == (sum((first + film._LINGER) // 2 + 1 for first in firsts), 48, 64, 3) and fps == 40
    assert frames.dtype == np.uint8 and frames[0].std() > 20
    assert (np.abs(frames[0].astype(int) - frames[firsts[0] // 2]) > 30).any(axis=-1).mean() > 0.01, "the arm moves"


def test_a_maze_is_filmed_by_its_own_frames() -> None:
    frames, fps = film.film("point_FourRooms", episodes=2, seed=0, size=(44, 44))
    assert frames.shape[1:] == (44, 44, 3) and fps == 20 and 2 <= len(frames) <= 2 * 51
    assert all((frame == (200, 40, 40)).all(axis=-1).any() for frame in frames), "the point"


def test_close_is_nearer_than_the_scenes_own_cameras() -> None:
    """A cyan finger covers more of the picture."""
    env = envs_mjx.make("push", 1, physics="c")
    state = jax.jit(env.reset)(jax.random.PRNGKey(0))
    snapshot = (state.physics, np.asarray(state.target), 0)
    close, corner = (film.frames(env, [snapshot], (128, 96), camera)[0].astype(int) for camera in ("close", "corner3"))
    finger = [((shot[..., 2] > 150) & (shot[..., 0] < 120)).mean() for shot in (close, corner)]
    assert finger[0] > 0.001 and finger[0] > 2 * finger[1]
    green = (close[..., 1] > 120) & (close[..., 0] < 90) & (close[..., 2] < 90)
    assert green.any(), "the goal mark"


def test_a_tile_shows_a_success() -> None:
    picture, success = film.tile("reach", size=SIZE)
    assert success and picture.shape == (48, 64, 3) and picture.dtype == np.uint8 and picture.std() > 20


def test_a_sheet_has_every_picture_over_its_name() -> None:
    pictures = [np.full((20, 60, 3), 50 * index, np.uint8) for index in range(5)]
    paper = film.sheet(pictures, ["reach", "push", "", "sweep", "hammer"], columns=3)
    assert paper.shape == (2 * (20 + film._LABEL), 180, 3)
    for index, name in enumerate(["reach", "push", "", "sweep", "hammer"]):
        top, left = index // 3 * (20 + film._LABEL), index % 3 * 60
        assert (paper[top : top + 20, left : left + 60] == 50 * index).all()
        assert (paper[top + 20 : top + 20 + film._LABEL, left : left + 60] < 128).any() == bool(name)


def test_a_camera_that_a_film_would_not_use_is_refused() -> None:
    for task, told in (("point_U", "films of this task have one view; leave it out"), ("reach", "camera='nowhere'")):
        env = envs_mjx.make(task, 1, physics="c")
        film.check_camera(env, film.CLOSE)
        with pytest.raises(EnvError, match=told):
            film.check_camera(env, "nowhere")
