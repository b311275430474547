"""The tasks of a sequence before anything is compiled: their environments, their one agent, and pure functions.

Observations and goals are padded to the widest task (`envs_mjx.aligned`), so that one agent serves all tasks.
`stage_programs` compiles the functions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

import envs_mjx
from crl_jax import agents, continual, loop
from crl_jax.agents.common import normalised_goal, normalised_obs
from crl_jax.config import ConfigError
from crl_jax.config.sequence import SequenceConfig
from crl_jax.continual import critic
from crl_jax.continual.boundary import critic_of, crossed, with_target_copied
from crl_jax.continual.method import Inputs, Method, Sizes
from crl_jax.evaluate import evaluate
from crl_jax.experience import buffer, rewards
from crl_jax.experience.rollout import agent_policy
from crl_jax.trainer import make_env
from crl_jax.types import Agent, AgentState, Metrics
from envs_mjx.aligned import Aligned, achieved_by_code, align
from envs_mjx.base import EnvSpec


@dataclass(frozen=True, eq=False)
class Stages:
    """The tasks of a sequence, with their environments, continual method and agent.

    Attributes:
        tasks: names of the tasks, in order; a task may occur more than once.
        envs, eval_envs: task name -> environments for training and for evaluation, all padded to the same sizes.
        spec: sizes and scales that all tasks share.
        method: the continual method. `agent` trains the method's actor.
    """

    config: SequenceConfig
    tasks: tuple[str, ...]
    envs: dict[str, Aligned]
    eval_envs: dict[str, Aligned]
    spec: EnvSpec
    method: Method
    agent: Agent

    @classmethod
    def of(cls, config: SequenceConfig) -> Stages:
        """Make the environments, the method and the agent of `config`. Compiles nothing.

        Raises:
            ConfigError, EnvError: a task is unknown or does not run on this engine, the tasks cannot share one agent,
                or a setting of the method is bad.
        """
        tasks = config.sequence.tasks
        distinct = tuple(dict.fromkeys(tasks))
        for task in distinct:
            if len(envs_mjx.tasks_of(task)) > 1:
                raise ConfigError(f"tasks={task}: several tasks at once are no task of a sequence; name them apart")
            envs_mjx.check(task, config.env.physics, config.env.allow_unfaithful)
        envs = _aligned(config, distinct, config.env.num_envs)
        same = config.evaluation.eval_episodes == config.env.num_envs
        eval_envs = envs if same else _aligned(config, distinct, config.evaluation.eval_episodes)
        spec: EnvSpec = envs[distinct[0]].spec
        for env in envs.values():
            rewards.check(config, env)
        sizes = Sizes(spec.obs_size, spec.goal_size, spec.action_size, len(tasks))
        method = continual.make(config.continual, config.network, sizes)
        return cls(config, tasks, envs, eval_envs, spec, method, agents.make(config, spec, method=method))

    def achieved_goal(self, obs: jax.Array) -> jax.Array:
        """(..., D) -> (..., G), by the task whose code the observation ends with; needs `task_code`."""
        return achieved_by_code(list(self.envs.values()), obs)

    def initial(self, number: int) -> Callable[[jax.Array], loop.LoopState]:
        """The function key -> fresh state, with the environments of task `number`."""

        def init(key: jax.Array) -> loop.LoopState:
            state = loop.init(self.envs[self.tasks[number]], self.agent, self.config.train, key)
            if self.config.boundary.critic_mode != "cka":
                return state
            return state.replace(knowledge=critic.fresh(critic_of(state.agent), self.config.continual.pool_size))

        return init

    def template(self, number: int) -> loop.LoopState:
        """Shapes of the state in task `number`. Allocates nothing."""
        shapes: loop.LoopState = jax.eval_shape(self.initial(number), jax.random.PRNGKey(0))
        return shapes

    def view(self, agent_state: AgentState, number: jax.Array) -> AgentState:
        """The agent state that scores task `number`, () int32. A future task is scored with the current policy."""
        known = jnp.minimum(number, agent_state.memory.task)
        actor, memory = self.method.view(agent_state.actor, agent_state.memory, known)
        return agent_state.replace(actor=actor, average=actor, memory=memory)

    def score(self, task: str, agent_state: AgentState, number: jax.Array, key: jax.Array) -> Metrics:
        """Metrics of fresh episodes of `task`, acted by the `view` of its place `number` in the sequence."""
        policy = agent_policy(self.agent, self.view(agent_state, number), not self.config.evaluation.stochastic_eval)
        return evaluate(self.eval_envs[task], policy, key)

    def ended(self, task: str, state: loop.LoopState) -> loop.LoopState:
        """The state (without `env`) after `Method.end` of `task`, which may read states from the replay ring."""
        method, discount, end = self.method, self.config.agent.discount, self.method.end
        assert end is not None
        key, rows_key, end_key = jax.random.split(state.key, 3)
        shape = (1, max(1, method.states))
        achieved = self.achieved_goal if self.config.sequence.task_code else self.envs[task].achieved_goal
        rows = buffer.sample(state.ring, rows_key, shape, discount, achieved)
        # Commanded goals, since the task is scored with them.
        inputs = Inputs(normalised_obs(self.spec, rows.obs[0]), normalised_goal(self.spec, rows.asked[0]))
        agent = state.agent
        actor, memory = end(agent.actor, agent.memory, inputs, end_key)
        agent = agent.replace(actor=actor, average=actor, memory=memory)
        return state.replace(agent=without_moments(agent) if method.retrain else agent, key=key)

    def crossed(self, state: loop.LoopState) -> tuple[loop.LoopState, jax.Array]:
        """The state (without `ring` and `env`) at the start of the next task, and a key for its environments."""
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


def _aligned(config: SequenceConfig, tasks: tuple[str, ...], num_envs: int) -> dict[str, Aligned]:
    """Task name -> `num_envs` environments, padded to the sizes that all tasks share."""
    made = [make_env(dataclasses.replace(config.env, task=task), num_envs) for task in tasks]
    return dict(zip(tasks, align(made, coded=config.sequence.task_code), strict=True))


def without_moments(agent_state: AgentState) -> AgentState:
    """The agent state with the actor's optimiser state set to zero."""
    opt_state = jax.tree.map(jnp.zeros_like, agent_state.actor_opt)
    return agent_state.replace(actor_opt=opt_state)
