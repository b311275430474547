"""Replay buffer: a ring of trajectories on the device. `init`, `insert`, `sample` over one frozen dataclass.

Axis letters: C capacity rows, T unroll, E environments, D obs, A action, G goal. A row holds one step of all E
environments. Rows are numbered 0, 1, 2, ... without end; row r is stored at index r % C. Row numbers are int32: a run
writes fewer than 2^31 rows (of E transitions each). Nothing derivable is stored: no next_obs, no relabelled goals.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from crl_jax.config import nearest_multiples
from crl_jax.experience.relabel import truncated_geometric
from crl_jax.types import Batch

MAX_ROUNDS = 1000
"""Most rounds of the rejection loop. Enough where 1 stored row in 30 is valid; in episodes of two rows, half are."""


class Ring(struct.PyTreeNode):
    """The last C rows of E environments.

    Attributes:
        obs: (C, E, D) float32, or uint8 where observations are pictures. action: (C, E, A) float32, taken at `obs`.
        commanded: (C, E, G) commanded goal of the row's episode, of the type of `obs`; None if no agent reads it.
        episode: (C, E) int32 episode number, per environment 0, 1, 2, ... without gaps.
        last_row: (C, E) int32. Entry [n % C, e] is the number of the newest row of environment e's episode n; -1 before
            any. The C stored rows span at most C consecutive episodes, so no two of them share an entry.
        written: () int32 number of rows ever written.
        reward: (C, E) float32 of the step from the row's `obs`; None if the agent learns without a reward.
    """

    obs: jax.Array
    action: jax.Array
    commanded: jax.Array | None
    episode: jax.Array
    last_row: jax.Array
    written: jax.Array
    reward: jax.Array | None = None


def init(
    capacity_rows: int,
    num_envs: int,
    obs_size: int,
    action_size: int,
    goal_size: int,
    rewarded: bool = False,
    commanded: bool = True,
    pictures: bool = False,
) -> Ring:
    """An empty ring; `rewarded`, `commanded`: with room for rewards, commanded goals; `pictures`: in bytes."""
    shape, kind = (capacity_rows, num_envs), jnp.uint8 if pictures else jnp.float32
    return Ring(
        obs=jnp.zeros((*shape, obs_size), kind),
        action=jnp.zeros((*shape, action_size), jnp.float32),
        commanded=jnp.zeros((*shape, goal_size), kind) if commanded else None,
        episode=jnp.zeros(shape, jnp.int32),
        last_row=jnp.full(shape, -1, jnp.int32),
        written=jnp.zeros((), jnp.int32),
        reward=jnp.zeros(shape, jnp.float32) if rewarded else None,
    )


def num_rows(ring: Ring) -> jax.Array:
    """() int32 number of rows stored now, at most C."""
    return jnp.minimum(ring.written, ring.obs.shape[0])


def insert(
    ring: Ring,
    obs: jax.Array,
    action: jax.Array,
    commanded: jax.Array,
    episode: jax.Array,
    reward: jax.Array | None = None,
) -> Ring:
    """Write T rows over the oldest ones; in place when the ring is donated.

    Every insert into one ring must have the same T. C is a multiple of T, so that no write straddles the end.

    Args:
        obs: (T, E, D). action: (T, E, A). commanded: (T, E, G); left out where the ring keeps none.
        episode: (T, E) int32, continuing the numbering of the rows before.
        reward: (T, E) where the ring keeps rewards, else None.
    Raises:
        ValueError: C is no multiple of T, shapes differ, or rewards are missing or not kept (at trace time).
    """
    capacity, num_envs = ring.episode.shape
    unroll = obs.shape[0]
    if capacity % unroll:
        raise ValueError(
            f"capacity_rows={capacity}: must be a multiple of unroll_length={unroll}; "
            f"nearest: {nearest_multiples(capacity, unroll)}"
        )
    rows = {"obs": obs, "action": action, "episode": episode}
    if ring.commanded is not None:
        rows["commanded"] = commanded
    if (reward is None) != (ring.reward is None):
        given, kept = ("none" if one is None else "one" for one in (reward, ring.reward))
        raise ValueError(f"reward: {given} given, {kept} wanted")
    if reward is not None:
        rows["reward"] = reward
    for name, value in rows.items():
        wanted = (unroll, *getattr(ring, name).shape[1:])
        if value.shape != wanted:
            raise ValueError(f"{name}: shape {value.shape} does not fit the ring, wanted {wanted}")
    index = ring.written % capacity
    row = ring.written + jnp.arange(unroll, dtype=jnp.int32)[:, None]
    written = {
        name: jax.lax.dynamic_update_slice_in_dim(getattr(ring, name), value, index, 0) for name, value in rows.items()
    }
    return ring.replace(
        **written,
        # a newer episode has newer rows, so max also replaces what an overwritten episode left in the slot
        last_row=ring.last_row.at[episode % capacity, jnp.arange(num_envs)].max(row),
        written=ring.written + unroll,
    )


def count_trajectories(rows: int, horizon: int, lead: int = 0) -> int:
    """Number of trajectories with a future in consecutive rows of one environment; the first `lead` end an episode."""
    whole, rest = divmod(max(rows - lead, 0), horizon)
    return (min(lead, rows) >= 2) + whole + (rest >= 2)


class _Draw(NamedTuple):
    """Anchors drawn so far, as arrays of one shape. horizon: later rows of the anchor's episode; 0: invalid anchor."""

    key: jax.Array
    row: jax.Array
    env: jax.Array
    horizon: jax.Array
    rounds: jax.Array


def _draw_anchors(ring: Ring, key: jax.Array, shape: tuple[int, ...], low: jax.Array | int, count: int) -> _Draw:
    """Anchors uniform over the valid (row, env), by rejection: drawn from all stored; invalid ones are redrawn.

    The environments are `low` ... `low` + `count` - 1; `low` has a shape that broadcasts to `shape`.
    """
    capacity = ring.episode.shape[0]
    oldest = ring.written - num_rows(ring)

    def redraw(draw: _Draw) -> _Draw:
        key, row_key, env_key = jax.random.split(draw.key, 3)
        row = jax.random.randint(row_key, shape, oldest, jnp.maximum(ring.written, 1), jnp.int32)
        env = low + jax.random.randint(env_key, shape, 0, count, jnp.int32)
        horizon = ring.last_row[ring.episode[row % capacity, env] % capacity, env] - row
        keep = draw.horizon > 0
        return _Draw(
            key,
            jnp.where(keep, draw.row, row),
            jnp.where(keep, draw.env, env),
            jnp.where(keep, draw.horizon, horizon),
            draw.rounds + 1,
        )

    def unfinished(draw: _Draw) -> jax.Array:
        return jnp.any(draw.horizon <= 0) & (draw.rounds < MAX_ROUNDS)

    zeros = jnp.zeros(shape, jnp.int32)
    return jax.lax.while_loop(unfinished, redraw, _Draw(key, zeros, zeros, zeros, jnp.zeros((), jnp.int32)))


def _draw_distinct(ring: Ring, key: jax.Array, shape: tuple[int, ...]) -> _Draw:
    """Anchors from distinct trajectories in each batch (the last axis).

    Trajectories are uniform without replacement; the anchor is then uniform over the trajectory's rows with a future.
    Floyd's algorithm (Communications of the ACM 30, 1987, 754-757) draws the trajectories, in one step per row of the
    batch and without rejection. A cumulative sum over all C * E entries of `last_row` numbers the trajectories.
    """
    num_envs = ring.episode.shape[1]
    batch, oldest = shape[-1], ring.written - num_rows(ring)
    before = jnp.roll(ring.last_row, 1, axis=0)  # of the episode before, which may be overwritten
    first = jnp.where(before < ring.last_row, jnp.maximum(before + 1, oldest), oldest)
    number = jnp.cumsum((ring.last_row > first).ravel(), dtype=jnp.int32)
    many = number[-1]
    key, pick_key, order_key, row_key = jax.random.split(key, 4)
    upper = many - batch + jnp.arange(batch, dtype=jnp.int32)
    picks = jax.random.randint(pick_key, shape, 0, jnp.maximum(upper, 0) + 1)

    def choose(index: int, chosen: jax.Array) -> jax.Array:
        pick = picks[..., index]
        taken = jnp.any(chosen == pick[..., None], axis=-1)
        return chosen.at[..., index].set(jnp.where(taken, upper[index], pick))

    chosen = jax.lax.fori_loop(0, batch, choose, jnp.full(shape, -1, jnp.int32))
    chosen = jax.random.permutation(order_key, chosen, axis=-1, independent=True)
    slot = jnp.searchsorted(number, chosen + 1, side="left").astype(jnp.int32)
    start, last = first.ravel()[slot], ring.last_row.ravel()[slot]
    row = jax.random.randint(row_key, shape, start, jnp.maximum(last, start + 1))
    return _Draw(key, row, slot % num_envs, jnp.where(many >= batch, last - row, 0), jnp.zeros((), jnp.int32))


class Drawn(NamedTuple):
    """Transitions drawn from a ring, as arrays of one shape: row numbers, environments, offsets of their goals."""

    row: jax.Array
    env: jax.Array
    offset: jax.Array


def draw(
    ring: Ring,
    key: jax.Array,
    shape: tuple[int, ...],
    discount: float,
    distinct: bool = False,
    low: jax.Array | int = 0,
    count: int = 0,
) -> Drawn:
    """The transitions that `sample` gathers, see there.

    Args:
        low, count: take `count` environments from `low` on, for each batch of its own; count 0: all environments.
    """
    anchor_key, offset_key = jax.random.split(key)
    if distinct:
        drawn = _draw_distinct(ring, anchor_key, shape)
    else:
        drawn = _draw_anchors(ring, anchor_key, shape, low, count or ring.episode.shape[1])
    return Drawn(drawn.row, drawn.env, truncated_geometric(offset_key, discount, jnp.maximum(drawn.horizon, 0)))


def gather(ring: Ring, drawn: Drawn, achieved_goal: Callable[[jax.Array], jax.Array]) -> Batch:
    """Drawn transitions as a `Batch` with their leading axes."""
    capacity, (row, env, offset) = ring.obs.shape[0], drawn
    index = row % capacity
    next_obs = ring.obs[(row + jnp.minimum(offset, 1)) % capacity, env]
    return Batch(
        obs=ring.obs[index, env],
        action=ring.action[index, env],
        next_obs=next_obs,
        goal=achieved_goal(ring.obs[(row + offset) % capacity, env]),
        commanded=None if ring.commanded is None else ring.commanded[index, env],
        env=env,
        episode=ring.episode[index, env],
        offset=offset,
        next_goal=achieved_goal(next_obs),
        reward=None if ring.reward is None else ring.reward[index, env],
    )


def sample(
    ring: Ring,
    key: jax.Array,
    shape: tuple[int, ...],
    discount: float,
    achieved_goal: Callable[[jax.Array], jax.Array],
    distinct: bool = False,
) -> Batch:
    """Relabelled transitions with anchors uniform over all stored (row, env) that have a later row in their episode.

    With `distinct`, each batch (the last axis) has one anchor per trajectory: trajectories are uniform, then a row of
    each. The relabelled goal lies Geom(1 - discount) steps ahead, truncated to the newest stored row of the anchor's
    episode. It never crosses an episode end or the write head, and the newest row is reachable.

    Args:
        key: PRNG key, used once. shape: leading axes of the result, e.g. (updates, B). discount: gamma in (0, 1).
        achieved_goal: (..., D) -> (..., G).
    Returns:
        Batch with leading axes `shape`. `offset` is 0, and the goal is the anchor's own achieved goal, only where no
        valid anchor was found: an empty ring, episodes of a single row (check the fill before), or, with `distinct`,
        fewer trajectories than the batch has rows.
    """
    return gather(ring, draw(ring, key, shape, discount, distinct), achieved_goal)
