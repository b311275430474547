"""The compiled programs of a sequence of tasks: a `Trainer` for each task, and the step from one task to the next.

Here an iteration is two programs, where `trainer` compiles one. Collecting depends on the task. Learning depends on
shapes only, so that it is compiled once for all tasks of equal shape.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from crl_jax import loop
from crl_jax.config import with_overrides
from crl_jax.evaluate import buffers_used
from crl_jax.runs import StopRequest
from crl_jax.scale.programs import Programs
from crl_jax.scale.warp_kernels import compile_for_gpu
from crl_jax.stages import Stages, without_moments
from crl_jax.trainer import EVAL_STREAM, Setup, Trainer
from crl_jax.types import AgentState, Metrics

Learn = Callable[[loop.LoopState], tuple[loop.LoopState, Metrics]]


class StagePrograms:
    """Compiles the programs of a sequence on demand. Equal programs of different tasks are compiled once.

    Attributes:
        compiler: counts the programs asked for and the programs compiled.
    """

    def __init__(self, stages: Stages) -> None:
        self.stages, self.compiler = stages, Programs()
        self._evaluations: dict[str, Callable[..., Metrics]] = {}
        self._cross: Callable[..., Any] | None = None

    def trainer(self, number: int) -> Trainer:
        """The compiled programs of task `number` (0, 1, ...)."""
        stages, task, compile_ = self.stages, self.stages.tasks[number], self.compiler.compile
        env, before, state = stages.envs[task], self.compiler.seconds, stages.template(number)
        compile_for_gpu(env)
        steps = (number + 1) * stages.config.sequence.steps_per_task
        config = with_overrides(stages.config, task=task, total_env_steps=steps)
        # Every leaf of the state will be donated, so each needs its own buffer: jit gives it one.
        setup = Setup(config, env, stages.eval_envs[task], stages.agent, jax.jit(stages.initial(number)))
        collect = compile_(loop.make_collect(env, stages.agent, config), state, donate=(0,))
        learn = self._learn(task, state)
        warm_up = loop.make_warm_up(env, config.train, reward=stages.agent.reward)
        warm_up = compile_(warm_up, state, donate=(0,))
        scored = range(number + 1) if config.sequence.scored == "seen" else range(len(stages.tasks))
        for index in scored:
            self._compile_evaluation(stages.tasks[index], state.agent)

        def evaluate(agent_state: AgentState, key: jax.Array) -> Metrics:
            return self._evaluate(agent_state, scored, number)

        def used(metrics: Metrics) -> Metrics:
            return buffers_used(env.spec, metrics)

        round_ = _round(collect, learn, config.train.iterations_per_round)
        return Trainer(setup, warm_up, round_, evaluate, used, self.compiler.seconds - before)

    def _learn(self, task: str, state: loop.LoopState) -> Learn:
        """`loop.make_learn`, compiled. The environments' state is no argument of the compiled program."""
        stages = self.stages
        achieved = stages.achieved_goal if stages.config.sequence.task_code else None
        function = loop.make_learn(stages.envs[task], stages.agent, stages.config, achieved_goal=achieved)
        program = self.compiler.compile(function, state.replace(env=None), donate=(0,))

        def learn(state: loop.LoopState) -> tuple[loop.LoopState, Metrics]:
            env_state = state.env
            state, metrics = program(state.replace(env=None))
            return state.replace(env=env_state), metrics

        return learn

    def _compile_evaluation(self, task: str, agent_state: AgentState) -> None:
        """Compile the evaluation of `task`, once. The task's number in the sequence is an argument of the program."""
        if task in self._evaluations:
            return

        def score(agent_state: AgentState, number: jax.Array, key: jax.Array) -> Metrics:
            return self.stages.score(task, agent_state, number, key)

        number, key = jax.ShapeDtypeStruct((), jnp.int32), jax.ShapeDtypeStruct((2,), jnp.uint32)
        self._evaluations[task] = self.compiler.compile(score, agent_state, number, key)

    def _evaluate(self, agent_state: AgentState, scored: range, current: int) -> Metrics:
        """Metrics of the current task under their own names, and success of each scored task as `<number>/...`.

        Every evaluation of a task uses the same episodes, so that scores differ by the policy only.
        """
        stages, told = self.stages, Metrics()
        used: Metrics = {}  # Largest use of each engine buffer, over the episodes of all scored tasks.
        stream = jax.random.fold_in(jax.random.PRNGKey(stages.config.run.seed), EVAL_STREAM)
        for number in scored:
            key = jax.random.fold_in(stream, number)
            metrics = self._evaluations[stages.tasks[number]](agent_state, jnp.int32(number), key)
            told |= {f"{number}/{name}": value for name, value in metrics.items() if name.startswith("success_")}
            told |= metrics if number == current else {}
            for name in (f"{buffer_}_used" for buffer_, _ in stages.spec.buffers):
                used[name] = jnp.maximum(metrics[name], used.get(name, 0.0))
        if stages.method.told is not None:
            facts = stages.method.told(agent_state.actor, agent_state.memory)
            told |= {f"method/{name}": value for name, value in facts.items()}
        return told | used

    def finish(self, number: int, state: loop.LoopState, stop: StopRequest) -> tuple[loop.LoopState, int]:
        """The state after the method has ended task `number`: `Method.end`, then its `retrain` updates from replay.

        Returns:
            the state, and the number of updates made. After a signal the updates are incomplete: discard the state.
        """
        stages, task, updates = self.stages, self.stages.tasks[number], 0
        method, each = stages.method, stages.config.train.updates_per_iteration
        if method.end is None:
            return state, updates
        bare = state.replace(env=None)
        ended: loop.LoopState = self.compiler.compile(lambda state: stages.ended(task, state), bare)(bare)
        state = ended.replace(env=state.env)
        if method.retrain:
            learn = self._learn(task, state)
            while updates < method.retrain and not stop.signal:
                state, _ = learn(state)
                updates += each
            state = state.replace(agent=without_moments(state.agent))
        return state, updates

    def begin(self, number: int, state: loop.LoopState) -> loop.LoopState:
        """The state in which task `number` >= 1 begins, from the `state` in which the previous task finished."""
        stages, ring = self.stages, state.ring
        bare = state.replace(ring=None, env=None)
        if self._cross is None:
            self._cross = self.compiler.compile(stages.crossed, bare)
        crossed_state, key = self._cross(bare)
        replay_mode = stages.config.boundary.replay_mode
        if replay_mode == "reset":
            ring = jax.tree.map(jnp.zeros_like, ring)
            ring = ring.replace(last_row=ring.last_row - 1)
        env_state = self.compiler.compile(stages.envs[stages.tasks[number]].reset, key)(key)
        if replay_mode == "keep":
            # Continue each environment's episode numbers, so that no two of its episodes in the ring share one.
            env_state = env_state.replace(episode=state.env.episode + 1)
        return crossed_state.replace(ring=ring, env=env_state)


def _round(collect: loop.Collect, learn: Learn, iterations: int) -> loop.Round:
    """`loop.make_round`, built from two compiled programs."""

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
