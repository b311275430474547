"""Future offsets and the distinct-goal metric."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from crl_jax.experience.relabel import distinct_goal_share, truncated_geometric

KEY = jax.random.key(0)


@pytest.mark.parametrize("discount", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("horizon", [1, 2, 7, 60])
def test_distribution_by_chi_square(discount: float, horizon: int) -> None:
    offsets = np.asarray(truncated_geometric(jax.random.key(horizon), discount, jnp.full(40_000, horizon)))
    assert offsets.min() >= 1 and offsets.max() <= horizon
    if horizon > 1:
        p = discount ** np.arange(horizon)
        expected = 40_000 * p / p.sum()
        keep = max(2, int((expected > 5).sum()))  # the thin tail as one cell
        counts = np.bincount(offsets, minlength=horizon + 1)[1:]
        pooled = [np.append(x[: keep - 1], x[keep - 1 :].sum()) for x in (counts, expected)]
        assert stats.chisquare(*pooled).pvalue > 1e-4


def test_discount_near_one_is_uniform_and_long_horizons_are_geometric() -> None:
    offsets = np.asarray(truncated_geometric(KEY, 1 - 1e-7, jnp.full(40_000, 10)))
    assert stats.chisquare(np.bincount(offsets, minlength=11)[1:]).pvalue > 1e-4
    offsets = np.asarray(truncated_geometric(KEY, 0.99, jnp.full(40_000, 2**30)))
    assert offsets.mean() == pytest.approx(100, rel=0.03) and offsets.min() == 1


def test_no_horizon_no_offset() -> None:
    np.testing.assert_array_equal(truncated_geometric(KEY, 0.9, jnp.zeros(5, jnp.int32)), 0)


def test_distinct_goal_share() -> None:
    goal = jax.random.uniform(KEY, (256, 3))
    assert float(distinct_goal_share(goal)) == 1
    assert float(distinct_goal_share(jnp.ones((256, 3)))) == pytest.approx(1 / 256)
    assert float(distinct_goal_share(goal[jnp.arange(256) % 8])) == pytest.approx(8 / 256)
    swapped = jnp.array([[0.1, 0.2], [0.2, 0.1], [-0.1, 0.2], [0.1, 0.2004]])
    assert float(distinct_goal_share(swapped)) == 0.75
