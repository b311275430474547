"""Engine `warp` calls Warp once for an env step: the numbers are MJX's, and depend on the state alone.

Axis letters: E environments.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import warp

from envs_mjx import make
from envs_mjx.metaworld.env import MetaWorld
from envs_mjx.physics.base import PhysicsState
from envs_mjx.physics.dynamics import fields_read
from envs_mjx.physics.mjx_stepper import MjxStepper

ENVS, STEPS = 4, 3


@functools.cache
def environment(task: str) -> MetaWorld:
    env = make(task, ENVS, physics="warp")
    assert isinstance(env, MetaWorld)
    return env


@functools.cache
def unrolled(task: str) -> list[tuple[PhysicsState, jax.Array]]:
    """States of a few env steps of random actions, each with the next action; the last action is not taken."""
    env = environment(task)
    state, step = jax.jit(env.reset)(jax.random.PRNGKey(3)).physics, jax.jit(env.physics.step)
    found = []
    for action in jax.random.uniform(jax.random.PRNGKey(4), (STEPS, ENVS, 4), minval=-1, maxval=1):
        found.append((state, action))
        state = step(state, action)
    return found


def same(ours: Any, theirs: Any) -> None:
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("task", ["push", pytest.param("window-close", marks=pytest.mark.slow)])
def test_an_env_step_is_five_steps_of_mjx_and_its_kinematics(task: str) -> None:
    """window-close has a fixture. MJX takes the scene's tolerance, Warp's own model one that float32 can reach."""
    physics, scene = environment(task).physics, environment(task).scene
    tolerance = warp.array(np.float32([scene.model.opt.tolerance]), dtype=warp.float32)
    reference = MjxStepper(scene, scene.model, physics._fixture, "warp", **dict(physics.buffers))

    def stepped(stepper: Any) -> Any:
        def run(*given: Any) -> Any:
            engine, fields, used = stepper.run(*given, scene.frame_skip, "poses")
            found = {name: getattr(fields, name) for name in fields_read(scene)}
            return engine, found, fields._impl.nefc if used is None else used[:, 1]

        return jax.block_until_ready(jax.jit(run)(engine, ctrl))

    state, action = unrolled(task)[-1]
    engine, ctrl = physics._drive(state.engine, action)
    options = physics._stepper._scratch[ENVS, "cpu"].model.opt
    usual, options.tolerance = options.tolerance, tolerance
    try:
        *ours, most_rows = stepped(physics._stepper)
    finally:
        options.tolerance = usual
    *exact, rows = stepped(reference)
    same(ours, exact)
    assert (most_rows >= rows).all()


@pytest.mark.parametrize("task", ["push", pytest.param("stick-push", marks=pytest.mark.slow)])
def test_a_step_depends_on_its_state_alone(task: str) -> None:
    """Warp keeps its other fields from call to call. stick-push reads contacts, so all fields are refreshed."""
    physics, states = environment(task).physics, unrolled(task)
    step = jax.jit(physics.step)
    first = jax.tree.map(np.asarray, step(*states[0]))
    for state, action in reversed(states):
        again = step(state, action)
    same(again, first)


def test_seeds_side_by_side_are_the_seeds_one_by_one() -> None:
    physics, states = environment("push").physics, unrolled("push")[:2]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    together = jax.jit(jax.vmap(physics.step))(*stacked)
    for seed, (state, action) in enumerate(states):
        alone = jax.jit(physics.step)(state, action)
        same(jax.tree.map(lambda leaf, at=seed: leaf[at], together.replace(used=None)), alone.replace(used=None))
        np.testing.assert_array_equal(together.used[seed, :, 1], alone.used[:, 1])
        # The seeds share one pool of contacts, as large as all of theirs; each is told an equal part of its use.
        assert abs(int(together.used[seed, 0, 0]) - int(alone.used[0, 0])) <= 4
