"""The live view: a session is stepped and commanded; its page is served, and its controls act."""

from __future__ import annotations

import contextlib
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from configs import PRESETS
from crl_jax.agents.crl import CRL
from crl_jax.config import ConfigError, with_overrides
from crl_jax.play import view
from crl_jax.play.policy import Trained
from crl_jax.trainer import build
from envs_mjx.base import EnvError
from tests.support.browser import Tab, needs_chromium, opened


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
    steps = session.time
    assert page.tick() == 2 * view.STEP_SECONDS and session.time == steps + 1, "at half speed"
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
    assert session.episode == episode + 1
    moved = np.asarray(session.state.target)[0] - session.centre
    np.testing.assert_allclose(moved, [view.REACH[0], 0, 0], atol=1e-6, err_msg="the next episode asks for it, too")
    page.centre_goal()
    page.tick()
    np.testing.assert_allclose(np.asarray(session.state.target)[0], session.centre, atol=1e-6)
    assert page.plot is None, "a policy that ships has no critic"
    page.play.value = True
    session.time = session.env.spec.horizon - 1
    assert page.tick() == view.PAUSE


def test_the_critic_of_a_run_is_plotted(monkeypatch: pytest.MonkeyPatch) -> None:
    config = with_overrides(PRESETS["metaworld_cpu"], task="reach", width=16, twin=True, num_envs=8)
    setup = build(config)
    state = setup.agent.init(jax.random.PRNGKey(0))
    trained = Trained(Path("a run"), config, setup.agent, state, 0)
    monkeypatch.setattr(view.Session, "_trained", lambda self, target, name: trained)
    session = view.Session("reach")
    before = session.state
    for _ in range(6):
        session.step()
    assert [time for time, _ in session.values] == [0, 5], "a value for each decision"
    crl = CRL(config.agent, config.network, session.env.spec)
    action = trained.policy()(before, jax.random.PRNGKey(0))
    wanted = np.mean(crl.value((state.phi, state.psi), before.obs, action, before.goal))
    np.testing.assert_allclose(session.values[0][1], wanted, rtol=1e-4)
    baseline = with_overrides(PRESETS["sac_cpu"], task="reach")
    assert Trained(Path("a run"), baseline, setup.agent, state, 0).critic() is None


@contextlib.contextmanager
def _served(session: view.Session, port: int) -> Iterator[str]:
    """The address of a session's page; the server has stopped after the block."""
    lines: list[str] = []
    ended = threading.Event()
    serving = threading.Thread(target=view.serve, args=(session, "localhost", port, lines.append, ended.is_set))
    serving.start()
    try:
        while not lines and serving.is_alive():
            time.sleep(0.1)
        yield lines[0].split()[0]
    finally:
        ended.set()
        serving.join(20)
    assert not serving.is_alive()


def test_it_is_served_until_it_is_stopped(session: view.Session) -> None:
    pytest.importorskip("viser")
    with _served(session, 18090) as address:
        assert "<html" in urllib.request.urlopen(address, timeout=20).read().decode().lower()


def _until_an_arm_is_seen(tab: Tab, path: Path, seconds: float = 60) -> bool:
    """Whether the picture gets red, as the arm is and the rest of the scene is not."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pixels = np.asarray(Image.open(tab.picture(path)).convert("RGB"), int)
        if ((pixels[..., 0] > 90) & (pixels[..., 1] < 80) & (pixels[..., 2] < 80)).mean() > 0.002:
            return True
    return False


@needs_chromium
@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_the_scene_and_its_slider_commands_a_goal(width: int, tmp_path: Path) -> None:
    pytest.importorskip("mjviser")
    session = view.Session("pick-out-of-hole")
    with _served(session, 18100) as address, opened(address, tmp_path, width) as tab:
        tab.wait("document.querySelector('canvas') !== null", 60)
        tab.wait("document.body.innerText.includes('env step')", 60)
        assert "pick-out-of-hole" in tab.text() and "policy: demo" in tab.text()
        x = "document.querySelectorAll('[role=slider]')[1]"
        tab.js(f"{x}.focus()")
        tab.press("ArrowRight", 20)
        tab.wait(f"{x}.getAttribute('aria-valuenow') === '0.2'")
        time.sleep(3)
        moved = np.asarray(session.state.target)[0] - session.centre
        np.testing.assert_allclose(moved, [0.2 * view.REACH[0], 0, 0], atol=1e-6)
        assert _until_an_arm_is_seen(tab, tmp_path / "page.png"), "the arm is not in the picture"
