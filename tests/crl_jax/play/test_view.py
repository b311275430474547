"""The live view: a session is stepped and commanded; its page is served, and its controls act."""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Iterator

import numpy as np
import pytest

from crl_jax.config import ConfigError
from crl_jax.play import view
from envs_mjx.base import EnvError


@pytest.fixture(scope="module")
def session() -> view.Session:
    return view.Session("hammer")


def test_an_episode_runs_and_the_next_begins_elsewhere(session: view.Session) -> None:
    assert session.name == "demo" and session.repeat == 5
    session.begin()
    centre, episode = session.centre, session.episode
    while not session.over:
        session.step()
    assert session.time == 150 and session.success, "the policy that ships"
    session.begin()
    assert session.episode == episode + 1 and session.time == 0 and not session.over
    assert session.env.task.name == "hammer" and session.centre.shape == centre.shape


def test_a_commanded_goal_is_what_the_policy_and_success_see() -> None:
    session = view.Session("reach")
    assert session.name in ("demo", "scripted")
    point = session.centre + np.array([0.05, 0.0, 0.05])
    before = np.asarray(session.state.goal)
    session.command(point)
    np.testing.assert_allclose(np.asarray(session.state.target)[0], point, atol=1e-6)
    assert (np.asarray(session.state.goal) != before).any()
    for _ in range(140):
        session.step()
    assert session.distance < 0.06, "the hand goes where it is put"


def test_what_cannot_be_shown_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r"view='hamer': no run here .* nearest: hammer"):
        view.Session("hamer")
    with pytest.raises(EnvError, match="only Meta-World's tasks are shown"):
        view.Session("point_U", "random")


@pytest.fixture
def server() -> Iterator[object]:
    viser = pytest.importorskip("viser")
    made = viser.ViserServer(host="localhost", port=18080, verbose=False)
    yield made
    made.stop()


def test_the_pages_controls_act(session: view.Session, server: object) -> None:
    mjviser = pytest.importorskip("mjviser")
    page = view.Page(session, server, mjviser.ViserMujocoScene)
    time = session.time
    assert page.tick() == view.STEP_SECONDS and session.time == time + 1
    page.speed.value = 2.0
    assert page.tick() == view.STEP_SECONDS / 2
    assert "env step" in page.light.content
    page.play.value = False
    paused = session.time
    page.tick()
    assert session.time == paused, "paused"
    page.goal[0].value = 1.0
    page.tick()
    moved = np.asarray(session.state.target)[0] - session.centre
    np.testing.assert_allclose(moved, [view.REACH[0], 0, 0], atol=1e-6)
    episode = session.episode
    page.skip = True
    page.tick()
    assert session.episode == episode + 1 and page.goal[0].value == 0.0


def test_it_is_served_until_it_is_stopped(session: view.Session) -> None:
    pytest.importorskip("viser")
    lines: list[str] = []
    ended = threading.Event()
    serving = threading.Thread(target=view.serve, args=(session, "localhost", 18090, lines.append, ended.is_set))
    serving.start()
    try:
        while not lines and serving.is_alive():
            ended.wait(0.1)
        address = lines[0].split()[0]
        assert "<html" in urllib.request.urlopen(address, timeout=20).read().decode().lower()
    finally:
        ended.set()
        serving.join(20)
    assert not serving.is_alive()
