"""What each task of a sequence compiles: its environment around one agent, and the programs that all tasks share.

An iteration is two programs here, and not one as in `trainer`: collecting knows the task, learning knows shapes alone
and is compiled once for tasks of equal shape. Tasks are padded to the sizes of the widest (`envs_mjx.aligned`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import envs_mjx
from crl_jax import agents, continual, loop
from crl_jax.agents.common import normalised_goal, normalised_obs
from crl_jax.config import with_overrides
from crl_jax.config.sequence import SequenceConfig
from crl_jax.continual import critic
from crl_jax.continual.boundary import critic_of, crossed, with_target_copied
from crl_jax.continual.method import Inputs, Method, Sizes
from crl_jax.evaluate import buffers_used, evaluate
from crl_jax.experience import buffer, rewards
from crl_jax.experience.rollout import agent_policy
from crl_jax.runs import StopRequest
from crl_jax.scale.programs import Programs
from crl_jax.trainer import EVAL_STREAM, Trainer, make_env
from crl_jax.types import Agent, AgentState, Metrics
from envs_mjx.aligned import Aligned, align
from envs_mjx.base import EnvSpec


class Stages:
    """The tasks of a sequence, ready to be trained one after the other.

    Building it makes the environments and compiles nothing.

    Raises:
        ConfigError, EnvError: a task that is unknown or does not run here, tasks that do not go together, or a bad
            setting of the method.
    """

    def __init__(self, config: SequenceConfig):
        self.config, self.programs = config, Programs()
        self.tasks = config.sequence.tasks
        distinct = tuple(dict.fromkeys(self.tasks))
        for task in distinct:
            envs_mjx.check(task, config.env.physics, config.env.allow_unfaithful)
        self.envs = self._aligned(distinct, config.env.num_envs)
        same = config.evaluation.eval_episodes == config.env.num_envs
        self.eval_envs = self.envs if same else self._aligned(distinct, config.evaluation.eval_episodes)
        self.spec: EnvSpec = self.envs[distinct[0]].spec
        for env in self.envs.values():
            rewards.check(config, env)
        sizes = Sizes(self.spec.obs_size, self.spec.goal_size, self.spec.action_size, len(self.tasks))
        self.method: Method = continual.make(config.continual, config.network, sizes)
        self.agent: Agent = agents.make(config, self.spec, method=self.method)
        self._evaluations: dict[str, Any] = {}
        self._cross: Any = None

    def _aligned(self, tasks: tuple[str, ...], num_envs: int) -> dict[str, Aligned]:
        made = [make_env(dataclasses.replace(self.config.env, task=task), num_envs) for task in tasks]
        return dict(zip(tasks, align(made), strict=True))

    def initial(self, number: int) -> Callable[[jax.Array], loop.LoopState]:
        """key -> the state in which a sequence would begin with task `number`."""

        def init(key: jax.Array) -> loop.LoopState:
            state = loop.init(self.envs[self.tasks[number]], self.agent, self.config.train, key)
            if self.config.boundary.critic_mode != "cka":
                return state
            return state.replace(knowledge=critic.fresh(critic_of(state.agent), self.config.continual.pool_size))

        return init

    def template(self, number: int) -> loop.LoopState:
        """Shapes of the state in task `number`; nothing allocated."""
        shapes: loop.LoopState = jax.eval_shape(self.initial(number), jax.random.PRNGKey(0))
        return shapes

    def trainer(self, number: int) -> Trainer:
        """The compiled functions of task `number` (0, 1, ...); what an earlier one compiled alike is shared."""
        task, config = self.tasks[number], self.config
        env, eval_env, compile_ = self.envs[task], self.eval_envs[task], self.programs.compile
        steps = (number + 1) * config.sequence.steps_per_task
        config = with_overrides(config, task=task, total_env_steps=steps)
        # Jitted, as every leaf of the state is to be donated and needs a buffer of its own.
        trainer = Trainer(config, env, eval_env, self.agent, jax.jit(self.initial(number)))
        before, state = self.programs.seconds, self.template(number)
        collect = compile_(loop.make_collect(env, self.agent, config), state, donate=(0,))
        learn = self._learn(env, state)
        warm_up = loop.make_warm_up(env, config.train, reward=self.agent.reward)
        trainer.warm_up = compile_(warm_up, state, donate=(0,))
        scored = range(number + 1) if config.sequence.scored == "seen" else range(len(self.tasks))
        for index in scored:
            self._compile_evaluation(self.tasks[index], state.agent)
        trainer.round = _round(collect, learn, config.train.iterations_per_round)
        trainer.evaluate = lambda agent_state, key: self._score(agent_state, scored, number)
        if env.spec.buffers:
            trainer.buffers_used = lambda metrics: buffers_used(env.spec, metrics)
        else:
            trainer.buffers_used = lambda metrics: {}
        trainer.compile_seconds = self.programs.seconds - before
        return trainer

    def _learn(self, env: Aligned, state: loop.LoopState) -> Callable[[loop.LoopState], tuple[loop.LoopState, Metrics]]:
        program = self.programs.compile(
            loop.make_learn(env, self.agent, self.config), state.replace(env=None), donate=(0,)
        )

        def learn(state: loop.LoopState) -> tuple[loop.LoopState, Metrics]:
            env_state = state.env
            state, metrics = program(state.replace(env=None))
            return state.replace(env=env_state), metrics

        return learn

    # -- evaluation --------------------------------------------------------------------------------------------------

    def _compile_evaluation(self, task: str, agent_state: AgentState) -> None:
        """The score of a task's view, whichever of its places in the sequence that is."""
        if task in self._evaluations:
            return
        env, deterministic = self.eval_envs[task], not self.config.evaluation.stochastic_eval

        def score(agent_state: AgentState, number: jax.Array, key: jax.Array) -> Metrics:
            policy = agent_policy(self.agent, self.view(agent_state, number), deterministic)
            return evaluate(env, policy, key)

        number, key = jax.ShapeDtypeStruct((), jnp.int32), jax.ShapeDtypeStruct((2,), jnp.uint32)
        self._evaluations[task] = self.programs.compile(score, agent_state, number, key)

    def view(self, agent_state: AgentState, number: jax.Array) -> AgentState:
        """The agent with which task `number`, () int32, is scored; a task to come meets the policy of today."""
        known = jnp.minimum(number, agent_state.memory.task)
        actor, memory = self.method.view(agent_state.actor, agent_state.memory, known)
        return agent_state.replace(actor=actor, average=actor, memory=memory)

    def _score(self, agent_state: AgentState, scored: range, current: int) -> Metrics:
        """Metrics of the running task under their own names, and success of each task scored as `<number>/...`.

        A task meets the same episodes at every evaluation: what differs from one to the next is the policy.
        """
        told: Metrics = {}
        used: Metrics = {}  # Of the engine's buffers: an overflow in any task's episodes counts.
        for number in scored:
            key = jax.random.fold_in(jax.random.fold_in(jax.random.PRNGKey(self.config.run.seed), EVAL_STREAM), number)
            metrics = self._evaluations[self.tasks[number]](agent_state, jnp.int32(number), key)
            told |= {f"{number}/{name}": value for name, value in metrics.items() if name.startswith("success_")}
            told |= metrics if number == current else {}
            for name in (f"{buffer_}_used" for buffer_, _ in self.spec.buffers):
                used[name] = jnp.maximum(metrics[name], used.get(name, 0.0))
        if self.method.told is not None:
            told |= {f"method/{name}": v for name, v in self.method.told(agent_state.actor, agent_state.memory).items()}
        return told | used

    # -- between two tasks -------------------------------------------------------------------------------------------

    def finish(self, number: int, state: loop.LoopState, stop: StopRequest) -> tuple[loop.LoopState, int]:
        """The state after what the method does at the end of task `number`: looks at states, or prunes and trains.

        Returns:
            the state and the updates made; a signal ends them early, and then the state is not to be used.
        """
        method, env = self.method, self.envs[self.tasks[number]]
        updates, each = 0, self.config.train.updates_per_iteration
        if method.end is None:
            return state, updates
        state = self._ended(env, state)
        if method.retrain:
            learn = self._learn(env, state)
            while updates < method.retrain and not stop.signal:
                state, _ = learn(state)
                updates += each
            state = state.replace(agent=self._without_moments(state.agent))
        return state, updates

    def _ended(self, env: Aligned, state: loop.LoopState) -> loop.LoopState:
        method, spec, discount = self.method, self.spec, self.config.agent.discount
        assert method.end is not None
        end = method.end

        def ended(state: loop.LoopState) -> loop.LoopState:
            key, rows_key, end_key = jax.random.split(state.key, 3)
            rows = buffer.sample(state.ring, rows_key, (1, max(1, method.states)), discount, env.achieved_goal)
            # The commanded goals are those that the task is scored with.
            inputs = Inputs(normalised_obs(spec, rows.obs[0]), normalised_goal(spec, rows.commanded[0]))
            agent = state.agent
            actor, memory = end(agent.actor, agent.memory, inputs, end_key)
            agent = agent.replace(actor=actor, average=actor, memory=memory)
            return state.replace(agent=self._without_moments(agent) if method.retrain else agent, key=key)

        bare = state.replace(env=None)
        ended_state: loop.LoopState = self.programs.compile(ended, bare)(bare)
        return ended_state.replace(env=state.env)

    def _without_moments(self, agent_state: AgentState) -> AgentState:
        """The actor's optimiser as at its start."""
        opt_state = jax.tree.map(jnp.zeros_like, agent_state.actor_opt)
        return agent_state.replace(actor_opt=opt_state)

    def begin(self, number: int, state: loop.LoopState) -> loop.LoopState:
        """The state in which task `number` >= 1 begins, after that in which the one before it was finished."""
        ring, env = state.ring, self.envs[self.tasks[number]]
        bare = state.replace(ring=None, env=None)
        if self._cross is None:
            self._cross = self.programs.compile(self._crossed, bare)
        crossed_state, key = self._cross(bare)
        if self.config.boundary.replay_mode == "reset":
            ring = jax.tree.map(jnp.zeros_like, ring)
            ring = ring.replace(last_row=ring.last_row - 1)
        env_state = self.programs.compile(env.reset, key)(key)
        if self.config.boundary.replay_mode == "keep":
            # Episodes of an environment are numbered on, so that no two in the ring have one number.
            env_state = env_state.replace(episode=state.env.episode + 1)
        return crossed_state.replace(ring=ring, env=env_state)

    def _crossed(self, state: loop.LoopState) -> tuple[loop.LoopState, jax.Array]:
        """The agent on the other side, and a key for its environments."""
        boundary, old = self.config.boundary, state.agent
        key, fresh_key, start_key, critic_key, env_key = jax.random.split(state.key, 5)
        agent = crossed(boundary, old, self.agent.init(fresh_key))
        knowledge = state.knowledge
        if boundary.critic_mode == "cka":
            started, knowledge = critic.adapted(knowledge, critic_of(old), critic_key)
            agent = agent.replace(**started)
            agent = with_target_copied(agent) if getattr(agent, "target", None) is not None else agent
        actor, memory = self.method.start(old.actor, old.memory, start_key)
        agent = agent.replace(actor=actor, average=actor, memory=memory)
        return state.replace(agent=agent, key=key, knowledge=knowledge), env_key


def _round(collect: Any, learn: Any, iterations: int) -> loop.Round:
    """`make_round` of two programs."""

    def round_(state: loop.LoopState) -> tuple[loop.LoopState, Metrics, loop.EpisodeSums]:
        told, ended = [], []
        for _ in range(iterations):
            state, episodes = collect(state)
            state, metrics = learn(state)
            told.append(metrics)
            ended.append(episodes)
        metrics, episodes = (jax.tree.map(lambda *leaves: jnp.stack(leaves), *each) for each in (told, ended))
        return state, jax.tree.map(jnp.mean, metrics), jax.tree.map(jnp.sum, episodes)

    return round_
