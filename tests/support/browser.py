"""A headless Chromium, driven over its DevTools protocol: pages as a user's browser shows them."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless --no-sandbox --no-first-run --disable-gpu --disable-sync --disable-background-networking "
    "--use-gl=angle --use-angle=swiftshader --enable-unsafe-swiftshader --remote-debugging-port=0"
)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")


class Tab:
    """One page of the browser."""

    def __init__(self, socket: Any) -> None:
        self._socket, self._sent = socket, 0

    def call(self, method: str, **given: Any) -> Any:
        """The result of one command of the DevTools protocol."""
        self._sent += 1
        self._socket.send(json.dumps({"id": self._sent, "method": method, "params": given}))
        while True:
            answer = json.loads(self._socket.recv(timeout=60))
            if answer.get("id") == self._sent:
                assert "error" not in answer, answer
                return answer["result"]

    def js(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, expression: str, seconds: float = 30) -> Any:
        """The value of an expression once it is true; until the page is there, reading it fails."""
        end = time.monotonic() + seconds
        tried = f"(() => {{ try {{ return {expression}; }} catch (_) {{ return false; }} }})()"
        while not (value := self.js(tried)):
            assert time.monotonic() < end, f"never true: {expression}; the page says: {self.text()[:500]}"
            time.sleep(0.1)
        return value

    def text(self) -> str:
        """The text that the page shows."""
        return str(self.js("document.body.innerText"))

    def press(self, key: str, times: int = 1) -> None:
        """Press a key on what has the focus."""
        for _ in range(times):
            for kind in ("keyDown", "keyUp"):
                self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=39)

    def picture(self, path: Path) -> Path:
        """Write a screenshot."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
        return path


@contextlib.contextmanager
def opened(address: str, folder: Path, width: int = 1280, height: int = 800) -> Iterator[Tab]:
    """A tab of a new browser at `address`; `folder` takes the browser's own files."""
    client = pytest.importorskip("websockets.sync.client")
    command = [str(CHROMIUM), *FLAGS.split(), f"--user-data-dir={folder}", f"--window-size={width},{height}", address]
    browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        assert browser.stderr
        port = next(found[1] for line in browser.stderr if (found := re.search(r"ws://[^:]+:(\d+)/", line)))
        told = _pages(int(port))
        with client.connect(told, max_size=None) as socket:
            tab = Tab(socket)
            if width < 500:  # A window cannot be as narrow as a phone.
                size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": True}
                tab.call("Emulation.setDeviceMetricsOverride", **size)
            yield tab
    finally:
        browser.terminate()
        browser.wait(20)


def _pages(port: int) -> str:
    """Address of the first tab's socket."""
    for _ in range(100):
        with urllib.request.urlopen(f"http://localhost:{port}/json", timeout=10) as answer:
            for tab in json.load(answer):
                if tab["type"] == "page":
                    return str(tab["webSocketDebuggerUrl"])
        time.sleep(0.1)
    raise AssertionError("the browser opened no page")
