"""The ported dense rewards, compared with `compute_reward` of the official package at every step.

The formulas are checked twice. In float64 they equal the official ones. In float32 they differ by at most `TOLERANCE`,
or by the change of the official formula when the positions that it reads change by one float32 ulp (see `allowed`). The
second bound is needed on 7 of 30,000 recorded steps; `envs_mjx.metaworld.rewards` explains why and where.

Axis letters: T time, E environments, K points, Q rotations, J joints, R reset vector.
"""

from __future__ import annotations

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs_mjx import make
from envs_mjx.metaworld import official
from envs_mjx.metaworld.rewards import REWARDS, Reading, Start, Step
from envs_mjx.metaworld.tasks import TASKS
from envs_mjx.physics.c import Rows
from tests.support.recorded import EPISODES, STEPS, Readout, Recording, reading, record
from tests.support.rotation import rotating

TOLERANCE, DOUBLE_TOLERANCE = 1e-5, 2e-6
"""Tolerances of rewards from 0 to 10. Official code computes partly in float32, the type of the actions."""

JOLTS = 16
"""Random choices of signs, see `allowed`."""

SETTLED_ELSEWHERE = {"handle-press": 1e-2, "handle-pull": 1e-2, "handle-press-side": 1e-4, "handle-pull-side": 1e-4}
"""Tasks whose arm brushes the handle while it settles, for some vectors -> difference of `init_tcp`, metres."""


@functools.cache
def program(task_name: str):
    """A jitted function that returns memory at the start and rewards (T, E), in the precision of its arguments."""
    spec = REWARDS[task_name]

    @jax.jit
    def run(start, stale, vector, tcp, steps, actions, targets):
        named = dict(zip(spec.all_stale, stale, strict=True))
        memory = spec.remember(Start(reading(spec, *start), named, vector))

        def one(memory, step):
            readout, action, target, first = step
            reward, memory = spec(Step(reading(spec, *readout), action, target, memory, first))
            return memory, reward

        first = jnp.arange(len(actions))[:, None] == jnp.zeros(len(vector), int)
        _, rewards = jax.lax.scan(one, with_tcp(memory, tcp), (steps, actions, targets, first))
        return memory, rewards

    return run


def evaluate(task_name: str, recording: Recording, dtype) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Our memory and rewards (T, E) for a recording, computed in `dtype` with the official `init_tcp`."""

    def arrays(readout: Readout) -> tuple[np.ndarray, ...]:
        return readout.points, readout.rotations, readout.joints

    inputs = (
        arrays(recording.start), list(recording.stale.values()), recording.vector, recording.remembered["tcp"],
        arrays(recording.steps), recording.actions, recording.targets,
    )  # fmt: skip
    with jax.enable_x64(dtype == np.float64):
        memory, rewards = program(task_name)(*jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), inputs))
        assert rewards.dtype == dtype
        return {name: np.asarray(value) for name, value in memory.items()}, np.asarray(rewards)


def with_tcp(memory: dict, tcp: jax.Array) -> dict:
    return memory | {"tcp": tcp} if "tcp" in memory else memory


@functools.cache
def allowed(task_name: str) -> np.ndarray:
    """(T, E) allowed difference between the float32 reward and the official reward at each step.

    The bound is `TOLERANCE`, or larger where the official formula is ill-conditioned. There it is the largest change of
    the official value, in float64, when every position moves up or down by one float32 ulp (6e-8 m at 0.5 to 1 m), over
    `JOLTS` random choices of signs.
    """
    exact, generator = record(task_name), np.random.default_rng(0)

    def jolt(values: np.ndarray) -> np.ndarray:
        ulp = np.spacing(np.abs(np.float32(values))).astype(np.float64)
        return values + generator.choice([-1.0, 1.0], np.shape(values)) * ulp

    def jolted(readout: Readout) -> Readout:
        return Readout(*(jolt(getattr(readout, field)) for field in ("points", "rotations", "joints")))

    def moved() -> np.ndarray:
        rough = replace(
            exact,
            start=jolted(exact.start),
            steps=jolted(exact.steps),
            targets=jolt(exact.targets),
            remembered=exact.remembered | {"tcp": jolt(exact.remembered["tcp"])},
        )
        return np.abs(evaluate(task_name, rough, np.float64)[1] - evaluate(task_name, exact, np.float64)[1])

    return np.maximum(TOLERANCE, np.max([moved() for _ in range(JOLTS)], axis=0))


# -- against the official package ------------------------------------------------------------------------------------


def test_every_official_task_has_a_reward() -> None:
    official.import_metaworld()
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS

    assert {f"{name}-v3" for name in REWARDS} == set(ALL_V3_ENVIRONMENTS)
    assert set(TASKS) <= set(REWARDS)


@pytest.mark.parametrize("task_name", rotating(REWARDS))
def test_formulas_are_the_official_ones(task_name: str) -> None:
    recording = record(task_name)
    memory, exact = evaluate(task_name, recording, np.float64)
    for name in memory.keys() & recording.remembered.keys():
        tolerance = SETTLED_ELSEWHERE.get(task_name, 1e-8) if name == "tcp" else 1e-8
        np.testing.assert_allclose(memory[name], recording.remembered[name], rtol=0, atol=tolerance, err_msg=name)
    np.testing.assert_allclose(exact, recording.rewards, rtol=0, atol=DOUBLE_TOLERANCE)

    single = evaluate(task_name, recording, np.float32)[1]
    error = np.abs(single - recording.rewards)
    assert (error <= allowed(task_name)).all(), f"{task_name}: {error.max()}"
    assert np.mean(error > TOLERANCE) < 0.01 and error.max() < 2e-4
    assert recording.rewards.max() > 1.5 and np.ptp(recording.rewards) > 0.5, "nothing happened: a weak test"


@pytest.mark.slow
@pytest.mark.parametrize(("task_name", "steps"), [("push", 4), ("sweep", 1), ("door-open", 1), ("dial-turn", 1)])
def test_float32_is_off_where_the_official_formula_is_ill_conditioned(task_name: str, steps: int) -> None:
    """The numbers in `envs_mjx.metaworld.rewards`; the number of steps depends slightly on the compiler's rounding."""
    error = np.abs(evaluate(task_name, record(task_name), np.float32)[1] - record(task_name).rewards)
    beyond = error > TOLERANCE
    assert abs(beyond.sum() - steps) <= 1 and error.max() < 1e-4
    assert ((allowed(task_name)[beyond] > 3e-5) & (allowed(task_name)[beyond] < 2e-3)).all()


@pytest.mark.parametrize("task_name", rotating(TASKS))
def test_the_metric_is_the_official_reward(task_name: str) -> None:
    """Checked in the jitted step of engine `c`, from the official starts."""
    recording = record(task_name)
    env = make(task_name, EPISODES, physics="c", horizon=10 * STEPS)

    @jax.jit
    def run(vector, begin, rows, tcp, actions):
        state = env.reset_to(vector, jax.random.split(jax.random.PRNGKey(0), EPISODES))
        memory = with_tcp(env._remember(begin, vector), tcp)
        state = state.replace(physics=begin.replace(engine=rows), memory=memory)

        def step(state, action):
            state = env.step(state, action)
            return state, state.metrics["official_reward"]

        return jax.lax.scan(step, state, actions)[1]

    rows = Rows(*(jnp.asarray(part.view(np.uint32)) for part in (recording.rows, recording.fixture)))
    tcp = np.float32(recording.remembered["tcp"])
    rewards = np.asarray(run(recording.vector, recording.begin, rows, tcp, recording.actions))
    error = np.abs(rewards - recording.rewards)
    assert (error <= allowed(task_name)).all(), f"{task_name}: {error.max()}"


# -- numbers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task_name", REWARDS)
def test_no_place_makes_a_reward_leave_its_range(task_name: str) -> None:
    """With all points equal, on a small grid, or anywhere, rewards lie in 0 to 10 and are never NaN."""
    spec, count, generator = REWARDS[task_name], 64, np.random.default_rng(0)

    def somewhere(*shape: int) -> jax.Array:
        anywhere = generator.uniform(-1, 1, (count, *shape))
        grid = generator.integers(0, 2, (count, *shape)) * 0.05
        kind = np.arange(count).reshape(-1, *[1] * len(shape)) % 3
        return jnp.asarray(np.select([kind == 0, kind == 1], [0.0, grid], anywhere), jnp.float32)

    def anything() -> Reading:
        turns = jnp.tile(jnp.eye(3).reshape(9), (count, len(spec.rotations), 1))
        return reading(spec, somewhere(len(spec.all_points), 3), turns, somewhere(len(spec.joints)))

    stale = {part: jnp.zeros(3) for part in spec.all_stale}
    memory = spec.remember(Start(anything(), stale, somewhere(6)))
    first = np.arange(count) % 2 == 0
    for scale in (0.0, 3.0):
        given = Step(anything(), scale * somewhere(4), somewhere(3), memory, first)
        reward, after = spec(given)
        assert reward.shape == (count,) and reward.dtype == jnp.float32
        assert np.isfinite(reward).all() and (reward >= 0).all() and (reward <= 10 + 1e-5).all()
        assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, memory)
        assert all(np.isfinite(value).all() for value in after.values())


# -- in an environment -----------------------------------------------------------------------------------------------


def test_memory_belongs_to_the_running_episode() -> None:
    """Bin-picking: the reset stores the start, the first step the distance; a last reward uses the old memory."""
    count, horizon = 3, 4
    env = make("bin-picking", count, physics="c", horizon=horizon)
    step, keys = jax.jit(env.step), iter(jax.random.split(jax.random.PRNGKey(1), 3 * horizon))
    actions = [jax.random.uniform(key, (count, 4), minval=-1, maxval=1) for key in keys]
    states = [jax.jit(env.reset)(jax.random.PRNGKey(0))]
    for action in actions:
        states.append(step(states[-1], action))
    endless = states[1].replace(time=states[1].time - 100)
    for action in actions[1:horizon]:
        endless = step(endless, action)
    assert states[horizon].done.all() and not endless.done.any()
    np.testing.assert_array_equal(states[horizon].metrics["official_reward"], endless.metrics["official_reward"])

    seen = jax.tree.map(lambda *leaves: np.stack(leaves), *states)
    np.testing.assert_allclose(seen.memory["object"], seen.start, rtol=0, atol=1e-6)
    assert len(np.unique(seen.memory["object"][..., 0])) == 4 * count
    np.testing.assert_array_equal(seen.memory["distance"][seen.time == 0], 0)
    running = seen.memory["distance"][:-1].reshape(3, horizon, count)[:, 1:]
    assert (running > 0.1).all() and (running == running[:, :1]).all()
    assert len(np.unique(running)) == 3 * count


def test_a_quaternion_keeps_its_sign_over_a_full_turn() -> None:
    """MuJoCo's `xquat` changes sign after a full turn, and the official reward then finds no match; so must ours."""
    spec = REWARDS["hammer"]
    part, angles = spec.rotations[0], np.linspace(0, 2 * np.pi, 33)
    cos, sin, zero, one = np.cos(angles), np.sin(angles), np.zeros(33), np.ones(33)
    turns = np.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], axis=-1).astype(np.float32)

    def turn(memory, rotation):
        memory = spec.update(Step(Reading({}, {part: rotation[None]}, {}), None, None, memory, None))
        return memory, memory["quat"][0]

    quats = jax.lax.scan(turn, {"quat": jnp.array([[1.0, 0.0, 0.0, 0.0]])}, turns)[1]
    official_quats = np.stack([np.cos(angles / 2), zero, zero, np.sin(angles / 2)], axis=-1)
    np.testing.assert_allclose(quats, official_quats, rtol=0, atol=1e-6)


def test_a_reward_can_be_left_out() -> None:
    env, plain = (make("push", 2, physics="c", reward=reward) for reward in (True, False))
    state, bare = (jax.eval_shape(each.reset, jax.random.PRNGKey(0)) for each in (env, plain))
    assert "official_reward" in state.metrics and set(state.memory) == {"tcp", "object"}
    assert "official_reward" not in bare.metrics and bare.memory == {}
    assert bare.physics.points.shape[1] == state.physics.points.shape[1] - 2
