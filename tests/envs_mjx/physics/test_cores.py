"""Processes that may use only one core."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from envs_mjx.base import EnvError
from envs_mjx.physics.cores import cores, stay_on

CHAINED = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import jax, jax.numpy as jnp
import envs_mjx

env = envs_mjx.make("reach", 128, physics="auto", threads=1)
state, values = env.reset(jax.random.PRNGKey(0)), jnp.ones((200, 200))

@jax.jit
def unroll(state, values):
    action = jnp.zeros((128, 4)) + values.mean()
    return jax.lax.scan(lambda state, _: (env.step(state, action), None), state, None, length=4)[0]

@jax.jit
def learn(values, obs):
    return jax.lax.fori_loop(0, 50, lambda _, values: jnp.tanh(values @ values), values + obs.sum())

for _ in range(3):  # Dispatched ahead of what runs, as a sequence of tasks does.
    state = unroll(state, values)
    values = learn(values, state.obs)
print(float(values.sum()))
"""

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system pins no process to a core")


def test_programs_dispatched_ahead_end_on_one_core() -> None:
    """With a single thread they would hang: the thread waits for a callback, and the callback waits for the thread."""
    free = {name: value for name, value in os.environ.items() if name not in ("NPROC", "PJRT_NPROC")}
    ended = subprocess.run([sys.executable, "-c", CHAINED], env=free, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0 and float(ended.stdout) == 40_000, ended.stderr


def test_cores_are_those_that_are_left_to_us() -> None:
    allowed = os.sched_getaffinity(0)
    assert cores() == len(allowed)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)


def test_a_process_stays_on_the_core_it_is_told() -> None:
    allowed = sorted(os.sched_getaffinity(0))
    try:
        stay_on(len(allowed) - 1)
        assert os.sched_getaffinity(0) == {allowed[-1]}
    finally:
        os.sched_setaffinity(0, allowed)
    for core in (-1, len(allowed)):
        with pytest.raises(EnvError, match=f"core={core}: this process may use {len(allowed)} cores"):
            stay_on(core)
