"""Buffers of engine `warp`: an overflow raises an error that names the size to set; kernels print nothing.

Axis letters: E environments, T time.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import PRESETS
from crl_jax import runs
from crl_jax.config import with_overrides
from crl_jax.runs import checkpoint
from crl_jax.runs.loggers import read_metrics
from crl_jax.train import train
from envs_mjx import EnvError, make
from envs_mjx.base import EnvSpec, check_buffers
from tests.crl_jax.test_train import SMALL

ENVS, STEPS = 4, 3
NEEDED = 4 * ENVS
"""Contacts of push at rest: in every environment, the puck has four contacts with the table."""
ONES = jnp.ones(1)
SPEC = EnvSpec(1, 1, 1, 1, ONES, ONES, ONES, ONES, buffers=(("naconmax", 100), ("njmax", 64)))


@pytest.mark.parametrize(
    ("used", "told"),
    [
        ({"naconmax_used": [3.0, 100.0], "njmax_used": [64.0, 0.0]}, None),
        (
            {"naconmax_used": [3.0, 101.0], "njmax_used": [0.0, 0.0]},
            "naconmax=100: a step needed 101.*set naconmax=192",
        ),
        ({"naconmax_used": 5.0, "njmax_used": 129.0}, "njmax=64: a step needed 129.*set njmax=256"),
    ],
)
def test_an_overflow_is_refused_with_the_size_to_set(used: dict, told: str | None) -> None:
    metrics = {name: np.array(value, np.float32) for name, value in used.items()}
    if told is None:
        return check_buffers(SPEC, metrics)
    with pytest.raises(EnvError, match=told):
        check_buffers(SPEC, metrics)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"physics": "c", "naconmax": 5}, "naconmax=5: engine 'c' has no such buffer"),
        ({"physics": "warp", "njmax": -1}, "njmax=-1: 0 .the default. or more"),
    ],
)
def test_sizes_that_mean_nothing_are_refused(settings: dict, told: str) -> None:
    with pytest.raises(EnvError, match=told):
        make("push", 2, **settings)


def test_engine_c_has_no_buffer_to_overflow() -> None:
    env = make("push", 2, physics="c")
    assert env.spec.buffers == ()
    assert not any(name.endswith("_used") for name in jax.eval_shape(env.reset, jax.random.PRNGKey(0)).metrics)


def test_a_small_buffer_overflows_into_the_metrics_and_not_onto_the_console(capfd) -> None:
    env = make("push", ENVS, physics="warp", naconmax=NEEDED - 6)

    @jax.jit
    def unroll(key):
        def step(state, action):
            state = env.step(state, action)
            return state, state.metrics

        state = env.reset(key)
        return state.metrics, jax.lax.scan(step, state, jnp.zeros((STEPS, ENVS, 4)))[1]

    begun, metrics = jax.block_until_ready(unroll(jax.random.PRNGKey(0)))
    assert not begun["naconmax_used"].any(), "a reset of push makes no contacts"
    assert metrics["naconmax_used"].shape == (STEPS, ENVS)
    assert metrics["naconmax_used"].min() == NEEDED
    assert 3 * 4 < metrics["njmax_used"].max() < dict(env.spec.buffers)["njmax"]
    with pytest.raises(EnvError, match=f"naconmax={NEEDED - 6}: a step needed {NEEDED}.*set naconmax=64"):
        check_buffers(env.spec, {name: values[-1] for name, values in metrics.items()})
    printed = capfd.readouterr()
    assert "overflow" not in printed.out + printed.err


@pytest.mark.slow
def test_training_stops_where_contacts_are_lost_and_goes_on_with_more_room(tmp_path) -> None:
    changes = {"task": "push", "physics": "warp", "runs": str(tmp_path), "name": "run", "naconmax": NEEDED - 1}
    config = with_overrides(PRESETS["metaworld_cpu"], **{**SMALL, **changes, "total_env_steps": 160})
    with pytest.raises(EnvError, match=r"naconmax=15: a step needed 1[6-9].*set naconmax=64 and start again"):
        train(config, console=False)
    folder = tmp_path / "run"
    assert not checkpoint.steps(folder / runs.CHECKPOINTS), "nothing that lost contacts is kept"
    result = train(with_overrides(config, name="roomy", naconmax=64), console=False)
    used = [record["train/naconmax_used"] for record in read_metrics(result.folder) if "train/naconmax_used" in record]
    assert used and NEEDED <= used[-1] <= 64
    assert result.evaluation["naconmax_used"] >= NEEDED
    again = runs.resume(result.folder, with_overrides(result.config, naconmax=128))
    assert again.env.naconmax == 128
