"""A trained policy, loaded from a run folder: to evaluate, to film, or to run in the official Meta-World package."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import envs_mjx
from crl_jax import runs
from crl_jax.agents.crl import CRL
from crl_jax.config import Config, ConfigError, EnvConfig, with_overrides
from crl_jax.config.sequence import SequenceConfig
from crl_jax.evaluate import evaluate
from crl_jax.experience.rollout import Policy, agent_policy
from crl_jax.play import video
from crl_jax.runs import checkpoint
from crl_jax.scale import compilation_cache
from crl_jax.scale.machine import check_jax
from crl_jax.stages import Stages
from crl_jax.trainer import build, make_env
from crl_jax.types import Agent, AgentState
from envs_mjx.aligned import Aligned
from envs_mjx.base import EnvError, EnvSpec, GoalEnv, Snapshot, check_buffers
from envs_mjx.control import Control, make_control
from envs_mjx.film import CLOSE, check_camera, frames
from envs_mjx.pictures.pictured import Pictured
from envs_mjx.together import Together

STEPS_PER_S = 60
"""Env steps that a second of a film shows: 0.75 times real time for Meta-World."""
LEGIBLE = 320
"""Pixels: least width of a film with captions."""
Told = Callable[[int, int], None]
Critic = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


@dataclass
class Trained:
    """A run's agent, and its state at one checkpoint.

    Attributes:
        env_steps: env steps of training at which the checkpoint was taken.
        aligned: padded sizes that all tasks of a run share; None for a run of one task, and for all tasks at once.
        code: the task's one-hot code, with which its observations end; () where they do not tell their task.
        has_critic: whether the critic is trained, too; policies that ship are actors alone.
    """

    folder: Path
    config: Config
    agent: Agent
    state: AgentState
    env_steps: int
    aligned: EnvSpec | None = None
    has_critic: bool = True
    code: tuple[float, ...] = ()

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that `make_env` has: several where one policy learned them at once."""
        return envs_mjx.tasks_of(self.config.env.task)

    def part(self, number: int) -> Trained:
        """The same policy on one of `tasks`.

        Raises:
            ConfigError: no such task.
        """
        tasks = self.tasks
        if not 0 <= number < len(tasks):
            raise ConfigError(
                f"number={number}: {self.folder} learned {len(tasks)} tasks; one of 0 ... {len(tasks) - 1}"
            )
        env = self.make_env(len(tasks))
        assert isinstance(env, Together)
        code = tuple(float(one) for one in env.parts[number].code)
        alone = with_overrides(self.config, task=tasks[number])
        return dataclasses.replace(self, config=alone, aligned=env.spec, code=code)

    def policy(self, stochastic: bool = False) -> Policy:
        """The policy in the form that `rollout` takes: the deterministic action, or a sample if `stochastic`."""
        return agent_policy(self.agent, self.state, not stochastic)

    def critic(self) -> Critic | None:
        """(obs (B, D), action (B, A), goal (B, G)) -> f(s, a, g) (B,), the mean of twin critics; None without one."""
        if self.config.agent.method != "crl" or not self.has_critic:
            return None
        crl = CRL(self.config.agent, self.config.network, self.aligned or self.make_env(1).spec)

        def value(obs: jax.Array, action: jax.Array, goal: jax.Array) -> jax.Array:
            found = crl.value((self.state.phi, self.state.psi), obs, action, goal)
            return jnp.mean(found, axis=0) if self.config.agent.twin else found

        return value

    def make_env(self, num_envs: int) -> GoalEnv:
        """The run's task, on the run's engine."""
        return self._made(self.config.env, num_envs)

    def make_steps(self, num_envs: int) -> tuple[GoalEnv, int, Control]:
        """The run's task with a step for each env step; env steps per decision, and how its action becomes theirs."""
        config = self.config.env
        env = self._made(dataclasses.replace(config, action_repeat=1, control="hold"), num_envs)
        return env, config.action_repeat, make_control(config.control, env, config.action_repeat)

    def _made(self, config: EnvConfig, num_envs: int) -> GoalEnv:
        env = make_env(config, num_envs)
        return env if self.aligned is None else Aligned(env, self.aligned, self.code)


def load(folder: Path, step: int | None = None, number: int | None = None) -> Trained:
    """The policy of a run's checkpoint, the newest by default.

    Args:
        number: for a run of several tasks: which task, from 0. None: the last task that was begun, or all tasks where
            one policy learned them at once.

    Raises:
        CheckpointError: no run or checkpoint there, or a damaged one. ConfigError: the run has no such task.
    """
    folder = Path(folder)
    config = runs.load(folder)
    path = folder / runs.CHECKPOINTS
    check_jax()
    compilation_cache.enable()
    if isinstance(config, SequenceConfig):
        return _load_task(folder, config, step, number)
    if number is not None and len(envs_mjx.tasks_of(config.env.task)) == 1:
        raise ConfigError(f"number={number}: {folder} learned one task; leave it out")
    checkpoint.require(path, step)
    setup = build(with_overrides(config, devices=1))  # Shapes do not depend on the number of devices.
    state, host = checkpoint.restore(path, setup.template, step)
    trained = Trained(folder, config, setup.agent, state.agent, host["counters"]["env_steps"])
    return trained if number is None else trained.part(number)


def _load_task(folder: Path, config: SequenceConfig, step: int | None, number: int | None) -> Trained:
    """The policy of a continual method for one task of its sequence."""
    path = folder / runs.CHECKPOINTS
    counters, stages = checkpoint.host_values(path, step)["counters"], Stages.of(config)
    begun = min(counters["task"], len(stages.tasks) - 1)
    number = begun if number is None else number
    if not 0 <= number <= begun:
        raise ConfigError(f"number={number}: {folder} has begun {begun + 1} tasks; one of 0 ... {begun}")
    state, _ = checkpoint.restore(path, stages.template(begun), step)
    task = config.sequence.tasks[number]
    seen = stages.view(state.agent, jnp.int32(number))
    alone, env = with_overrides(config, task=task), stages.envs[task]
    code = tuple(float(one) for one in env.code)
    return Trained(folder, alone, stages.agent, seen, counters["env_steps"], env.spec, code=code)


def score(trained: Trained, episodes: int, seed: int, stochastic: bool = False) -> dict[str, float]:
    """Metrics of `evaluate` over `episodes` fresh episodes on the run's engine."""
    env, policy = trained.make_env(episodes), trained.policy(stochastic)
    metrics = jax.jit(lambda key: evaluate(env, policy, key))(jax.random.PRNGKey(seed))
    check_buffers(env.spec, metrics)
    return {name: float(value) for name, value in metrics.items()}


def score_official(trained: Trained, episodes: int, seed: int, stochastic: bool = False) -> dict[str, float]:
    """Success of the policy, not retrained, in the official Meta-World package: its physics, its `info["success"]`."""
    if len(trained.tasks) > 1:
        parts = [score_official(trained.part(at), episodes, seed, stochastic) for at in range(len(trained.tasks))]
        names = [name for name in parts[0] if name.startswith("success_")]
        told = {name: float(np.mean([part[name] for part in parts])) for name in names}
        each = zip(trained.tasks, parts, strict=True)
        return told | {f"{task}/{name}": part[name] for task, part in each for name in names}
    env = trained.make_env(1)
    if env.spec.picture:
        raise EnvError("official: a policy that sees pictures is not scored there; leave --official out")
    horizon, world = env.spec.horizon * env.spec.action_repeat, _unpadded(env)

    @jax.jit
    def policy(obs: jax.Array, goal: jax.Array, key: jax.Array) -> jax.Array:
        if isinstance(env, Aligned):
            obs, goal = env.wide_obs(obs), env.wide_goal(goal)
        return trained.agent.act(trained.state, obs, goal, key, not stochastic)

    keys = iter(jax.random.split(jax.random.PRNGKey(seed), horizon * episodes))

    def act(obs: np.ndarray, goal: np.ndarray) -> np.ndarray:
        return np.asarray(policy(obs, goal, next(keys)))

    return envs_mjx.score_official(world, act, episodes, horizon, seed)


def _unpadded(env: GoalEnv) -> GoalEnv:
    """The task's own environment, without the padding that a sequence of tasks shares, and without its camera."""
    inner: GoalEnv = env.env if isinstance(env, Aligned | Pictured) else env
    return inner


def check_view(trained: Trained, camera: str) -> None:
    """Raises EnvError where the run's task has no such camera."""
    one = trained if len(trained.tasks) == 1 else trained.part(0)
    check_camera(_unpadded(one.make_env(1)), camera)


def film(
    trained: Trained,
    path: Path,
    episodes: int = 3,
    seed: int = 0,
    size: tuple[int, int] = (480, 360),
    camera: str = CLOSE,
    every: int = 2,
    told: Told | None = None,
) -> Path:
    """Writes the deterministic policy over `episodes` fresh episodes in a row as an mp4, or a webp by `path`'s ending.

    A frame that is wide enough says which episode it shows, and whether it succeeds at that moment.

    Args:
        size: (width, height), pixels. every: env steps from one frame to the next.
        told: called with the number of frames drawn so far, and of all.

    Raises:
        EnvError: this machine cannot render; the message says what to install.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write = video.write_webp if path.suffix == ".webp" else video.write_video
    with video.quiet_forks():
        drawn = pictures(trained, episodes, seed, size, camera, every, told, size[0] >= LEGIBLE)
        return write(drawn, path, STEPS_PER_S / every)


def pictures(
    trained: Trained,
    episodes: int,
    seed: int,
    size: tuple[int, int],
    camera: str = CLOSE,
    every: int = 1,
    told: Told | None = None,
    captions: bool = False,
) -> np.ndarray:
    """Frames of `film`, (T, height, width, 3) uint8."""
    if len(trained.tasks) > 1:  # An episode of each.
        parts = [trained.part(number) for number in range(len(trained.tasks))]
        return np.concatenate([pictures(part, 1, seed, size, camera, every, told, captions) for part in parts])
    # Every env step can be filmed, so the loop over env steps is here.
    env, repeat, control = trained.make_steps(episodes)
    check_camera(_unpadded(env), camera)
    reset_key, key = jax.random.split(jax.random.PRNGKey(seed))
    state, step, policy = jax.jit(env.reset)(reset_key), jax.jit(env.step), jax.jit(trained.policy())
    begin, act = jax.jit(control.begin), jax.jit(control.act)
    states = []
    # One step short of the horizon: the state after the last step is already the start of the next episode.
    for time, step_key in enumerate(jax.random.split(key, env.spec.horizon - 1)):
        seen = state.physics.inner if isinstance(env, Pictured) else state
        if time % repeat == 0:
            aim = begin(seen.obs, policy(state, step_key))
        if time % every == 0:
            states.append((seen.physics, np.asarray(state.target), np.asarray(state.success)))
        state = step(state, act(seen.obs, aim))
    shown = [(physics, target, episode) for episode in range(episodes) for physics, target, _ in states]
    film_ = np.asarray(frames(_unpadded(env), _counted(shown, told), size, camera))
    if not captions:
        return film_
    texts = [
        f"{trained.config.env.task}   episode {episode + 1} of {episodes}" + "   success" * bool(success[episode])
        for episode in range(episodes)
        for _, _, success in states
    ]
    return video.captioned(film_, texts)


def _counted(shown: Sequence[Snapshot], told: Told | None) -> Iterator[Snapshot]:
    """The snapshots; `told` learns how many have been taken."""
    for number, snapshot in enumerate(shown):
        if told:
            told(number, len(shown))
        yield snapshot
