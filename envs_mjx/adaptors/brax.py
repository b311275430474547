"""Brax: our environments as a `brax.envs.Env`, and brax.training's agents on them.

    env = BraxEnv(envs_mjx.make("reach", num_envs=64))
    make_policy, params, metrics = train("ppo", env, num_timesteps=1_000_000)

Axis letters: E environments, D observation, G goal, A action.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from brax.envs.base import Env, State

from envs_mjx.adaptors.common import reward_metric
from envs_mjx.base import EnvError, GoalEnv
from envs_mjx.base import State as World

AGENTS = ("ppo", "sac")


class BraxEnv(Env):
    """E environments of a task as one Brax environment that is batched and restarts ended episodes itself.

    Brax's own training wrappers batch one environment and restart each copy at its FIRST start. `wrap` leaves them out,
    so this class writes their entries of `info`: `steps`, `truncation`, `episode_done`, `episode_metrics` (sums over
    the running episode). Episodes are truncated, never terminated. At an episode's end `done`, `info["truncation"]` and
    `info["time_out"]` (which PPO's `bootstrap_on_timeout` reads) are 1. `obs` is then already the next start, as with
    Brax's `AutoResetWrapper`; `info["final_obs"]` is the observation before any restart.

    `State.obs` is (E, D + G), the compact state and the goal. `State.pipeline_state` is an `envs_mjx.State`.

    Args:
        env: environments of `envs_mjx.make`.
        reward: "sparse": native success, 0 or 1; "official": the official dense reward.

    Raises:
        EnvError: no such reward.
    """

    def __init__(self, env: GoalEnv, reward: str = "sparse"):
        self.env, self._metric = env, reward_metric(env, reward)

    @property
    def observation_size(self) -> int:
        return self.env.spec.obs_size + self.env.spec.goal_size

    @property
    def action_size(self) -> int:
        return self.env.spec.action_size

    @property
    def backend(self) -> str:
        return getattr(self.env, "engine", "jax")

    def reset(self, rng: jax.Array) -> State:
        """E new episodes, from E keys (E, 2) as brax.training passes them, or from a single key (2,).

        Raises:
            EnvError: keys (N, 2) with N other than E.
        """
        if rng.ndim == 1:
            rng = jax.random.split(rng, self.env.num_envs)
        if rng.shape[0] != self.env.num_envs:
            raise EnvError(
                f"num_envs={rng.shape[0]}: this environment is a batch of {self.env.num_envs};"
                f" pass num_envs={self.env.num_envs} (and num_eval_envs, or an eval_env of its own size)"
            )
        world = self.env.reset_each(rng)
        zeros = jnp.zeros(self.env.num_envs)
        names = ("sum_reward", "length", *world.metrics)
        info = {
            "steps": zeros,
            "truncation": zeros,
            "time_out": zeros,
            "episode_done": zeros,
            "final_obs": _flat(world),
        }
        return State(
            pipeline_state=world,
            obs=_flat(world),
            reward=zeros,
            done=zeros,
            metrics=jax.tree.map(jnp.zeros_like, world.metrics),
            info=info | {"episode_metrics": dict.fromkeys(names, zeros)},
        )

    def step(self, state: State, action: jax.Array) -> State:
        """Step every environment by `action` (E, A); other wrappers' entries of `info` are kept."""
        ended = self.env.advance(state.pipeline_state, action)
        world = self.env.restart(ended)
        reward, done = ended.metrics[self._metric], ended.done.astype(jnp.float32)
        going = 1 - state.info["episode_done"]
        new = {"sum_reward": reward, "length": jnp.ones_like(reward), **ended.metrics}
        sums = {name: state.info["episode_metrics"][name] * going + value for name, value in new.items()}
        ours = {
            "steps": ended.time.astype(jnp.float32),
            "truncation": done,
            "time_out": done,
            "episode_done": done,
            "final_obs": _flat(ended),
            "episode_metrics": sums,
        }
        return state.replace(
            pipeline_state=world,
            obs=_flat(world),
            reward=reward,
            done=done,
            metrics=dict(ended.metrics),
            info={**state.info, **ours},
        )


def _flat(world: World) -> jax.Array:
    return jnp.concatenate([world.obs, world.goal], axis=-1)


def wrap(
    env: BraxEnv, episode_length: int, action_repeat: int = 1, randomization_fn: Callable[..., Any] | None = None
) -> BraxEnv:
    """`wrap_env_fn` for brax.training: checks the settings and returns the environment without a wrapper.

    Raises:
        EnvError: an episode length other than the horizon in env steps, another action repeat than the environment's,
            or a randomisation of physics.
    """
    repeat = env.env.spec.action_repeat
    horizon = env.env.spec.horizon * repeat
    if episode_length != horizon:
        raise EnvError(f"episode_length={episode_length}: this environment's horizon is {horizon}; pass that")
    if action_repeat != repeat or randomization_fn is not None:
        told = f"action_repeat={action_repeat}, randomization_fn={randomization_fn}"
        raise EnvError(f"{told}: {repeat}, as the environment was made, and None wanted")
    return env


def import_agent(agent: str) -> Any:
    """Module `brax.training.agents.<agent>.train`, patched to run on JAX 0.10.

    brax 0.14.2 calls `jax.device_put_replicated`, which JAX 0.10 has removed (github.com/google/brax/issues/671).
    Where JAX lacks this function, flax's equivalent `replicate` takes its place, over the axis of Brax's pmaps.

    Raises:
        EnvError: no such agent.
    """
    if agent not in AGENTS:
        raise EnvError(f"agent={agent!r}: one of {', '.join(AGENTS)} wanted")
    if not hasattr(jax, "device_put_replicated"):
        from flax.jax_utils import replicate

        jax.device_put_replicated = functools.partial(replicate, axis_name="i")
    return importlib.import_module(f"brax.training.agents.{agent}.train")


def train(agent: str, env: BraxEnv, num_timesteps: int, **settings: Any) -> tuple[Callable[..., Any], Any, Any]:
    """Runs brax.training's `train` of an agent, with the arguments that follow from the environment filled in.

    Args:
        agent: one of `AGENTS`.
        env: environment to train on (one device), and to evaluate on unless `settings` has an `eval_env`.
        num_timesteps: env steps.
        settings: further arguments of `brax.training.agents.<agent>.train.train`; they override those filled in.

    Returns:
        Brax's (make_policy, params, metrics).

    Raises:
        EnvError: no such agent.
    """
    evaluated = settings.get("eval_env") or env
    ours = {
        "num_envs": env.env.num_envs,
        "num_eval_envs": evaluated.env.num_envs,
        "episode_length": env.env.spec.horizon * env.env.spec.action_repeat,
        "action_repeat": env.env.spec.action_repeat,
        "wrap_env_fn": wrap,
        "max_devices_per_host": 1,
    }
    return import_agent(agent).train(environment=env, num_timesteps=num_timesteps, **(ours | settings))
