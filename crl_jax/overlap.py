"""Collect while learning: an unroll of engine `c` runs on the host's cores while the updates run, best on a GPU.

`loop.make_round` collects, then learns from what it collected. Here an iteration learns from what the ring holds, and
beside it collects with the parameters from before its updates; then it inserts. Both depend on the state alone, so a
run is deterministic and is resumed bit for bit. The policy that collects is one iteration older.

Axis letters: T time, E environments.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp

from crl_jax import loop
from crl_jax.config import Config, ConfigError
from crl_jax.experience import buffer
from crl_jax.experience.rollout import rollout
from crl_jax.types import Agent, AgentState, Metrics
from envs_mjx.base import GoalEnv, State

Rows = tuple[jax.Array, ...]
"""What an unroll adds to the ring: arguments of `buffer.insert`, each (T, E, ...)."""
Collect = Callable[[AgentState, State, jax.Array], tuple[State, Rows, loop.EpisodeSums]]


def make_collect(env: GoalEnv, agent: Agent, config: Config) -> Collect:
    """(agent state, environments, key) -> environments after one unroll, its rows, sums over its ended episodes."""

    def collect(agent_state: AgentState, env_state: State, key: jax.Array) -> tuple[State, Rows, loop.EpisodeSums]:
        policy = loop.exploring_policy(env, agent, agent_state, config.explore)
        after, steps = rollout(env, policy, env_state, key, config.train.unroll_length)
        rows: Rows = (steps.obs, steps.action, steps.goal, steps.episode)
        rows = rows if agent.reward is None else (*rows, agent.reward(steps.metrics))
        return after, rows, loop.episode_sums(steps)

    return collect


def compile_round(env: GoalEnv, agent: Agent, config: Config, template: loop.LoopState) -> loop.Round:
    """`loop.make_round` in the order of this module, compiled: collecting for the host, learning for JAX's device.

    Args:
        template: shapes of the state; the returned function's argument is donated.

    Raises:
        ConfigError: JAX has no CPU device beside the GPU.
    """
    host, device = _host(), jax.local_devices()[0]
    key = jax.ShapeDtypeStruct((2,), jnp.uint32)
    bare = template.replace(env=None)
    collect_, learn_ = make_collect(env, agent, config), loop.make_learn(env, agent, config)
    collected = jax.eval_shape(collect_, template.agent, template.env, key)
    acting = _placed((template.agent, template.env, key), host)
    collect = jax.jit(collect_).lower(*acting).compile()
    learn = jax.jit(learn_, donate_argnums=0).lower(_placed(bare, device)).compile()
    insert = jax.jit(buffer.insert, donate_argnums=0).lower(*_placed((template.ring, *collected[1]), device)).compile()
    copied = jax.jit(lambda tree: jax.tree.map(jnp.copy, tree))
    beside = ThreadPoolExecutor(1, "collect")

    def iteration(state: loop.LoopState) -> tuple[loop.LoopState, Metrics, loop.EpisodeSums]:
        key, collect_key = jax.random.split(state.key)
        # The updates take over the buffers of the agent's state, so the unroll gets a copy.
        agent_state = jax.block_until_ready(jax.device_put(copied(state.agent), host))
        unroll = beside.submit(collect, agent_state, state.env, jax.device_put(collect_key, host))
        learned, metrics = learn(state.replace(env=None, key=key))
        env_state, rows, episodes = unroll.result()
        ring = insert(learned.ring, *jax.device_put(rows, device))
        return learned.replace(ring=ring, env=env_state), metrics, episodes

    def round_(state: loop.LoopState) -> tuple[loop.LoopState, Metrics, loop.EpisodeSums]:
        state = state.replace(env=jax.device_put(state.env, host))
        told, ended = [], []
        for _ in range(config.train.iterations_per_round):
            state, metrics, episodes = iteration(state)
            told.append(metrics)
            ended.append(episodes)
        means, sums = (jax.tree.map(lambda *leaves: jnp.stack(leaves), *each) for each in (told, ended))
        return state, jax.tree.map(jnp.mean, means), jax.tree.map(jnp.sum, sums)

    return round_


def _host() -> Any:
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        told = "needs JAX's CPU device beside the GPU; set JAX_PLATFORMS=cuda,cpu, or leave it unset"
        raise ConfigError(f"overlap=True: {told}") from None


def _placed(tree: Any, device: Any) -> Any:
    sharding = jax.sharding.SingleDeviceSharding(device)
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree)
