"""The live view: a session is stepped and commanded; its page and its window show it, and their controls act."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import mujoco
import numpy as np
import pytest
from PIL import Image, ImageGrab

from configs import PRESETS
from crl_jax.agents.crl import CRL
from crl_jax.config import ConfigError, with_overrides
from crl_jax.play import browser, window
from crl_jax.play import session as play
from crl_jax.play.policy import Trained
from crl_jax.trainer import build
from envs_mjx.base import EnvError
from tests.support.browser import needs_chromium, opened


@pytest.fixture(scope="module")
def session() -> play.Session:
    return play.Session("hammer")


def test_an_episode_runs_and_the_next_begins_elsewhere(session: play.Session) -> None:
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
    session = play.Session("reach")
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
        play.Session("hamer")
    with pytest.raises(EnvError, match="only Meta-World's tasks are shown"):
        play.Session("point_U", "random")
    pytest.importorskip("gymnasium_robotics")
    with pytest.raises(EnvError, match="only Meta-World's tasks are shown"):
        play.Session("FetchReach", "random")


@pytest.fixture
def server() -> Iterator[object]:
    viser = pytest.importorskip("viser")
    made = viser.ViserServer(host="localhost", port=18080, verbose=False)
    yield made
    made.stop()


def test_the_pages_controls_act(session: play.Session, server: object) -> None:
    mjviser = pytest.importorskip("mjviser")
    page = browser.Page(session, server, mjviser.ViserMujocoScene)
    steps = session.time
    assert page.tick() == 2 * play.STEP_SECONDS and session.time == steps + 1, "at half speed"
    page.speed.value = 2.0
    assert page.tick() == play.STEP_SECONDS / 2
    assert "env step" in page.light.content
    page.playing.value = False
    paused = session.time
    page.tick()
    assert session.time == paused, "paused"
    page.goal[0].value = 1.0
    page.tick()
    moved = np.asarray(session.state.target)[0] - session.centre
    np.testing.assert_allclose(moved, [play.REACH[0], 0, 0], atol=1e-6)
    episode = session.episode
    page.skip = True
    page.tick()
    assert session.episode == episode + 1
    moved = np.asarray(session.state.target)[0] - session.centre
    np.testing.assert_allclose(moved, [play.REACH[0], 0, 0], atol=1e-6, err_msg="the next episode asks for it, too")
    page.centre_goal()
    page.tick()
    np.testing.assert_allclose(np.asarray(session.state.target)[0], session.centre, atol=1e-6)
    assert page.plot is None, "a policy that ships has no critic"
    page.playing.value = True
    session.time = session.env.spec.horizon - 1
    assert page.tick() == play.PAUSE


def test_the_critic_of_a_run_is_plotted(monkeypatch: pytest.MonkeyPatch) -> None:
    config = with_overrides(PRESETS["metaworld_cpu"], task="reach", width=16, twin=True, num_envs=8)
    setup = build(config)
    state = setup.agent.init(jax.random.PRNGKey(0))
    trained = Trained(Path("a run"), config, setup.agent, state, 0)
    monkeypatch.setattr(play.Session, "_trained", lambda self, target, name, number: trained)
    session = play.Session("reach")
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
def _served(session: play.Session, port: int) -> Iterator[str]:
    """The address of a session's page; the server has stopped after the block."""
    lines: list[str] = []
    ended = threading.Event()
    serving = threading.Thread(target=browser.serve, args=(session, "localhost", port, lines.append, ended.is_set))
    serving.start()
    try:
        while not lines and serving.is_alive():
            time.sleep(0.1)
        yield lines[0].split()[0]
    finally:
        ended.set()
        serving.join(20)
    assert not serving.is_alive()


def test_it_is_served_until_it_is_stopped(session: play.Session) -> None:
    pytest.importorskip("viser")
    with _served(session, 18090) as address:
        assert "<html" in urllib.request.urlopen(address, timeout=20).read().decode().lower()


def _shows_an_arm(picture: Image.Image) -> bool:
    """Whether a part of the picture is red, as the arm is and the rest of the scene is not."""
    pixels = np.asarray(picture.convert("RGB"), int)
    return bool(((pixels[..., 0] > 90) & (pixels[..., 1] < 80) & (pixels[..., 2] < 80)).mean() > 0.002)


def _in_time(seen: Callable[[], bool], seconds: float = 60) -> bool:
    """Whether something is seen before the time is over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if seen():
            return True
        time.sleep(0.2)
    return False


@needs_chromium
@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_the_scene_and_its_slider_commands_a_goal(width: int, tmp_path: Path) -> None:
    pytest.importorskip("mjviser")
    session = play.Session("pick-out-of-hole")
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
        np.testing.assert_allclose(moved, [0.2 * play.REACH[0], 0, 0], atol=1e-6)
        page = tmp_path / "page.png"
        assert _in_time(lambda: _shows_an_arm(Image.open(tab.picture(page)))), "the arm is not in the picture"


class _Viewer:
    """Stands for MuJoCo's viewer where there is no display: it has what `Window` calls, and keeps it."""

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData, key_callback: Callable[[int], None], **_: bool):
        self.model, self.data, self.press = model, data, key_callback
        self.cam, self.user_scn, self.texts = mujoco.MjvCamera(), mujoco.MjvScene(model, 10), []

    def lock(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def set_texts(self, texts: list[tuple]) -> None:
        self.texts = texts

    def sync(self) -> None:
        pass


def test_the_windows_keys_act() -> None:
    session = play.Session("door-open", "scripted")
    shown = window.Window(session, _Viewer)
    viewer: _Viewer = shown.handle
    np.testing.assert_allclose(_eye(viewer.cam), play.EYE, atol=1e-6)
    shown.tick()
    shown.tick()
    assert session.time == 2 and "env step 2 of 150" in viewer.texts[0][2]
    np.testing.assert_array_equal(viewer.data.xpos, session.picture()[1].xpos)
    viewer.press(window.SPACE)
    shown.tick()
    assert session.time == 2, "paused"
    for key in (264, 262, 262, 266):
        viewer.press(key)
    shown.tick()
    wanted = session.centre + np.array([-0.1, 0.2, 0.1]) * play.REACH
    np.testing.assert_allclose(np.asarray(session.state.target)[0], wanted, atol=1e-6)
    np.testing.assert_allclose(viewer.user_scn.geoms[0].pos, wanted, atol=1e-6)
    for _ in range(30):
        viewer.press(267)
    viewer.press(window.ENTER)
    before = viewer.model.body_pos.copy()
    shown.tick()
    assert session.episode == 2 and (viewer.model.body_pos != before).any(), "the door stands elsewhere"
    wanted = session.centre + np.array([-0.1, 0.2, -1.0]) * play.REACH
    np.testing.assert_allclose(np.asarray(session.state.target)[0], wanted, atol=1e-6, err_msg="the edge of its room")
    viewer.press(window.HOME)
    viewer.press(window.SPACE)
    viewer.press(window.PLUS)
    assert shown.tick() == play.STEP_SECONDS
    np.testing.assert_allclose(np.asarray(session.state.target)[0], session.centre, atol=1e-6)


def _eye(camera: mujoco.MjvCamera) -> np.ndarray:
    """(3,) where a free camera is; metres."""
    azimuth, elevation = np.radians(camera.azimuth), np.radians(camera.elevation)
    forward = np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
    return camera.lookat - camera.distance * forward


def test_without_a_display_a_window_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform != "linux":
        pytest.skip("other systems always have a display")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(ConfigError, match=r"window: there is no display \(DISPLAY is not set\); without --window"):
        window.require_display()
    monkeypatch.setenv("DISPLAY", ":999")
    assert window.why_not() == "GLFW does not start on this display"


@pytest.fixture
def display() -> Iterator[str]:
    """The name of a display that nobody sees."""
    if not shutil.which("Xvfb"):
        pytest.skip("needs Xvfb")
    with subprocess.Popen(["Xvfb", "-displayfd", "1"], stdout=subprocess.PIPE, text=True) as screen:
        try:
            assert screen.stdout
            yield f":{screen.stdout.readline().strip()}"
        finally:
            screen.terminate()


@pytest.mark.slow
@pytest.mark.parametrize("command", ["view --window", "demo"])
def test_a_window_opens_on_a_display_and_shows_the_arm(command: str, display: str, tmp_path: Path) -> None:
    name, *options = command.split()
    started = [str(Path(sys.executable).with_name("crl")), name, "pick-out-of-hole", *options]
    place = {**os.environ, "DISPLAY": display}
    with subprocess.Popen(started, env=place, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as viewing:
        try:
            assert viewing.stdout and any("A window is open" in line for line in viewing.stdout)
            assert _in_time(lambda: _shows_an_arm(ImageGrab.grab(xdisplay=display))), "the arm is not in the picture"
            viewing.send_signal(signal.SIGINT)
            assert viewing.wait(60) == 0
        finally:
            viewing.kill()
    assert not list(tmp_path.iterdir()), "where there is a window, no film is written"
