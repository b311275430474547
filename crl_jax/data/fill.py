"""Lays recorded episodes out in a replay ring, as if its environments had just played them.

Each column (environment) holds whole episodes, one after another; an episode of T actions takes T + 1 rows. The longest
episodes go first, each to the column that is shortest by then. Shorter columns end in rows that are episodes of their
own: without a future they are never drawn, and are nobody's goal.

Axis letters: C capacity rows, E environments, T steps of an episode.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from crl_jax import loop
from crl_jax.config import Config, ConfigError
from crl_jax.data.episodes import Episode, Recorded, read, settings
from envs_mjx.base import GoalEnv

FULL = 0.02
"""Share of the ring's filled rows that must be recorded transitions: sampling draws a row until it is one."""


def columns(episodes: Sequence[Episode], num_envs: int) -> list[list[int]]:
    """Episode numbers of each column, in order."""
    order = sorted(range(len(episodes)), key=lambda number: (-len(episodes[number].obs), number))
    placed: list[list[int]] = [[] for _ in range(num_envs)]
    length = np.zeros(num_envs, int)
    for number in order:
        column = int(length.argmin())
        placed[column].append(number)
        length[column] += len(episodes[number].obs)
    return placed


def rows_needed(episodes: Sequence[Episode], num_envs: int, unroll_length: int) -> int:
    """Rows of a ring with `num_envs` columns that holds all episodes: whole unrolls."""
    longest = max(sum(len(episodes[number].obs) for number in column) for column in columns(episodes, num_envs))
    return -(-longest // unroll_length) * unroll_length


def recorded_data(config: Config, env: GoalEnv) -> Recorded | None:
    """The data that a run begins with, checked; None where it collects its own.

    Raises:
        ConfigError: as `read` and `check`.
    """
    if not config.train.data:
        return None
    recorded = read(Path(config.train.data))
    check(config, env, recorded)
    return recorded


def check(config: Config, env: GoalEnv, recorded: Recorded) -> None:
    """Refuse data that do not fit the run.

    Raises:
        ConfigError: sizes, settings of the environment, room in the ring, in one line.
    """
    path, spec, train = Path(config.train.data), env.spec, config.train
    for name, mine in settings(config.env).items():
        told = recorded.about.get(name)
        if None not in (told, mine) and told != mine:
            raise ConfigError(f"data={path}: recorded with {name}={told!r}, the run has {mine!r}; make them equal")
    first = recorded.episodes[0]
    sizes = {"observations": (first.obs.shape[1], spec.obs_size), "actions": (first.action.shape[1], spec.action_size)}
    if first.goal is not None:
        sizes["goals"] = (first.goal.shape[0], spec.goal_size)
    for name, (there, wanted) in sizes.items():
        if there != wanted:
            raise ConfigError(f"data={path}: {name} of {there} numbers, {config.env.task} has {wanted} ({_hint(name)})")
    kind = np.uint8 if spec.picture else np.float32
    if first.obs.dtype != kind:
        raise ConfigError(f"data={path}: observations are {first.obs.dtype}, the run's are {np.dtype(kind)}; see --obs")
    rows = rows_needed(recorded.episodes, config.env.num_envs, train.unroll_length)
    if rows * config.env.num_envs > train.replay_capacity:
        raise ConfigError(
            f"replay_capacity={train.replay_capacity}: the data take {rows * config.env.num_envs} transitions of room"
            f" ({_counted(recorded.episodes)}); nearest: {rows * config.env.num_envs}"
        )
    kept, places = sum(len(one.action) for one in recorded.episodes), rows * config.env.num_envs
    if kept < FULL * places:
        fewer = max(1, min(len(recorded.episodes), config.env.num_envs - 1))
        told = f"the data's {kept:,} transitions are lost among {places:,} places of the ring"
        raise ConfigError(f"num_envs={config.env.num_envs}: {told}; nearest: {fewer}, or record more")


def described(config: Config, recorded: Recorded) -> str:
    """A line on the data that a run begins with: their episodes, and what a row of an archive is taken for."""
    told = f"data={config.train.data}: {_counted(recorded.episodes)}"
    if recorded.about or config.env.action_repeat == 1:
        return told
    return f"{told}; each is taken for a decision of action_repeat={config.env.action_repeat} env steps"


def _counted(episodes: Sequence[Episode]) -> str:
    lengths = [len(one.action) for one in episodes]
    return f"{len(lengths):,} episodes, {sum(lengths):,} transitions, the longest episode {max(lengths):,}"


def _hint(name: str) -> str:
    return "the same --goal as recorded" if name == "goals" else "the same task and --obs as recorded"


def filled(state: loop.LoopState, config: Config, env: GoalEnv, recorded: Recorded) -> loop.LoopState:
    """The fresh state with the episodes in its ring; its environments go on with later episode numbers."""
    episodes, ring = recorded.episodes, state.ring
    capacity, num_envs = ring.episode.shape
    rows = rows_needed(episodes, num_envs, config.train.unroll_length)
    obs = np.zeros((rows, *ring.obs.shape[1:]), ring.obs.dtype)
    action = np.zeros((rows, *ring.action.shape[1:]), np.float32)
    episode = np.zeros((rows, num_envs), np.int32)
    last_row = np.full((capacity, num_envs), -1, np.int32)
    goal = None if ring.commanded is None else np.zeros((rows, *ring.commanded.shape[1:]), ring.commanded.dtype)
    achieved = jax.jit(env.achieved_goal)
    for column, numbers in enumerate(columns(episodes, num_envs)):
        at = count = 0
        for number in numbers:
            one = episodes[number]
            end = at + len(one.obs)
            obs[at:end, column], action[at : end - 1, column], episode[at:end, column] = one.obs, one.action, count
            if goal is not None:
                goal[at:end, column] = np.asarray(achieved(one.obs[-1])) if one.goal is None else one.goal
            last_row[count % capacity, column] = end - 1
            at, count = end, count + 1
        for row in range(at, rows):
            episode[row, column], last_row[count % capacity, column] = count, row
            count += 1
    written = {"obs": obs, "action": action, "episode": episode}
    if goal is not None:
        written["commanded"] = goal
    leaves = {name: getattr(ring, name).at[:rows].set(value) for name, value in written.items()}
    ring = ring.replace(**leaves, last_row=jnp.asarray(last_row), written=jnp.int32(rows))
    later = state.env.episode + jnp.asarray(episode[-1] + 1)
    return state.replace(ring=ring, env=state.env.replace(episode=later))
