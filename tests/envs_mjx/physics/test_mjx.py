"""Engines `warp` and `jax` against engine `c`, on the CPU: one-step errors, fixtures, divergence, scripted policies.

Tolerances are about five times the measured errors, which come from float32 and from other contact algorithms.

Axis letters: E environments, T time.
"""

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mujoco.mjx._src import scan

from benchmarks.fidelity import as_dynamics
from envs_mjx import EnvError, make
from envs_mjx.metaworld import official
from envs_mjx.metaworld.env import MetaWorld
from envs_mjx.metaworld.tasks import TASKS
from envs_mjx.physics import mjx_stepper
from envs_mjx.physics.base import PhysicsState

ENVS, STEPS = 4, 150
TASK_NAMES = ("push", "window-close", "handle-press-side")
FREE_STEP = 5
RESET_ERROR = 1e-5
FREE_ERROR = CONTACT_ERROR = 1e-4
"""Metres: error of any point after one env step (5 substeps) from the same state; measured: 2.5e-5 and 1.7e-5."""
SETTLED_ERROR = 5e-3
"""Metres: error of any point after a reset that settles for 50 env steps; measured: 6e-4."""
JAX_CONTACT_ERROR = 2e-3
"""Metres: as CONTACT_ERROR, but the simplified scene has other contact points on the puck; measured: 4e-4."""


@dataclass(frozen=True)
class Segment:
    """States of engine `c` under the official scripted policy: one in free flight, one while the object is driven."""

    vector: jax.Array
    free: tuple[PhysicsState, np.ndarray]
    contact: tuple[PhysicsState, np.ndarray]


@functools.cache
def environment(task: str, engine: str) -> MetaWorld:
    env = make(task, ENVS, physics=engine, allow_unfaithful=True)
    assert isinstance(env, MetaWorld)
    return env


@functools.cache
def compiled(task: str, engine: str, method: str) -> Any:
    return jax.jit(getattr(environment(task, engine).physics, method))


def scripted(task: str, physics: PhysicsState, previous: Any, target: Any, policies: list[Any]) -> tuple[Any, Any]:
    """Clipped actions (E, 4) of the official policy, and the frame to pass as `previous` at the next step."""
    obs, frame = official.observation(TASKS[task], physics, previous, target)
    actions = [policy.get_action(one) for policy, one in zip(policies, np.asarray(obs, np.float64), strict=True)]
    return np.clip(np.array(actions), -1, 1).astype(np.float32), frame


@functools.cache
def segment(task: str) -> Segment:
    env, policies = environment(task, "c"), [official.scripted_policy(task) for _ in range(ENVS)]
    state = jax.jit(env.reset)(jax.random.PRNGKey(3))
    physics, step, frame, found = state.physics, compiled(task, "c", "step"), None, {}
    for time in range(STEPS):
        action, frame = scripted(task, physics, frame, state.target, policies)
        moved = jnp.linalg.norm(env.layout.point(physics, env.task.achieved) - state.start, axis=-1)
        if time == FREE_STEP:
            found["free"] = (physics, action)
        if (moved > 0.02).mean() >= 0.5:
            return Segment(state.vector, found["free"], (physics, action))
        physics = step(physics, action)
    raise AssertionError(f"{task}: the scripted policy moved nothing")


def one_step_error(task: str, engine: str, start: PhysicsState, action: np.ndarray) -> float:
    exact = compiled(task, "c", "step")(start, action)
    ours = compiled(task, engine, "step")(as_dynamics(environment(task, "c"), start), action)
    assert not ours.diverged.any()
    return float(jnp.abs(ours.points - exact.points).max())


# -- Warp --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASK_NAMES)
def test_one_warp_step_is_near_c(task: str) -> None:
    states = segment(task)
    free = one_step_error(task, "warp", *states.free)
    contact = one_step_error(task, "warp", *states.contact)
    print(f"{task}: one-step error free {free:.2e} m, contact {contact:.2e} m")
    assert free < FREE_ERROR
    assert contact < CONTACT_ERROR


@pytest.mark.parametrize("task", TASK_NAMES)
def test_each_warp_environment_has_its_own_fixture(task: str) -> None:
    vector, everyone = segment(task).vector, jnp.ones(ENVS, bool)
    resets = {}
    for engine in ("c", "warp"):
        physics = environment(task, engine).physics
        resets[engine] = compiled(task, engine, "reset")(physics.initial(), everyone, vector)
    np.testing.assert_allclose(resets["warp"].points, resets["c"].points, atol=RESET_ERROR)
    np.testing.assert_allclose(resets["warp"].rotations, resets["c"].rotations, atol=RESET_ERROR)
    achieved = environment(task, "c").layout.point(resets["warp"], TASKS[task].achieved)
    assert len(np.unique(np.asarray(achieved).round(4), axis=0)) == ENVS
    # A second reset of one environment leaves the others as they were.
    again = compiled(task, "warp", "reset")(resets["warp"], jnp.arange(ENVS) == 1, vector[::-1])
    np.testing.assert_allclose(again.points[1], resets["c"].points[ENVS - 2], atol=RESET_ERROR)
    others = np.array([0, 2, 3])
    for new, old in zip(jax.tree.leaves(again), jax.tree.leaves(resets["warp"]), strict=True):
        np.testing.assert_array_equal(new[others], old[others])


@pytest.mark.parametrize("bad", [np.nan, 1e8], ids=["nan", "fast"])
def test_a_diverged_warp_simulation_is_undone_alone(bad: float) -> None:
    start, action = segment("window-close").free
    good = as_dynamics(environment("window-close", "c"), start)
    planted = good.replace(engine=good.engine.replace(qvel=good.engine.qvel.at[1].set(bad)))
    step = compiled("window-close", "warp", "step")
    expected, got = step(good, action), step(planted, action)
    assert got.diverged.tolist() == [False, True, False, False]
    np.testing.assert_array_equal(got.points[1], good.points[1])
    others = np.array([0, 2, 3])
    np.testing.assert_allclose(got.points[others], expected.points[others], atol=1e-6)


def test_warp_environment_restarts_what_diverged_inside_jit_and_scan() -> None:
    env = environment("push", "warp")
    state = jax.jit(env.reset)(jax.random.PRNGKey(0))
    state = _plant(state, lambda engine: engine.replace(qvel=engine.qvel.at[1].set(np.nan)))
    actions = jnp.zeros((2, ENVS, 4))
    state, done = jax.jit(lambda state: jax.lax.scan(lambda s, a: _observe_done(env, s, a), state, actions))(state)
    np.testing.assert_array_equal(done, [[False, True, False, False], [False] * ENVS])
    assert state.time.tolist() == [2, 1, 2, 2]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((state.obs, state.physics)))


def _observe_done(env: MetaWorld, state: Any, action: jax.Array) -> tuple[Any, jax.Array]:
    state = env.step(state, action)
    return state, state.done


def _plant(state: Any, change: Any) -> Any:
    return state.replace(physics=state.physics.replace(engine=change(state.physics.engine)))


@pytest.mark.slow
def test_warp_feels_the_pinched_stick() -> None:
    """stick-push needs touch between finger pads and stick: `warp` and `c` agree on it from the same states."""
    env, policies = environment("stick-push", "c"), [official.scripted_policy("stick-push") for _ in range(ENVS)]
    state = jax.jit(env.reset)(jax.random.PRNGKey(3))
    physics, frame, felt = state.physics, None, []
    for time in range(70):
        action, frame = scripted("stick-push", physics, frame, state.target, policies)
        after = compiled("stick-push", "c", "step")(physics, action)
        if time % 10 == 9:
            ours = compiled("stick-push", "warp", "step")(as_dynamics(env, physics), action)
            felt.append((np.asarray(ours.touch), np.asarray(after.touch)))
        physics = after
    ours, exact = (np.array(part) for part in zip(*felt, strict=True))
    print(f"stick-push: touches {exact.mean():.2f}, the same in {(ours == exact).mean():.3f}")
    assert exact[-1].all() and not exact[0].any()
    assert (ours == exact).mean() > 0.95


@pytest.mark.slow
def test_warp_settles_at_every_reset_of_disassemble() -> None:
    states = {}
    vectors = jnp.array([[x, 0.65, 0.025, -0.1, 0.7, 0.17] for x in (0.02, 0.05, 0.07, 0.09)])
    for engine in ("c", "warp"):
        physics = environment("disassemble", engine).physics
        states[engine] = compiled("disassemble", engine, "reset")(physics.initial(), jnp.ones(ENVS, bool), vectors)
    error = jnp.abs(states["warp"].points - states["c"].points).max(axis=(1, 2))
    turned = jnp.abs(states["c"].rotations - states["c"].rotations[:1]).max()
    print(f"disassemble: resets differ by {error} m; rotations of the nut by up to {turned:.2f}")
    assert turned > 0.05
    assert error.max() < SETTLED_ERROR


@pytest.mark.slow
@pytest.mark.parametrize("task", TASK_NAMES)
def test_scripted_policy_succeeds_on_warp(task: str) -> None:
    env, policies = environment(task, "warp"), [official.scripted_policy(task) for _ in range(ENVS)]
    state = jax.jit(env.reset)(jax.random.PRNGKey(3))
    physics, step, frame = state.physics, compiled(task, "warp", "step"), None
    succeeded = np.zeros(ENVS, bool)
    for _ in range(STEPS):
        action, frame = scripted(task, physics, frame, state.target, policies)
        physics = step(physics, action)
        succeeded |= np.asarray(env.success(physics, state.target))
        if succeeded.all():
            break
    assert succeeded.sum() >= ENVS - 1


# -- C -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASK_NAMES)
def test_c_environments_do_not_share_fixtures(task: str) -> None:
    vector, alone = segment(task).vector, make(task, 1, physics="c")
    together = environment(task, "c")
    actions = jax.random.uniform(jax.random.PRNGKey(1), (ENVS, 4), minval=-1, maxval=1)
    physics = together.physics.reset(together.physics.initial(), jnp.ones(ENVS, bool), vector)
    physics = together.physics.step(physics, actions)
    for index in range(ENVS):
        one = slice(index, index + 1)
        single = alone.physics.reset(alone.physics.initial(), jnp.ones(1, bool), vector[one])
        single = alone.physics.step(single, actions[one])
        np.testing.assert_array_equal(single.points[0], physics.points[index])
        model, data = together.physics.materialise(physics, index)
        first = together.scene.parts.points[0]
        np.testing.assert_allclose(getattr(data, first.kind)(first.name).xpos, physics.points[index, 0], atol=1e-6)
        if together.scene.placement.fixture:
            pos = model.body(together.scene.placement.fixture).pos
            np.testing.assert_allclose(pos, vector[index], atol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, 1e12], ids=["nan", "fast"])
def test_a_diverged_c_simulation_is_undone_and_restarted_alone(bad: float) -> None:
    env = environment("push", "c")
    state = jax.jit(env.reset)(jax.random.PRNGKey(0))
    model = env.scene.model

    def spoil(engine: Any) -> Any:
        rows = np.array(engine.state).view(np.float64)
        rows[1, 1 + model.nq : 1 + model.nq + model.nv] = bad  # A row starts with time and qpos.
        return engine.replace(state=jnp.asarray(rows.view(np.uint32)))

    action, step = jnp.zeros((ENVS, 4)), jax.jit(env.step)
    expected, got = step(state, action), step(_plant(state, spoil), action)
    assert got.done.tolist() == [False, True, False, False]
    assert got.time.tolist() == [1, 0, 1, 1]
    others = np.array([0, 2, 3])
    np.testing.assert_array_equal(got.obs[others], expected.obs[others])
    assert np.isfinite(got.obs).all()
    assert not step(got, action).done.any()


# -- JAX ---------------------------------------------------------------------------------------------------------------


def reach_states() -> tuple[PhysicsState, np.ndarray]:
    env = environment("reach", "c")
    physics = jax.jit(env.reset)(jax.random.PRNGKey(3)).physics
    actions = np.asarray(jax.random.uniform(jax.random.PRNGKey(4), (FREE_STEP + 1, ENVS, 4), minval=-1, maxval=1))
    for action in actions[:-1]:
        physics = compiled("reach", "c", "step")(physics, action)
    return physics, actions[-1]


@pytest.mark.slow
def test_one_jax_step_of_reach_is_near_c() -> None:
    start, action = reach_states()
    hand = slice(0, 5)  # Hand, claws and fingers; the puck floats in the simplified scene.
    ours = compiled("reach", "jax", "step")(as_dynamics(environment("reach", "c"), start), action)
    exact = compiled("reach", "c", "step")(start, action)
    error = float(jnp.abs(ours.points[:, hand] - exact.points[:, hand]).max())
    print(f"reach, jax: one-step error {error:.2e} m")
    assert error < FREE_ERROR
    assert not ours.diverged.any()


@pytest.mark.slow
def test_levels_of_the_body_tree_are_kept_apart_on_the_cpu(monkeypatch) -> None:
    """Without barriers, XLA recomputes parents for each child, and an env step of reach takes 3 s instead of 4 ms."""
    physics, barrier = environment("reach", "jax").physics, "optimization_barrier"
    start = as_dynamics(environment("reach", "c"), reach_states()[0])
    whole, poses = scan.body_tree, lambda engine: physics.poses(engine).xpos
    apart = str(jax.make_jaxpr(poses)(start.engine))
    assert scan.body_tree is whole
    assert barrier in apart
    monkeypatch.setattr(mjx_stepper, "careful", lambda impl: contextlib.nullcontext())
    assert barrier not in str(jax.make_jaxpr(lambda engine: poses(engine))(start.engine))
    monkeypatch.undo()
    assert str(jax.make_jaxpr(physics.step)(start, jnp.zeros((ENVS, 4)))).count(barrier) > apart.count(barrier)


@pytest.mark.slow
def test_jax_pushes_the_puck() -> None:
    states = segment("push")
    free, contact = one_step_error("push", "jax", *states.free), one_step_error("push", "jax", *states.contact)
    print(f"push, jax: one-step error free {free:.2e} m, contact {contact:.2e} m")
    assert free < FREE_ERROR
    assert contact < JAX_CONTACT_ERROR


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "engine", "words"),
    [
        ("box-close", "jax", ["physics='jax'", "box-close", "physics='c' or 'warp'", "allow_unfaithful=True"]),
        ("push", "worp", ["physics='worp'", "warp"]),
    ],
)
def test_engines_refuse_in_one_line(task: str, engine: str, words: list[str]) -> None:
    with pytest.raises(EnvError) as caught:
        make(task, 2, physics=engine)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message
