"""Where the output goes: any locale, no colour, and a pipe whose reader has gone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CRL = Path(sys.executable).with_name("crl")
SETTINGS = {
    "C locale": {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "ascii, no colour": {"PYTHONIOENCODING": "ascii", "NO_COLOR": "1"},
}


def _environment(**settings: str) -> dict[str, str]:
    return {**os.environ, "JAX_PLATFORMS": "cpu", **settings}


@pytest.mark.parametrize("name", SETTINGS)
def test_any_locale_is_printed_to(name: str) -> None:
    # The second is answered in an error of one line that repeats it, with letters that none of these encodings has.
    for words, code in ((["envs", "reach*"], 0), (["envs", "λ→wall"], 2)):
        done = subprocess.run([CRL, *words], env=_environment(**SETTINGS[name]), capture_output=True, check=False)
        said = (done.stdout + done.stderr).decode("latin-1")
        assert done.returncode == code, said
        assert "Traceback" not in said
        assert "\x1b[" not in said
        assert ("reach-wall" if code == 0 else "wall': no such task") in said


def test_a_reader_that_goes_ends_the_command_without_a_word() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as gone:
        done = subprocess.run([CRL, "envs"], env=_environment(), stdout=gone, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 141  # As the shell says after SIGPIPE.
    assert done.stderr == b""
