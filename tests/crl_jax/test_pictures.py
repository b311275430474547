"""Learning from pictures: what the ring keeps, what is refused, and a whole run, bitwise resumed."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import PRESETS
from crl_jax import loop, runs
from crl_jax.config import Config, ConfigError, with_overrides
from crl_jax.play.policy import load, score
from crl_jax.runs import checkpoint
from crl_jax.scale.memory import size_of
from crl_jax.train import train
from crl_jax.trainer import build
from crl_jax.types import Batch

SIDE = 16
SMALL = {
    "task": "FetchReach",
    "crop": 2,
    "num_envs": 2,
    "horizon": 6,
    "picture_size": SIDE,
    "width": 16,
    "critic_depth": 1,
    "actor_depth": 1,
    "unroll_length": 4,
    "updates_per_iteration": 2,
    "batch_size": 8,
    "replay_capacity": 80,
    "min_replay": 16,
    "iterations_per_round": 2,
    "eval_every": 32,
    "eval_episodes": 2,
    "checkpoint_every": 32,
    "total_env_steps": 80,
    "video": False,
}


def small(folder: Path, **changes: object) -> Config:
    return with_overrides(PRESETS["pixels_cpu"], **{**SMALL, "runs": str(folder), **changes})


@pytest.mark.parametrize("actor_goals", ["mixed", "half_commanded"])
def test_the_ring_keeps_bytes_and_no_picture_twice(tmp_path: Path, actor_goals: str) -> None:
    setup = build(small(tmp_path, actor_goals=actor_goals))
    picture, rows = SIDE * SIDE * 3, 80
    goals = picture if actor_goals == "half_commanded" else 0
    numbers = 4 * 4 + 4 + 4  # four action numbers, episode number, last row
    assert size_of(setup.template.ring) == rows * (picture + goals + numbers) + 4
    assert setup.template.ring.obs.dtype == jnp.uint8


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"critic_goal_noise": 0.1}, "critic_goal_noise=0.1: obs='pixels'"),
        ({"behaviour_goals": "touch_first"}, "behaviour_goals='touch_first': obs='pixels'"),
        ({"goal_noise": 0.1}, "goal_noise=0.1: obs='pixels'"),
        (
            {"critic_goal_noise": 0.1, "behaviour_goals": "touch_first"},
            r"=0.1: .* take 0, behaviour_goals commanded or replay or mixed \(or --preset pixels_cpu\)",
        ),
        ({"mask": "same_goal"}, "mask='same_goal': obs='pixels'"),
        ({"obs": "state", "crop": 0}, "picture_size=16: is for pictures alone"),
        ({"obs": "state"}, "crop=2: only pictures can be cropped"),
        ({"obs": "state", "crop": 0, "picture_size": 64, "channels": 8}, "channels=8: is for pictures alone; take 64"),
        ({"crop": 5}, "crop=5: at most a quarter of picture_size; nearest: 4"),
        ({"channels": 1}, "channels=1: must be at least 2; nearest: 2"),
        ({"picture_size": 4}, "picture_size=4: must lie between 16 and 512"),
        (
            {"method": "td3", "actor_goals": "future", "actor_average": 0.0, "crop": 0, "alpha_lr": 3e-4},
            "method='td3': obs='pixels'",
        ),
    ],
)
def test_what_needs_numbers_is_refused_in_one_line(tmp_path: Path, changes: dict, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        small(tmp_path, **changes).validate()


def test_pictures_are_gathered_one_batch_at_a_time_as_all_at_once(tmp_path: Path) -> None:
    """Each update sees the minibatch that `sample_batches` would give it."""
    config = small(tmp_path)
    setup = build(config)

    def update(state: jax.Array, batch: Batch, key: jax.Array) -> tuple[jax.Array, dict]:
        return state + 1, {"obs": jnp.mean(batch.obs.astype(jnp.float32))}

    agent = setup.agent._replace(update=update)
    ring = setup.init(setup.key()).ring
    random = np.random.default_rng(0)
    ring = ring.replace(
        obs=jnp.asarray(random.integers(0, 256, ring.obs.shape), jnp.uint8),
        last_row=ring.last_row.at[0].set(19),
        written=jnp.int32(20),
    )
    state = loop.LoopState(jnp.zeros(()), ring, None, jax.random.PRNGKey(3))  # type: ignore[arg-type]
    _, wanted = loop.sample_batches(setup.env, state, config.train, config.agent.discount)
    _, drawn = loop.draw_batches(state, config.train, config.agent.discount)
    gathered = [
        loop.buffer.gather(ring, jax.tree.map(lambda leaf, i=i: leaf[i], drawn), setup.env.achieved_goal)
        for i in (0, 1)
    ]
    for index, batch in enumerate(gathered):
        np.testing.assert_array_equal(batch.obs, wanted.obs[index])
        np.testing.assert_array_equal(batch.goal, wanted.goal[index])
    means = jax.jit(loop.make_learn(setup.env, agent, config))(state)[1]
    assert float(means["obs"]) == pytest.approx(float(jnp.mean(wanted.obs.astype(jnp.float32))), rel=1e-4)


@pytest.mark.slow
def test_a_run_from_pictures_is_resumed_to_the_last_bit_and_can_be_scored(tmp_path: Path) -> None:
    whole = train(small(tmp_path, name="whole"), console=False).folder
    half = train(small(tmp_path, name="half", total_env_steps=48), console=False).folder
    train(with_overrides(runs.load(half), total_env_steps=80), half, console=False)
    states = [
        checkpoint.restore(folder / runs.CHECKPOINTS, build(runs.load(folder)).template)[0] for folder in (whole, half)
    ]
    jax.tree.map(lambda one, other: np.testing.assert_array_equal(np.asarray(one), np.asarray(other)), *states)
    trained = load(whole)
    assert 0 <= score(trained, 2, 0)["success_final"] <= 1
