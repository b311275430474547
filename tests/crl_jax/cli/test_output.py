"""Where the output goes: any locale, no colour, and a pipe whose reader has gone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from configs import PRESETS
from crl_jax.cli import main

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


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["envs", "reach", "zzz"], "envs='zzz': no such task; nearest: "),
        (["envs", "push*", "--group", "mazes"], "envs='push*': no such task in group mazes; nearest: "),
        (["envs", "--horizon", "0"], "horizon=0: must be at least 1"),
        (["view", "reach", "--seed", "-1"], "seed=-1: must lie in 0 ... 2147483647"),
        (["demo", "hammer", "--seed", "1e30"], "must lie in 0 ... 2147483647"),
        (["demo", "hammer", "--camera", "foo"], "camera='foo'"),
        (["demo", "hammer", "--width", "100000"], "width=100000: must lie in 1 ... 4096 pixels"),
        (["view", "reach", "--host", "1.2.3.4"], "host='1.2.3.4': cannot serve there"),
        (["watch", ".", "--host", "nohost.invalid"], "host='nohost.invalid': cannot serve there"),
        (["train", "point_U", "--seeds", "1", "2", "--seed", "3"], "seeds=[1, 2]: says which seeds; leave --seed out"),
    ],
)
def test_a_bad_option_is_one_line(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(PRESETS, words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line
