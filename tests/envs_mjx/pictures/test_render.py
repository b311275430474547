"""Pictures by this machine's own renderer, and always by Warp's ray tracer, too."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from envs_mjx import EnvError, make
from envs_mjx.metaworld import scenes
from envs_mjx.metaworld.tasks import TASKS
from envs_mjx.pictures import render

WIDTH, HEIGHT = 96, 72
SIZE = {"width": WIDTH, "height": HEIGHT}


@pytest.fixture(scope="module")
def pairs() -> list[render.Pair]:
    """Three states of the window scene: settled, with the window moved, and the first again."""
    task = TASKS["window-close"]
    first = (scenes.load_model(task.scene), scenes.settle(task.scene, task.hand_init))
    model, data = copy.copy(first[0]), copy.copy(first[1])
    model.body("window").pos += (0.3, 0.0, 0.0)
    render.mujoco.mj_forward(model, data)
    return [first, (model, data), first]


@pytest.fixture(params=["default", "warp"])
def name(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of the active backend: this machine's own, then Warp."""
    if request.param == "warp":
        monkeypatch.setattr(render, "backend", lambda: "warp")
    return render.backend()


def test_backend_is_one_that_works() -> None:
    assert render.backend() in (*render.BACKENDS, "glfw")


def test_frames_show_each_simulation(name: str, pairs: list[render.Pair]) -> None:
    frames = render.render_frames(iter(pairs), **SIZE)
    assert frames.shape == (3, HEIGHT, WIDTH, 3) and frames.dtype == np.uint8
    assert frames[0].std() > 20, "an empty picture"
    np.testing.assert_array_equal(frames[0], frames[2])
    moved = (np.abs(frames[0].astype(int) - frames[1]) > 30).any(axis=-1)
    assert 0.02 < moved.mean() < 0.6, "the moved window is seen, the rest stays"


@pytest.mark.parametrize("camera", ["corner", "corner3"])
def test_a_point_falls_where_its_mark_is_drawn(camera: str, name: str, pairs: list[render.Pair]) -> None:
    model, data = pairs[0]
    frame = render.render_frames(pairs[:1], **SIZE, camera=camera)[0].astype(int)
    rows, columns = np.nonzero((frame[..., 1] > 120) & (frame[..., 0] < 80) & (frame[..., 2] < 80))
    goal = np.array(data.site("goal").xpos)[None]
    ((column, row, scale),) = render.project(goal, model, data, camera, WIDTH, HEIGHT)
    assert np.hypot(columns.mean() + 0.5 - column, rows.mean() + 0.5 - row) < max(2.0, 0.02 * scale)
    eye = np.array(data.camera(camera).xpos)[None]
    assert np.isnan(render.project(2 * eye - goal, model, data, camera, WIDTH, HEIGHT)).all(), "behind the camera"


def test_more_frames_than_a_chunk(name: str, pairs: list[render.Pair]) -> None:
    frames = render.render_frames((pairs[index % 2] for index in range(render._CHUNK + 3)), 32, 24)
    assert len(frames) == render._CHUNK + 3
    np.testing.assert_array_equal(frames[::2], np.broadcast_to(frames[0], frames[::2].shape))
    np.testing.assert_array_equal(frames[1::2], np.broadcast_to(frames[1], frames[1::2].shape))
    assert (frames[0] != frames[1]).any()


def test_corner_is_upright_and_shows_the_red_arm_on_the_right(name: str, pairs: list[render.Pair]) -> None:
    frame = render.render_frames(pairs[:1], **SIZE, camera="corner")[0].astype(int)
    red = (frame[..., 0] > 90) & (frame[..., 1] < 60) & (frame[..., 2] < 60)
    rows, columns = np.nonzero(red)
    assert 0.03 < red.mean() < 0.4
    assert columns.mean() > WIDTH / 2
    assert rows.min() < HEIGHT / 4, "the elbow is up"
    green = (frame[..., 1] > 120) & (frame[..., 0] < 80) & (frame[..., 2] < 80)
    assert green.any(), "the goal mark"


def test_backends_agree_on_the_scene(pairs: list[render.Pair], monkeypatch: pytest.MonkeyPatch) -> None:
    if render.backend() == "warp":
        pytest.skip("no OpenGL here")
    ours = render.render_frames(pairs[:1], **SIZE).astype(int)
    monkeypatch.setattr(render, "backend", lambda: "warp")
    warps = render.render_frames(pairs[:1], **SIZE).astype(int)
    assert np.abs(ours - warps).mean() < 30


def test_materialised_states_can_be_drawn(name: str) -> None:
    import jax

    env = make("window-close", 2, physics="c")
    state = env.reset(jax.random.PRNGKey(0))
    frames = render.render_frames([env.physics.materialise(state.physics, index) for index in range(2)], **SIZE)
    assert (frames[0] != frames[1]).any()


@pytest.mark.parametrize(
    ("count", "options", "words"),
    [
        (1, {"camera": "front"}, ["camera='front'", "corner2"]),
        (0, {}, ["frames=0"]),
        (1, {"width": 0}, ["width=0"]),
    ],
)
def test_bad_requests_are_refused(count: int, options: dict, words: list[str], pairs: list[render.Pair]) -> None:
    with pytest.raises(EnvError) as caught:
        render.render_frames(pairs[:count], **options)
    assert all(word in str(caught.value) for word in words)


def test_a_disabled_gl_means_warp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "disable")
    assert render.backend.__wrapped__() == "warp"


def test_without_any_renderer_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(render, "_has_gl", lambda name: False)
    assert render.backend.__wrapped__() == "warp"
    monkeypatch.setattr(render.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EnvError, match="libosmesa6"):
        render.backend.__wrapped__()
