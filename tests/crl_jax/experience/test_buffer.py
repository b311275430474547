"""The ring: uniform anchors, futures of the same episode, the write head, donation (bug 6 of the design note).

Observations in these tests are (row number, env), so that each sample shows where it comes from.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from crl_jax.experience import buffer
from crl_jax.types import Batch

insert = jax.jit(buffer.insert)
DISCOUNT = 0.8


@functools.partial(jax.jit, static_argnums=2)
def _sample(ring: buffer.Ring, key: jax.Array, shape: tuple[int, ...]) -> Batch:
    return buffer.sample(ring, key, shape, DISCOUNT, lambda obs: obs)


def _fill(capacity: int, unroll: int, episode: np.ndarray) -> buffer.Ring:
    """A ring after rows with the episode numbers `episode` (rows, E) are inserted, T = `unroll` rows at a time."""
    rows, num_envs = episode.shape
    obs = np.stack(np.broadcast_arrays(np.arange(rows)[:, None], np.arange(num_envs)), -1).astype(np.float32)
    ring = buffer.init(capacity, num_envs, 2, 1, 2)
    for start in range(0, rows, unroll):
        part = slice(start, start + unroll)
        ring = insert(ring, obs[part], obs[part, :, :1], -obs[part], episode[part].astype(np.int32))
    return ring


def _episodes(rows: int, num_envs: int, lengths: list[int]) -> np.ndarray:
    """(rows, E) episode numbers: environment i cycles through the episode lengths, beginning at the i-th."""
    columns = []
    for env in range(num_envs):
        order = lengths[env % len(lengths) :] + lengths[: env % len(lengths)]
        ends = np.cumsum(np.tile(order, rows // sum(order) + 1))
        columns.append(np.searchsorted(ends, np.arange(rows), side="right"))
    return np.stack(columns, 1)


def _horizon(episode: np.ndarray, capacity: int) -> np.ndarray:
    """(rows, E) number of later rows of the same episode; 0 for overwritten rows. The reference in NumPy."""
    rows = len(episode)
    later = [(episode[r + 1 :] == episode[r]).sum(0) for r in range(rows)]
    horizon = np.stack(later)
    horizon[: max(0, rows - capacity)] = 0
    return horizon


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=5).filter(lambda x: max(x) > 1),
    unrolls=st.integers(1, 11),
    seed=st.integers(0, 2**31 - 1),
)
def test_never_across_an_episode_end_or_the_write_head(lengths: list[int], unrolls: int, seed: int) -> None:
    capacity, unroll, num_envs = 16, 4, 3
    episode = _episodes(unrolls * unroll, num_envs, lengths)
    horizon = _horizon(episode, capacity)
    if not horizon.any():
        return
    batch = jax.tree.map(np.asarray, _sample(_fill(capacity, unroll, episode), jax.random.key(seed), (2, 128)))
    row, future = batch.obs[..., 0].astype(int), batch.goal[..., 0].astype(int)
    assert (horizon[row, batch.env] > 0).all()  # stored, and with a future
    assert (future - row == batch.offset).all() and (batch.offset >= 1).all()
    assert (batch.offset <= horizon[row, batch.env]).all()  # which is both limits at once
    assert (episode[row, batch.env] == batch.episode).all() and (episode[future, batch.env] == batch.episode).all()
    assert (batch.obs[..., 1] == batch.env).all() and (batch.goal[..., 1] == batch.env).all()
    assert (batch.next_obs[..., 0] == row + 1).all() and (batch.action[..., 0] == row).all()
    assert (batch.commanded == -batch.obs).all()  # of the anchor's own row


@pytest.mark.parametrize("unrolls", [3, 8, 13])
def test_anchors_are_uniform_and_offsets_geometric_by_chi_square(unrolls: int) -> None:
    capacity, unroll = 32, 4
    episode = _episodes(unrolls * unroll, 2, [9, 1, 5])
    horizon = _horizon(episode, capacity)
    ring = _fill(capacity, unroll, episode)
    batch = jax.tree.map(np.asarray, _sample(ring, jax.random.key(unrolls), (40_000,)))
    counts = np.zeros(episode.shape)
    np.add.at(counts, (batch.obs[:, 0].astype(int), batch.env), 1)
    assert not counts[horizon == 0].any()
    assert stats.chisquare(counts[horizon > 0]).pvalue > 1e-4
    for h in np.unique(horizon[horizon > 1]):
        offsets = batch.offset[horizon[batch.obs[:, 0].astype(int), batch.env] == h]
        p = DISCOUNT ** np.arange(h)
        assert stats.chisquare(np.bincount(offsets, minlength=h + 1)[1:], len(offsets) * p / p.sum()).pvalue > 1e-4


def test_newest_row_is_a_goal_and_second_newest_an_anchor() -> None:
    rows = 24
    batch = _sample(_fill(16, 4, _episodes(rows, 2, [100])), jax.random.key(0), (2000,))
    assert batch.goal[:, 0].max() == rows - 1
    assert batch.obs[:, 0].max() == rows - 2
    assert batch.obs[:, 0].min() == rows - 16  # the oldest stored, too


def test_rare_valid_rows_are_still_the_only_ones_drawn() -> None:
    episode = np.arange(16)[:, None].repeat(2, 1)
    episode[11:, 1] -= 1  # rows 10 and 11 of env 1 are the only two of one episode: 1 valid anchor in 32
    batch = _sample(_fill(16, 4, episode), jax.random.key(0), (256,))
    assert (batch.obs == jnp.array([10.0, 1.0])).all() and (batch.offset == 1).all()


def test_a_ring_without_futures_is_marked_by_offset_zero() -> None:
    batch = _sample(_fill(8, 4, np.arange(8)[:, None].repeat(2, 1)), jax.random.key(0), (16,))
    assert (batch.offset == 0).all() and (batch.goal == batch.obs).all()


def test_insert_is_in_place_under_donation() -> None:
    ring = buffer.init(4096, 8, 16, 4, 3)
    args = (jnp.ones((64, 8, 16)), jnp.ones((64, 8, 4)), jnp.ones((64, 8, 3)), jnp.zeros((64, 8), jnp.int32))
    compiled = jax.jit(buffer.insert, donate_argnums=0).lower(ring, *args).compile()
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(ring))
    assert compiled.memory_analysis().temp_size_in_bytes < size / 20  # no copy of the ring inside
    pointers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(ring)]
    new = compiled(ring, *args)
    assert ring.obs.is_deleted()
    assert [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(new)][:5] == pointers[:5]


def test_num_rows_and_shapes() -> None:
    ring = buffer.init(8, 3, 2, 1, 2)
    assert int(buffer.num_rows(ring)) == 0
    for wanted in (4, 8, 8):
        ring = insert(
            ring, jnp.zeros((4, 3, 2)), jnp.zeros((4, 3, 1)), jnp.zeros((4, 3, 2)), jnp.zeros((4, 3), jnp.int32)
        )
        assert int(buffer.num_rows(ring)) == wanted
    batch = _sample(ring, jax.random.key(0), (5, 7))
    assert batch.obs.shape == (5, 7, 2) and batch.action.shape == (5, 7, 1) and batch.offset.shape == (5, 7)


def test_capacity_that_unroll_does_not_divide_is_refused_with_the_nearest() -> None:
    ring = buffer.init(10, 1, 2, 1, 2)
    obs, goal, episode = jnp.zeros((5, 1, 2)), jnp.zeros((5, 1, 2)), jnp.zeros((5, 1), jnp.int32)
    with pytest.raises(ValueError, match="8 or 12"):
        buffer.insert(ring, obs[:4], jnp.zeros((4, 1, 1)), goal[:4], episode[:4])
    with pytest.raises(ValueError, match="action"):
        buffer.insert(ring, obs, jnp.zeros((5, 1, 3)), goal, episode)


def test_keys_matter_and_repeat() -> None:
    ring = _fill(16, 4, _episodes(16, 2, [100]))
    first, again, other = (_sample(ring, jax.random.key(k), (64,)) for k in (1, 1, 2))
    np.testing.assert_array_equal(first.obs, again.obs)
    assert (first.obs != other.obs).any()


@functools.partial(jax.jit, static_argnums=2)
def _sample_distinct(ring: buffer.Ring, key: jax.Array, shape: tuple[int, ...]) -> Batch:
    return buffer.sample(ring, key, shape, DISCOUNT, lambda obs: obs, distinct=True)


def _fragments(episode: np.ndarray, capacity: int) -> dict[tuple[int, int], np.ndarray]:
    """(env, episode) -> its stored rows that have a future. The reference in NumPy."""
    horizon = _horizon(episode, capacity)
    found = {(env, number) for row, env in zip(*np.nonzero(horizon), strict=True) for number in [episode[row, env]]}
    return {(e, n): np.nonzero((episode[:, e] == n) & (horizon[:, e] > 0))[0] for e, n in sorted(found)}


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=5).filter(lambda x: max(x) > 1),
    unrolls=st.integers(1, 11),
    seed=st.integers(0, 2**31 - 1),
)
def test_distinct_trajectories_are_distinct_and_obey_all_limits(lengths: list[int], unrolls: int, seed: int) -> None:
    capacity, unroll, size = 16, 4, 5
    episode = _episodes(unrolls * unroll, 3, lengths)
    horizon, there = _horizon(episode, capacity), _fragments(episode, capacity)
    ring = _fill(capacity, unroll, episode)
    batch = jax.tree.map(np.asarray, _sample_distinct(ring, jax.random.key(seed), (20, size)))
    if len(there) < size:
        assert (batch.offset == 0).all()  # offset 0 marks that there are too few trajectories
        return
    row, future = batch.obs[..., 0].astype(int), batch.goal[..., 0].astype(int)
    assert all(len(set(zip(*pair, strict=True))) == size for pair in zip(batch.env, batch.episode, strict=True))
    assert (batch.offset >= 1).all() and (batch.offset <= horizon[row, batch.env]).all()
    assert (future - row == batch.offset).all() and (episode[future, batch.env] == batch.episode).all()
    assert (batch.next_goal[..., 0] == row + 1).all() and (batch.next_goal == batch.next_obs).all()


@pytest.mark.parametrize("unrolls", [3, 13])
def test_distinct_trajectories_are_uniform_and_their_rows_too_by_chi_square(unrolls: int) -> None:
    capacity, unroll, size = 32, 4, 4
    episode = _episodes(unrolls * unroll, 2, [9, 1, 5])
    there = _fragments(episode, capacity)
    ring = _fill(capacity, unroll, episode)
    batch = jax.tree.map(np.asarray, _sample_distinct(ring, jax.random.key(unrolls), (30_000, size)))
    number = {pair: index for index, pair in enumerate(there)}
    for column in (0, size - 1):  # one of each batch: independent draws
        drawn = np.array([number[pair] for pair in zip(batch.env[:, column], batch.episode[:, column], strict=True)])
        assert stats.chisquare(np.bincount(drawn, minlength=len(there))).pvalue > 1e-4
    for (env, name), rows in there.items():
        mine = batch.obs[..., 0][(batch.env == env) & (batch.episode == name)].astype(int)
        counts = np.bincount(mine, minlength=len(episode))
        assert counts.sum() == counts[rows].sum()
        assert len(rows) == 1 or stats.chisquare(counts[rows]).pvalue > 1e-4
    pairs = np.zeros((len(there), len(there)))
    first, second = ([number[p] for p in zip(batch.env[:, k], batch.episode[:, k], strict=True)] for k in (0, size - 1))
    np.add.at(pairs, (first, second), 1)
    assert stats.chisquare(pairs[~np.eye(len(there), dtype=bool)]).pvalue > 1e-4  # and in any order


@given(rows=st.integers(0, 60), horizon=st.integers(2, 20), lead=st.integers(0, 19))
def test_trajectories_are_counted_as_a_loop_counts_them(rows: int, horizon: int, lead: int) -> None:
    lead = min(lead, horizon - 1)
    episode = np.array([0 if row < lead else 1 + (row - lead) // horizon for row in range(rows)], int)
    assert buffer.count_trajectories(rows, horizon, lead) == sum(np.bincount(episode) >= 2)
