"""From a config to the compiled programs of a training run.

`build` makes a `Setup`: environments, agent and the function that makes the first state. It compiles nothing.
`compile_all` compiles a `Setup` into a `Trainer`. With several seeds, every array gains a leading seed axis.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

import envs_mjx
from crl_jax import agents, loop, overlap
from crl_jax.config import Config, ConfigError, EnvConfig, nearest_multiples, require
from crl_jax.continual.method import Method
from crl_jax.evaluate import buffers_used, evaluate
from crl_jax.experience import buffer, rewards
from crl_jax.experience.rollout import agent_policy
from crl_jax.scale import parallel
from crl_jax.scale.warp_kernels import compile_for_gpu
from crl_jax.types import Agent, AgentState, Metrics
from envs_mjx.base import GoalEnv

EVAL_STREAM = 7919
"""Separates evaluation keys from training keys of the same seed."""


@dataclass(frozen=True, eq=False)
class Setup:
    """The parts of a run, before anything is compiled.

    Attributes:
        env, eval_env: environments for training and for evaluation.
        init: key -> first state of the loop, jitted.
        mesh: the devices; None for one device.
        seeds: seeds of several runs in one program; () for a single run, which uses the config's seed.
    """

    config: Config
    env: GoalEnv
    eval_env: GoalEnv
    agent: Agent
    init: Callable[[jax.Array], loop.LoopState]
    mesh: Mesh | None = None
    seeds: tuple[int, ...] = ()

    @property
    def template(self) -> loop.LoopState:
        """Shapes of the state, with its split over the devices. Allocates nothing."""
        return parallel.shaped(jax.eval_shape(self.init, self.key()), loop.SPECS, self.mesh)

    def key(self, *folded: int) -> jax.Array:
        """The key (2,) of the run's seed with the numbers `folded` in; with S seeds, their keys (S, 2)."""
        keys = [jax.random.PRNGKey(seed) for seed in self.seeds or (self.config.run.seed,)]
        for number in folded:
            keys = [jax.random.fold_in(key, number) for key in keys]
        return jnp.stack(keys) if self.seeds else parallel.copied(keys[0], self.mesh)

    def each(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, mapped over the seed axis if there are several seeds."""
        return jax.vmap(function) if self.seeds else function

    def lane(self, tree: Any, index: int) -> Any:
        """The part of `tree` that belongs to seed number `index`; the whole tree for a single run."""
        return jax.tree.map(lambda leaf: leaf[index], tree) if self.seeds else tree


@dataclass(frozen=True, eq=False)
class Trainer:
    """A setup with its compiled programs.

    Attributes:
        warm_up: state with an empty ring -> state after random actions have filled the ring up to `min_replay`.
        round: state -> (state, metrics of its updates, sums over its ended episodes); the state is donated.
        evaluate: (agent state, key) -> metrics of fresh episodes.
        buffers_used: metrics of a step -> largest use of each engine buffer; {} if the engine has none.
        compile_seconds: seconds spent compiling.
    """

    setup: Setup
    warm_up: Callable[[loop.LoopState], loop.LoopState]
    round: loop.Round
    evaluate: Callable[[AgentState, jax.Array], Metrics]
    buffers_used: Callable[[Metrics], Metrics]
    compile_seconds: float


def build(config: Config, seeds: tuple[int, ...] = (), method: Method | None = None) -> Setup:
    """Make the environments and the agent of `config`. Compiles nothing.

    Args:
        config: settings of the run.
        seeds: one run per seed in one program; () for a single run.
        method: a continual method, if this run is one task of a sequence. The agent then trains the method's actor.

    Raises:
        ConfigError, EnvError: a bad setting, in one line.
    """
    config = config.validate()
    mesh = parallel.make_mesh(config)
    axis, devices = parallel.axis_of(mesh), config.train.devices
    env = make_env(config.env, config.env.num_envs // devices)
    episodes = config.evaluation.eval_episodes // devices
    _require_tasks(config, loop.tasks_at_once(env))
    rewards.check(config, env)
    eval_env = env if episodes == env.num_envs else make_env(config.env, episodes)
    agent = agents.make(config, env.spec, axis, method)
    _require_trajectories(config, env.spec.horizon)

    def init(key: jax.Array) -> loop.LoopState:
        return loop.init(env, agent, config.train, key, axis)

    jitted = parallel.jitted(jax.vmap(init) if seeds else init, mesh, P(), loop.SPECS)
    return Setup(config, env, eval_env, agent, jitted, mesh, seeds)


def _require_tasks(config: Config, tasks: int) -> None:
    """Refuse settings that several tasks at once cannot have."""
    if tasks == 1:
        return
    train, goals, episodes = config.train, config.explore.behaviour_goals, config.evaluation.eval_episodes
    require(not train.data, "data", train.data, "several tasks at once collect their own data; leave it out")
    good = goals not in ("replay", "mixed")
    require(good, "behaviour_goals", goals, "stored goals are of any task; take touch_then_near or commanded")
    good = not train.distinct_trajectories or train.batches == "mixed"
    require(good, "distinct_trajectories", True, "draws from all tasks; take batches='mixed' with it")
    told = f"{tasks} tasks take a multiple of that; nearest: {nearest_multiples(episodes, tasks)}"
    require(episodes % tasks == 0, "eval_episodes", episodes, told)


def _require_trajectories(config: Config, horizon: int) -> None:
    """Refuse `distinct_trajectories` if the warm-up, or a full ring, may hold fewer trajectories than a batch."""
    train, envs = config.train, config.env.num_envs
    if not train.distinct_trajectories:
        return
    rows, full = train.warm_up_unrolls(envs) * train.unroll_length, train.replay_capacity // envs
    stored = {
        "min_replay": buffer.count_trajectories(rows, horizon),
        "replay_capacity": min(buffer.count_trajectories(full, horizon, lead) for lead in range(horizon)),
    }
    for name, fewest in stored.items():
        fewest *= envs
        if fewest < train.batch_size:
            raise ConfigError(
                f"distinct_trajectories=True: {name}={getattr(train, name)} is sure of {fewest} trajectories only"
                f" ({horizon} steps each), batch_size={train.batch_size}; nearest: {name} >="
                f" {envs * horizon * math.ceil(train.batch_size / envs)}"
            )


def make_env(config: EnvConfig, num_envs: int) -> GoalEnv:
    """`num_envs` environments of `config`. With more than `config.num_envs`, `naconmax` grows in proportion."""
    env = envs_mjx.make(
        config.task,
        num_envs,
        physics=config.physics,
        goal=config.goal,
        horizon=config.horizon,
        action_repeat=config.action_repeat,
        control=config.control,
        threads=config.threads,
        naconmax=config.naconmax * max(1, -(-num_envs // config.num_envs)),
        njmax=config.njmax,
        cached_reset=config.cached_reset,
        allow_unfaithful=config.allow_unfaithful,
        obs=config.obs,
        width=config.picture_size,
        height=config.picture_size,
        camera=config.camera,
    )
    horizon = env.spec.horizon * config.action_repeat
    told = f"leaves one decision in horizon={horizon}, which has no future; nearest: 1"
    require(env.spec.horizon >= 2, "action_repeat", config.action_repeat, told)
    return env


def programs(setup: Setup) -> dict[str, tuple[Any, tuple[Any, ...]]]:
    """Name -> jitted function and the shapes of its arguments: `warm_up`, `round`, `evaluate` (see `Trainer`)."""
    config, env, agent, mesh, each = setup.config, setup.env, setup.agent, setup.mesh, setup.each
    axis = parallel.axis_of(mesh)
    state, key = setup.template, jax.ShapeDtypeStruct(setup.key().shape, jnp.uint32)
    deterministic = not config.evaluation.stochastic_eval

    def evaluate_agent(agent_state: AgentState, key: jax.Array) -> Metrics:
        return evaluate(setup.eval_env, agent_policy(agent, agent_state, deterministic), key, axis)

    split, copies, donated = loop.SPECS, P(), (0,)
    warm_up = each(loop.make_warm_up(env, config.train, axis, agent.reward))
    round_ = each(loop.make_round(env, agent, config, axis))
    return {
        "warm_up": (parallel.jitted(warm_up, mesh, (split,), split, donated), (state,)),
        "round": (parallel.jitted(round_, mesh, (split,), (split, copies, copies), donated), (state,)),
        "evaluate": (parallel.jitted(each(evaluate_agent), mesh, copies, copies), (state.agent, key)),
    }


def compile_all(setup: Setup) -> Trainer:
    """Compile warm-up, round and evaluation ahead of time, from shapes only."""
    started = time.perf_counter()
    compile_for_gpu(setup.env)
    asked, env, mesh = programs(setup), setup.env, setup.mesh
    overlapped = asked.pop("round") if setup.config.train.overlap else None
    compiled: dict[str, Any] = {name: function.lower(*shapes).compile() for name, (function, shapes) in asked.items()}
    if overlapped:
        compiled["round"] = overlap.compile_round(env, setup.agent, setup.config, setup.template)
    axis = parallel.axis_of(mesh)

    def used(metrics: Metrics) -> Metrics:
        return parallel.largest(buffers_used(env.spec, metrics), axis)

    used_by_all = parallel.jitted(used, mesh, (loop.SPECS.env,), P()) if env.spec.buffers else lambda metrics: {}
    seconds = time.perf_counter() - started
    return Trainer(setup, **compiled, buffers_used=used_by_all, compile_seconds=seconds)
