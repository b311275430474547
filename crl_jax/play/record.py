"""Plays a policy and writes what it did: `crl record`.  Axis letters: E environments, T steps, D observation."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np

from crl_jax import data
from crl_jax.config import ConfigError, EnvConfig
from crl_jax.play.policy import Trained
from crl_jax.scale.memory import FLOAT, available, gib
from crl_jax.trainer import make_env
from envs_mjx import film
from envs_mjx.base import EnvSpec, GoalEnv, State
from envs_mjx.pictures.pictured import Pictured

AT_ONCE = 50
"""Episodes that are played at once."""
Act = Callable[[State], np.ndarray]
"""state of E environments -> actions (E, A)."""


def record(
    out: Path,
    config: EnvConfig,
    policy: str | Trained,
    episodes: int,
    noise: float,
    seed: int,
    command: str,
    told: Callable[[int], None] = lambda done: None,
) -> tuple[Path, float]:
    """Play fresh episodes from start to horizon, and write them in Minari's layout.

    Args:
        config: the environments.
        policy: "scripted", "random", or a trained policy, which samples its actions.
        noise: standard deviation of Gaussian noise on the actions, which are then clipped to [-1, 1].
        command: kept in the metadata.
        told: called with the number of episodes played so far.

    Returns:
        the folder, and the share of episodes in success at their end.

    Raises:
        ConfigError, EnvError: a bad setting, `out` is taken, or no room for the episodes.
    """
    out = data.check_new(out)
    if isinstance(policy, Trained) and policy.aligned is not None:
        raise ConfigError(
            f"policy={policy.folder}: it learned several tasks and sees padded observations; take another"
        )
    env = make_env(config, min(episodes, AT_ONCE))
    _check_room(env.spec, episodes, out)
    generator, played = np.random.default_rng(seed), []
    for batch in range(-(-episodes // env.num_envs)):
        played += _play(env, policy, noise, jax.random.fold_in(jax.random.PRNGKey(seed), batch), generator)
        told(min(len(played), episodes))
    played = played[:episodes]
    about = {
        "algorithm_name": policy if isinstance(policy, str) else str(policy.folder),
        "description": command,
        "command": command,
        "noise": noise,
        "seed": seed,
        "horizon": env.spec.horizon * env.spec.action_repeat,
        **data.settings(config),
    }
    share = float(np.mean([one.success[-1] for one in played if one.success is not None]))
    return data.write(out, played, env.spec, about), share


def _check_room(spec: EnvSpec, episodes: int, out: Path) -> None:
    """Refuse what fits neither memory nor disk; all episodes are kept until they are written.

    Raises:
        ConfigError: with the bytes, and how many episodes fit.
    """
    row = spec.obs_size * (1 if spec.picture else FLOAT) + spec.action_size * FLOAT
    each = (spec.horizon + 1) * row
    above = next(parent for parent in out.parents if parent.exists())
    room = min(available() or math.inf, shutil.disk_usage(above).free)
    if 2 * episodes * each > room:  # Minari makes a copy of what it writes.
        told = f"they take {gib(2 * episodes * each)}, {gib(int(room))} are free"
        raise ConfigError(f"episodes={episodes}: {told}; nearest: {int(room / 2 / each)}")


def _play(
    env: GoalEnv, policy: str | Trained, noise: float, key: jax.Array, generator: np.random.Generator
) -> list[data.Episode]:
    """One episode of each environment."""
    state, advance = jax.jit(env.reset)(key), jax.jit(env.advance)
    act, goal = _actor(env, policy, key), np.asarray(state.goal)
    obs, actions, success, ended = [np.asarray(state.obs)], [], [], []
    for _ in range(env.spec.horizon):
        action = act(state)
        action = np.clip(action + noise * generator.standard_normal(action.shape), -1, 1).astype(np.float32)
        state = advance(state, action)
        obs.append(np.asarray(state.obs))
        actions.append(action)
        success.append(np.asarray(state.success))
        ended.append(np.asarray(state.done))
    steps = [np.stack(one, axis=1) for one in (obs, actions, success, ended)]
    return list(_cut(steps[0], steps[1], steps[2], steps[3], goal))


def _cut(
    obs: np.ndarray, action: np.ndarray, success: np.ndarray, ended: np.ndarray, goal: np.ndarray
) -> Iterator[data.Episode]:
    """Each environment's steps up to its first end: a diverged simulation ends early."""
    for index, length in enumerate(ended.argmax(axis=1) + 1):
        yield data.Episode(obs[index, : length + 1], action[index, :length], goal[index], success[index, :length])


def _actor(env: GoalEnv, policy: str | Trained, key: jax.Array) -> Act:
    if isinstance(policy, Trained):
        sample, keys = jax.jit(policy.policy(stochastic=True)), iter(jax.random.split(key, env.spec.horizon))
        return lambda state: np.asarray(sample(state, next(keys)))
    seed = int(jax.random.randint(key, (), 0, 2**31 - 1))
    if not isinstance(env, Pictured):
        return film.actor(env, policy, seed)
    inner = film.actor(env.env, policy, seed)  # The scripted policy reads numbers.
    return lambda state: inner(state.physics.inner)
