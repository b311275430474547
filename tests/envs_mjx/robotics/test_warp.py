"""Engine `warp` (here on the CPU) against engine `c`, which equals the official package: error of single env steps."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs_mjx

pytest.importorskip("warp")


@pytest.mark.parametrize(
    ("task", "most"), [("FetchPush", 1e-4), ("FetchPickAndPlace", 1e-4), ("PointMaze_UMaze", 1e-5)]
)
def test_engine_warp_steps_as_engine_c(task: str, most: float) -> None:
    count, key, random = 8, jax.random.PRNGKey(0), np.random.default_rng(0)
    c, warp = (envs_mjx.make(task, count, physics=engine, goal="object") for engine in ("c", "warp"))
    ours, theirs = jax.jit(c.reset)(key), jax.jit(warp.reset)(key)
    np.testing.assert_allclose(theirs.obs, ours.obs, atol=1e-6)
    np.testing.assert_array_equal(theirs.vector, ours.vector)
    step_c, step_warp = jax.jit(c.advance), jax.jit(warp.advance)
    for _ in range(4):
        action = jnp.asarray(random.uniform(-1, 1, (count, c.spec.action_size)), jnp.float32)
        ours, theirs = step_c(ours, action), step_warp(theirs, action)
        np.testing.assert_allclose(theirs.obs, ours.obs, atol=most)
        np.testing.assert_array_equal(theirs.success, ours.success)
