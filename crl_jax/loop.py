"""The training iteration as one pure function: unroll, insert, sample, relabel, scan of SGD updates.

The loop is the same for every algorithm: it only calls the functions of an `Agent`.

Axis letters: T time, E environments, B batch, U updates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax.sharding import PartitionSpec as P

from crl_jax.config import Config, ExploreConfig, TrainConfig
from crl_jax.experience import buffer
from crl_jax.experience.explore import behaviour_goal, replay_goals
from crl_jax.experience.noise import noisy
from crl_jax.experience.rollout import Policy, Trajectory, random_policy, rollout
from crl_jax.scale import parallel
from crl_jax.types import Agent, AgentState, Batch, Metrics
from envs_mjx.base import GoalEnv, State
from envs_mjx.together import Together


class LoopState(struct.PyTreeNode):
    """The whole state of a run on the device. A checkpoint saves all of it.

    Attributes:
        agent: the agent's state. ring: replay buffer. env: state of E environments. key: (2,) uint32.
        knowledge: critics of the earlier tasks of a sequence (`continual.critic`); None unless critic_mode is "cka".
    """

    agent: AgentState
    ring: buffer.Ring
    env: State
    key: jax.Array
    knowledge: Any = None


class EpisodeSums(struct.PyTreeNode):
    """Counts over some steps: ended episodes, those with the object moved (None: no object), and divergences."""

    count: jax.Array
    object_moved: jax.Array | None
    diverged: jax.Array


_COPIED: Any = P()
_BY_ENV: Any = P(parallel.AXIS)
_COLUMNS: Any = P(None, parallel.AXIS)

SPECS = LoopState(
    agent=_COPIED,
    ring=buffer.Ring(_COLUMNS, _COLUMNS, _COLUMNS, _COLUMNS, _COLUMNS, written=_COPIED, reward=_COLUMNS),
    env=_BY_ENV,
    key=_COPIED,
)
"""How the state is split over devices: environments and their ring columns are split, the rest is copied."""


def init(env: GoalEnv, agent: Agent, config: TrainConfig, key: jax.Array, axis: str | None = None) -> LoopState:
    """The first state: fresh agent, empty ring, reset environments. E counts the environments of this device."""
    agent_key, env_key, key = jax.random.split(key, 3)
    env_key = parallel.own(env_key, axis)
    rows = config.replay_capacity // (env.num_envs * parallel.size(axis))
    sizes = env.spec.obs_size, env.spec.action_size, env.spec.goal_size
    pictures = bool(env.spec.picture)
    commanded = agent.commanded or not pictures
    ring = buffer.init(rows, env.num_envs, *sizes, agent.reward is not None, commanded, pictures)
    return LoopState(agent.init(agent_key), ring, env.reset(env_key), key)


def collect(
    env: GoalEnv,
    policy: Policy,
    state: LoopState,
    length: int,
    axis: str | None = None,
    reward: Callable[[Metrics], jax.Array] | None = None,
) -> tuple[LoopState, EpisodeSums]:
    """Step every environment `length` times and insert the steps into the ring. `reward`: see `Agent`."""
    key, rollout_key = jax.random.split(state.key)
    env_state, steps = rollout(env, policy, state.env, parallel.own(rollout_key, axis), length)
    paid = None if reward is None else reward(steps.metrics)
    ring = buffer.insert(state.ring, steps.obs, steps.action, steps.goal, steps.episode, paid)
    return state.replace(ring=ring, env=env_state, key=key), parallel.total(episode_sums(steps), axis)


def episode_sums(steps: Trajectory) -> EpisodeSums:
    """Sums over the (T, E) steps that ended an episode."""
    done = steps.done.astype(jnp.float32)
    moved = steps.metrics.get("object_moved")
    moved_sum = None if moved is None else jnp.sum(moved * done)
    return EpisodeSums(jnp.sum(done), moved_sum, jnp.sum(steps.metrics["diverged"]))


def draw_batches(
    state: LoopState, config: TrainConfig, discount: float, axis: str | None = None, tasks: int = 1
) -> tuple[LoopState, buffer.Drawn]:
    """Transitions (U, B) for all updates of an iteration. B counts the rows of this device.

    Args:
        tasks: K, of a `Together`. With batches="task" each batch is of one task; every K batches are of all K tasks.
    """
    key, sample_key = jax.random.split(state.key)
    shape = (config.updates_per_iteration, config.batch_size // parallel.size(axis))
    key_here, distinct = parallel.own(sample_key, axis), config.distinct_trajectories
    low, count = jnp.int32(0), 0
    if tasks > 1 and config.batches == "task":
        count = state.ring.episode.shape[1] // tasks
        low = count * task_numbers(jax.random.fold_in(sample_key, 1), shape[0], tasks)[:, None]
    return state.replace(key=key), buffer.draw(state.ring, key_here, shape, discount, distinct, low, count)


def task_numbers(key: jax.Array, updates: int, tasks: int) -> jax.Array:
    """(U,) int32 the task of each update: the tasks in turn, in an order drawn anew for each turn."""
    turns = jax.random.split(key, -(-updates // tasks))
    orders = jax.vmap(lambda one: jax.random.permutation(one, tasks))(turns)
    return orders.ravel()[:updates].astype(jnp.int32)


def tasks_at_once(env: GoalEnv) -> int:
    """K, the tasks that the environments are of."""
    return len(env.parts) if isinstance(env, Together) else 1


def sample_batches(
    env: GoalEnv, state: LoopState, config: TrainConfig, discount: float, axis: str | None = None
) -> tuple[LoopState, Batch]:
    """The minibatches (U, B) of `draw_batches`, relabelled."""
    state, drawn = draw_batches(state, config, discount, axis, tasks_at_once(env))
    return state, buffer.gather(state.ring, drawn, env.achieved_goal)


def learn(
    agent: Agent, state: LoopState, inputs: Any, gather: Callable[[Any], Batch] = lambda batch: batch
) -> tuple[LoopState, Metrics]:
    """One SGD update per minibatch; metrics are means over the updates.

    Args:
        inputs: what `gather` makes each minibatch from; leading axis U.
    """
    key, update_key = jax.random.split(state.key)
    updates, packed = inputs.offset.shape[0], agent.packed
    step = packed.update if packed else agent.update
    names: dict[str, None] = {}  # of the metrics, in the order of their vector; known once `update` has been traced

    def update(agent_state: AgentState, inputs: tuple[Any, jax.Array]) -> tuple[AgentState, jax.Array]:
        agent_state, metrics = step(agent_state, gather(inputs[0]), inputs[1])
        names.update(dict.fromkeys(metrics))
        return agent_state, jnp.stack([jnp.asarray(metrics[name], jnp.float32) for name in names])

    start = packed.pack(state.agent) if packed else state.agent
    agent_state, metrics = jax.lax.scan(update, start, (inputs, jax.random.split(update_key, updates)))
    agent_state = packed.unpack(agent_state, state.agent) if packed else agent_state
    # One vector for all metrics: for each number a GPU would launch a kernel.
    means = dict(zip(names, jnp.mean(metrics, axis=0), strict=True))
    return state.replace(agent=agent_state, key=key), means


def exploring_policy(
    env: GoalEnv,
    agent: Agent,
    state: AgentState,
    explore: ExploreConfig,
    replayed: Callable[[State], jax.Array] | None = None,
) -> Policy:
    """The policy of data collection: the agent acts towards behaviour goals, with noise on its actions."""

    def policy(env_state: State, key: jax.Array) -> jax.Array:
        goal = behaviour_goal(env, env_state, explore, replayed)
        action = agent.act(state, env_state.obs, goal, key, False)
        return noisy(action, env_state, env.spec.horizon, explore)

    return policy


Collect = Callable[[LoopState], tuple[LoopState, EpisodeSums]]
Learn = Callable[[LoopState], tuple[LoopState, Metrics]]
Round = Callable[[LoopState], tuple[LoopState, Metrics, EpisodeSums]]


def make_collect(env: GoalEnv, agent: Agent, config: Config, axis: str | None = None) -> Collect:
    """The first half of an iteration: one unroll of every environment, inserted into the ring."""

    def collect_(state: LoopState) -> tuple[LoopState, EpisodeSums]:
        replayed = replay_goals(env, state.ring, state.env, config.train.unroll_length)
        policy = exploring_policy(env, agent, state.agent, config.explore, replayed)
        return collect(env, policy, state, config.train.unroll_length, axis, agent.reward)

    return collect_


def make_learn(
    env: GoalEnv,
    agent: Agent,
    config: Config,
    axis: str | None = None,
    achieved_goal: Callable[[jax.Array], jax.Array] | None = None,
) -> Learn:
    """The second half of an iteration: sample batches and update with each. It does not read `LoopState.env`.

    Args:
        achieved_goal: (..., D) -> (..., G), where the ring holds other tasks' steps, too; that of `env` if None.
    """
    achieved = achieved_goal or env.achieved_goal

    def learn_(state: LoopState) -> tuple[LoopState, Metrics]:
        ring = state.ring

        def gather(drawn: buffer.Drawn) -> Batch:
            batches = buffer.gather(ring, drawn, achieved)
            return agent.relabel(env, batches) if agent.relabel else batches

        with jax.named_scope("sample"):  # names for the profiler
            state, drawn = draw_batches(state, config.train, config.agent.discount, axis, tasks_at_once(env))
            # All batches at once take fewer, larger steps. Pictures are gathered one batch at a time: they are large.
            inputs = drawn if env.spec.picture else gather(drawn)
        with jax.named_scope("learn"):
            return learn(agent, state, inputs, gather) if env.spec.picture else learn(agent, state, inputs)

    return learn_


def make_round(env: GoalEnv, agent: Agent, config: Config, axis: str | None = None) -> Round:
    """`iterations_per_round` iterations as one function, to be jitted with its argument donated."""
    collect_, learn_ = make_collect(env, agent, config, axis), make_learn(env, agent, config, axis)

    def iteration(state: LoopState, _: None) -> tuple[LoopState, tuple[Metrics, EpisodeSums]]:
        episodes = EpisodeSums(jnp.zeros(()), None, jnp.zeros(()))
        if not config.train.offline:
            with jax.named_scope("collect"):
                state, episodes = collect_(state)
        state, metrics = learn_(state)
        return state, (metrics, episodes)

    def round_(state: LoopState) -> tuple[LoopState, Metrics, EpisodeSums]:
        state, (metrics, episodes) = jax.lax.scan(iteration, state, None, length=config.train.iterations_per_round)
        return state, jax.tree.map(jnp.mean, metrics), jax.tree.map(jnp.sum, episodes)

    return round_


def make_warm_up(
    env: GoalEnv,
    config: TrainConfig,
    axis: str | None = None,
    reward: Callable[[Metrics], jax.Array] | None = None,
) -> Callable[[LoopState], LoopState]:
    """Random actions until the ring holds `min_replay` transitions, as one function to be jitted and donated."""
    policy = random_policy(env.spec.action_size)

    def unroll(state: LoopState, _: None) -> tuple[LoopState, None]:
        return collect(env, policy, state, config.unroll_length, axis, reward)[0], None

    def warm_up(state: LoopState) -> LoopState:
        unrolls = config.warm_up_unrolls(env.num_envs * parallel.size(axis))
        return jax.lax.scan(unroll, state, None, length=unrolls)[0]

    return warm_up
