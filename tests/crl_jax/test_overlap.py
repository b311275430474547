"""Collecting while learning: the numbers are those of the same order in one program, and a stop changes none.

What trains runs in a process of its own, because `run_cpu_programs_where_called` comes before JAX's first device.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import PRESETS
from crl_jax import loop, overlap, runs
from crl_jax.config import ConfigError, with_overrides
from crl_jax.experience import buffer
from crl_jax.scale.machine import run_cpu_programs_where_called
from crl_jax.start import ready
from crl_jax.train import train, train_seeds
from crl_jax.trainer import build, compile_all
from tests import ROOT
from tests.crl_jax.test_train import assert_same_bits, final_state, small


@pytest.mark.parametrize(
    ("check", "cores"),
    [
        ("a_round_is_that_order_in_one_program", 0),
        pytest.param("a_stopped_run_ends_bit_for_bit", 1, marks=pytest.mark.slow),
    ],
)
def test_in_a_process_of_its_own(check: str, cores: int, tmp_path: Path) -> None:
    """On one core the engine's callback once waited for ever for a thread that the updates had."""
    lines = ["import os, pathlib", "cores = sorted(os.sched_getaffinity(0))"]
    lines += [f"os.sched_setaffinity(0, cores[-{cores}:])"] if cores else []
    lines += [f"from tests.crl_jax import test_overlap; test_overlap.{check}(pathlib.Path({str(tmp_path)!r}))"]
    command = [sys.executable, "-c", "\n".join(lines)]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr[-2000:]


def a_round_is_that_order_in_one_program(folder: Path) -> None:
    config = ready(small(folder, task="push", overlap=True, iterations_per_round=3))
    setup = build(config)
    env, agent = setup.env, setup.agent
    trainer = compile_all(setup)
    collect, learn = overlap.make_collect(env, agent, config), loop.make_learn(env, agent, config)

    @jax.jit
    def iteration(state):
        key, collect_key = jax.random.split(state.key)
        env_state, rows, episodes = collect(state.agent, state.env, collect_key)
        learned, metrics = learn(state.replace(key=key))
        return learned.replace(ring=buffer.insert(learned.ring, *rows), env=env_state), metrics, episodes

    warm = trainer.warm_up(setup.init(setup.key()))
    expected, told, ended = jax.tree.map(jnp.copy, warm), [], []
    for _ in range(3):
        expected, metrics, episodes = iteration(expected)
        told.append(metrics["critic_loss"])
        ended.append(episodes.count)
    state, metrics, episodes = trainer.round(warm)
    # Two compilations of one function may round differently; what is collected first is the same.
    assert int(state.ring.written) == int(expected.ring.written)
    np.testing.assert_array_equal(state.ring.episode, expected.ring.episode)
    for ours, theirs in zip(jax.tree.leaves(state.agent), jax.tree.leaves(expected.agent), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(metrics["critic_loss"], np.mean(told), rtol=1e-3)
    assert float(episodes.count) == sum(map(float, ended))


def a_stopped_run_ends_bit_for_bit(folder: Path) -> None:
    whole = train(small(folder, name="whole", task="push", overlap=True), console=False)
    half = train(small(folder, name="half", task="push", overlap=True, total_env_steps=400), console=False)
    assert half.counters.env_steps < whole.counters.env_steps
    wanted = with_overrides(half.config, total_env_steps=whole.config.train.total_env_steps)
    resumed = train(runs.resume(half.folder, wanted), resume=half.folder, console=False)
    assert_same_bits(final_state(resumed.folder), final_state(whole.folder))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"physics": "warp"}, "physics='warp': --overlap collects on the host; take c"),
        ({"devices": 2}, "devices=2: --overlap learns on one device"),
        ({"behaviour_goals": "replay"}, "behaviour_goals='replay': reads the ring"),
    ],
)
def test_what_cannot_be_collected_beside_is_refused(settings: dict, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        with_overrides(PRESETS["metaworld_cpu"], overlap=True, **settings).validate()


def test_several_seeds_in_one_program_refuse_it() -> None:
    config = with_overrides(PRESETS["point_cpu"], overlap=True)
    with pytest.raises(ConfigError, match="overlap=True: several seeds in one program"):
        train_seeds(config, (0, 1))


def test_a_sequence_of_tasks_refuses_it() -> None:
    from crl_jax.config.sequence import of_tasks

    config = with_overrides(of_tasks(PRESETS["continual_cpu"], ("push", "reach")), overlap=True)
    with pytest.raises(ConfigError, match="overlap=True: a sequence of tasks"):
        config.validate()


def test_a_gpu_without_the_cpu_beside_it_is_told(monkeypatch) -> None:
    def none(backend: str) -> None:
        raise RuntimeError("Unknown backend cpu")

    monkeypatch.setattr(overlap.jax, "local_devices", none)
    with pytest.raises(ConfigError, match="set JAX_PLATFORMS=cuda,cpu"):
        overlap._host()


def test_after_jax_has_started_it_is_told_what_to_set() -> None:
    jax.devices()
    with pytest.raises(ConfigError, match="JAX has started; call"):
        run_cpu_programs_where_called()
