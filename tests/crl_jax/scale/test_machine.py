"""Settings of JAX with which nothing works are refused in one line; the others are left to the user."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import jax
import pytest

import envs_mjx
from crl_jax.scale.machine import tell_plugins_in_one_line
from tests import ROOT

REFUSED = {
    "JAX_ENABLE_X64=1": "JAX_ENABLE_X64=1: programs here compute in 32 bit; unset it",
    "JAX_DISABLE_JIT=1": "JAX_DISABLE_JIT=1: without compilation a run takes days; unset it",
    "JAX_ENABLE_CUSTOM_PRNG=1": "JAX_ENABLE_CUSTOM_PRNG=1: programs here take keys of two uint32; unset it",
    "JAX_PLATFORMS=cpuu": "JAX_PLATFORMS='cpuu': Unable to initialize backend 'cpuu'",
}


@pytest.mark.parametrize("setting", REFUSED)
def test_a_setting_of_jax_that_cannot_work_is_one_line(setting: str, tmp_path: object) -> None:
    name, value = setting.split("=")
    command = [sys.executable, "-m", "configs.main", "train", "reach", "--runs", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), name: value}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2 and done.stderr.startswith(f"crl: error: {REFUSED[setting]}"), done.stderr
    assert done.stderr.count("\n") == 1


def test_environments_take_keys_of_both_kinds() -> None:
    env = envs_mjx.make("point_Small", 2)
    new, old = (jax.jit(env.reset)(key) for key in (jax.random.key(3), jax.random.PRNGKey(3)))
    assert (new.obs == old.obs).all() and (new.goal == old.goal).all()
    jax.jit(env.step)(new, jax.numpy.zeros((2, env.spec.action_size)))


def test_engine_c_refuses_64_bit_in_one_line() -> None:
    with jax.enable_x64(True), pytest.raises(envs_mjx.EnvError, match=r"^physics='c': .* unset JAX_ENABLE_X64$"):
        envs_mjx.make("reach", 2, physics="c")


def test_a_plugin_that_does_not_start_is_told_in_one_line(caplog) -> None:
    """As JAX logs it where there is no driver: an error with a traceback of twenty lines."""
    tell_plugins_in_one_line()
    tell_plugins_in_one_line()
    logger = logging.getLogger("jax._src.xla_bridge")
    try:
        raise RuntimeError("Unable to load cuPTI.\nIs it installed?")
    except RuntimeError:
        logger.exception("Jax plugin configuration error: %s", "xla_cuda13")
        logger.exception("something else")
    told, other = caplog.records
    assert told.getMessage() == "a plugin of JAX does not start here: Unable to load cuPTI. Is it installed?"
    assert told.exc_info is None and told.levelname == "WARNING"
    assert other.exc_info and other.levelname == "ERROR"
