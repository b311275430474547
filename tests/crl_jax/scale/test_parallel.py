"""One program on several virtual CPU devices. Each case is a process: JAX fixes its devices when it starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from crl_jax.config import Config, ConfigError, with_overrides
from crl_jax.scale.parallel import make_mesh
from tests import ROOT


def _on_devices(count: int, code: str, *arguments: str) -> str:
    """Standard output of a Python program that sees `count` virtual CPU devices."""
    environment = os.environ | {
        "XLA_FLAGS": f"--xla_backend_optimization_level=0 --xla_force_host_platform_device_count={count}",
        "PJRT_NPROC": "32",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


EQUAL = """
import dataclasses, json, sys, jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, PartitionSpec as P
from crl_jax.scale import parallel
from crl_jax import agents
from crl_jax.config import AgentConfig, Config, NetworkConfig
from crl_jax.types import Batch
from envs_mjx.base import EnvSpec

D, G, A, B, UPDATES = 6, 3, 2, 64, 20
spec = EnvSpec(D, G, A, 50, jnp.zeros(D), jnp.ones(D), jnp.zeros(G), jnp.ones(G))
network = NetworkConfig(width=32, critic_depth=4, actor_depth=2, embedding=8)
keys = jax.random.split(jax.random.PRNGKey(1), 5)
obs, action = jax.random.normal(keys[0], (UPDATES, B, D)), jnp.tanh(jax.random.normal(keys[1], (UPDATES, B, A)))
goal = obs[..., :G] + 0.1 * jax.random.normal(keys[2], (UPDATES, B, G))
count = jnp.ones((UPDATES, B), jnp.int32)
env = count * jnp.arange(B) // 2  # pairs of one trajectory, on one device
batches = Batch(obs, action, obs, goal, goal, env, count, count, goal + 0.1, reward=goal[..., 0])
for case in map(json.loads, sys.argv[1:]):
    noise, loss, fused = {} if "method" in case else {"critic_goal_noise": 0.1}, str(case), case.pop("fused", "off")
    network = dataclasses.replace(network, fused=fused, actor_depth=4 if fused == "on" else 2)
    def run(axis):
        agent = agents.make(Config(network=network, agent=AgentConfig(**case, **noise)), spec, axis)
        def train(state, batches):
            packed = agent.packed
            step = lambda state, inputs: (packed or agent).update(state, *inputs)
            start = packed.pack(state) if packed else state
            end, told = jax.lax.scan(step, start, (batches, jax.random.split(keys[3], UPDATES)))
            return packed.unpack(end, state) if packed else end, told
        return agent.init(keys[4]), train
    state, train = run(None)
    alone, metrics = jax.jit(train)(state, batches)
    mesh = Mesh(np.array(jax.devices()), ("data",))
    state, train = run("data")
    mapped = parallel.jitted(train, mesh, (P(), P(None, "data")), (P(), P()))
    shared, shared_metrics = mapped(state, batches)
    first, last = (s.critic if "method" in case else s.phi for s in (state, alone))
    assert max(jax.tree.leaves(jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), first, last))) > 1e-3, "moved"
    pairs = zip(jax.tree_util.tree_leaves_with_path(alone), jax.tree.leaves(shared), strict=True)
    for (path, one), other in pairs:  # moments are squares of gradients, of any size
        path = jax.tree_util.keystr(path)
        rtol = 1e-5 if "_opt" in path else 0
        np.testing.assert_allclose(one, other, rtol=rtol, atol=1e-5, err_msg=f"{loss} {path}")
    for name in metrics:
        np.testing.assert_allclose(metrics[name], shared_metrics[name], rtol=1e-3, atol=1e-4, err_msg=f"{loss} {name}")
print("equal")
"""


@pytest.mark.parametrize(
    "cases",
    [
        ({"loss": "fwd_infonce"},),
        ({"loss": "fwd_infonce", "fused": "on"},),
        pytest.param(
            (
                {"loss": "bwd_infonce"},
                {"loss": "sym_infonce"},
                {"loss": "binary_nce"},
                {"loss": "sym_infonce", "logits_chunk": 16},
            ),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            (
                {"loss": "nce_c_learning", "twin": True, "energy": "dot", "entropy": "none", "bc_weight": 0.1},
                {"loss": "fwd_infonce", "mask": "same_trajectory", "energy": "cosine", "logits_chunk": 16},
                {"loss": "binary_nce", "mask": "same_goal", "mask_radius": 1.0, "twin": True, "energy": "mrn"},
            ),
            marks=pytest.mark.slow,
        ),
        pytest.param(({"method": "sac"}, {"method": "td3"}), marks=pytest.mark.slow),
    ],
    ids=["forward", "stacked", "losses", "options", "methods"],
)
def test_eight_devices_take_the_steps_of_one(cases: tuple[dict[str, Any], ...]) -> None:
    """20 updates on the same global batches: parameters equal to 1e-5, negatives from all devices, equal metrics."""
    assert _on_devices(8, EQUAL, *map(json.dumps, cases)).strip().endswith("equal")


TRAIN = """
import sys, jax
from configs import PRESETS
from crl_jax.config import with_overrides
from crl_jax.train import train
from crl_jax.trainer import build, compile_all
from crl_jax.scale import parallel

devices, runs, total = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
config = with_overrides(
    PRESETS["reach_cpu"], devices=devices, runs=runs, total_env_steps=total, video=False, physics="c",
    num_envs=16, eval_episodes=16, unroll_length=10, replay_capacity=1600, min_replay=320, batch_size=16,
    updates_per_iteration=4, width=16, critic_depth=1, actor_depth=1, iterations_per_round=2, eval_every=100_000,
)
trainer = compile_all(build(config))
text = trainer.round.as_text()
gathered = [line for line in text.splitlines() if " all-gather(" in line or " all-gather-start(" in line]
rows = 1600 // 16
assert gathered, "negatives are gathered"
for line in gathered:  # embeddings and goals of a batch, never the ring or the environments
    shape = line.split("=", 1)[1].strip().split("{")[0]
    assert f"[{rows}," not in shape and not shape.startswith("f32[100"), line
state = trainer.setup.init(jax.random.PRNGKey(0))
assert len(state.ring.obs.sharding.device_set) == devices
assert state.ring.obs.addressable_shards[0].data.shape[1] == 16 // devices
assert len({tuple(row) for row in state.env.goal.tolist()}) == 16, "every environment of every device has its own goal"
result = train(config, console=False)
print(result.counters.env_steps, result.folder)
"""


@pytest.mark.slow
def test_the_loop_on_two_devices_keeps_its_shards_and_resumes_on_one(tmp_path: Path) -> None:
    steps, folder = _on_devices(2, TRAIN, "2", str(tmp_path), "640").split()[-2:]
    assert int(steps) >= 640
    resume = (
        "import sys; from pathlib import Path; from crl_jax import runs; from crl_jax.train import train\n"
        "from crl_jax.config import with_overrides\n"
        "config = with_overrides(runs.load(Path(sys.argv[1])), devices=1, total_env_steps=1280)\n"
        "print(train(config, resume=Path(sys.argv[1]), console=False).counters.env_steps)"
    )
    assert int(_on_devices(1, resume, folder).split()[-1]) >= 1280


def test_more_devices_than_there_are_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"devices=64: JAX sees 1 .*XLA_FLAGS"):
        make_mesh(with_overrides(Config(), devices=64, num_envs=128, batch_size=256))


@pytest.mark.parametrize(("field", "value"), [("num_envs", 130), ("batch_size", 257), ("eval_episodes", 129)])
def test_what_does_not_divide_is_refused_with_the_nearest(field: str, value: int) -> None:
    capacity = {"replay_capacity": 130 * 62 * 100} if field == "num_envs" else {}
    with pytest.raises(ConfigError, match=f"{field}={value}: must be a multiple of devices = 4; nearest: 1|2"):
        with_overrides(Config(), devices=4, **{field: value}, **capacity).validate()
