"""The learned critic against the theory, on a finite MDP whose discounted occupancy is a matrix inverse.

p(g | s, a) = (1 - gamma) P_sa (I - gamma P_pi)^-1 is the distribution of the future state at an offset
Geom(1 - gamma) >= 1. The optimum of InfoNCE is log p(g | s, a) / p(g) ("Contrastive Learning as Goal-Conditioned RL",
arXiv:2206.07568). The tests use the real ring, sampler, energies and losses.  Axis letters: S states, A actions.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from crl_jax.contrastive.bootstrap import TD_LOSSES, positives, ratio, td_loss
from crl_jax.contrastive.energies import ENERGIES
from crl_jax.contrastive.losses import LOSSES
from crl_jax.experience import buffer
from crl_jax.types import Batch

S, A, DISCOUNT = 6, 3, 0.7
ROWS, ENVS = 4096, 32  # 4096 rows in one episode each: truncation touches 5 / 4096 of the anchors
BATCH, UPDATES = 256, 3000
MARGIN = 0.1
"""Smallest gap, in nats of log p(g|s,a), between the best and the second best action for a pair (s, g) to count."""


@cache
def _mdp() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Transitions (S, A, S), occupancy (S, A, S) and the marginal (S,) of future states, under uniform actions."""
    rng = np.random.default_rng(3)
    transition = 0.9 * rng.dirichlet(np.full(S, 0.2), size=(S, A)) + 0.1 / S
    policy = transition.mean(1)
    occupancy = (1 - DISCOUNT) * transition @ np.linalg.inv(np.eye(S) - DISCOUNT * policy)
    stationary = np.linalg.matrix_power(policy, 1000)[0]
    return transition, occupancy, stationary @ occupancy.mean(1)


@cache
def _ring() -> buffer.Ring:
    """A ring with ENVS trajectories of ROWS steps under uniform actions; states and actions are one-hot."""
    transition = jnp.asarray(_mdp()[0], jnp.float32)

    def step(state: jax.Array, key: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        action_key, state_key = jax.random.split(key)
        action = jax.random.randint(action_key, (ENVS,), 0, A)
        following = jax.random.categorical(state_key, jnp.log(transition[state, action]))
        return following, (jax.nn.one_hot(state, S), jax.nn.one_hot(action, A))

    start = jnp.arange(ENVS) % S
    _, (obs, action) = jax.jit(lambda s: jax.lax.scan(step, s, jax.random.split(jax.random.key(0), ROWS)))(start)
    episode = jnp.zeros((ROWS, ENVS), jnp.int32)
    return jax.jit(buffer.insert)(buffer.init(ROWS, ENVS, S, A, S), obs, action, obs, episode)


@partial(jax.jit, static_argnums=1)
def _batches(key: jax.Array, shape: tuple[int, ...], ring: buffer.Ring) -> Batch:
    return buffer.sample(ring, key, shape, DISCOUNT, lambda obs: obs)


def test_sampler_reproduces_the_occupancy() -> None:
    _, occupancy, marginal = _mdp()
    batch = _batches(jax.random.key(1), (400_000,), _ring())
    state, action, goal = (np.asarray(x).argmax(-1) for x in (batch.obs, batch.action, batch.goal))
    counts = np.zeros((S, A, S))
    np.add.at(counts, (state, action, goal), 1)
    measured = counts / counts.sum(-1, keepdims=True)
    # samples share 131,072 transitions and are not independent: the test bounds the distance, without a chi-square
    assert 0.5 * np.abs(measured - occupancy).sum(-1).max() < 0.02
    assert 0.5 * np.abs(counts.sum((0, 1)) / counts.sum() - marginal).sum() < 0.01


@cache
def _trained(loss: str, penalty: float) -> np.ndarray:
    """(S, A, S) values f(s, a, g) of a trained critic: one embedding per (s, a) and one per g, with the dot energy."""
    keys = jax.random.split(jax.random.key(2), 4)
    critic = {
        "phi": 0.1 * jax.random.normal(keys[0], (S, A, S + 1)),
        "psi": 0.1 * jax.random.normal(keys[1], (S, S + 1)),
    }
    # b2: binary NCE starts with gradients a hundred times its later ones, which 0.999 would remember for 10,000 updates
    adam = optax.adam(optax.cosine_decay_schedule(2e-2, UPDATES), b2=0.99)

    def loss_fn(critic: dict[str, jax.Array], batch: Batch) -> jax.Array:
        phi = jnp.einsum("bs,ba,sad->bd", batch.obs, batch.action, critic["phi"])
        return LOSSES[loss](ENERGIES["dot"].pairwise(phi, batch.goal @ critic["psi"]), penalty)

    def update(learner: tuple[Any, Any], batch: Batch) -> tuple[tuple[Any, Any], None]:
        critic, opt = learner
        step, opt = adam.update(jax.grad(loss_fn)(critic, batch), opt)
        return (optax.apply_updates(critic, step), opt), None

    train = jax.jit(lambda learner, batches: jax.lax.scan(update, learner, batches)[0])
    critic, _ = train((critic, adam.init(critic)), _batches(keys[2], (UPDATES, BATCH), _ring()))
    return np.asarray(jnp.einsum("sad,gd->sag", critic["phi"], critic["psi"]))


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def _log_ratio() -> np.ndarray:
    _, occupancy, marginal = _mdp()
    return np.log(occupancy / marginal)


@pytest.mark.parametrize("penalty", [0.0, 0.1])
def test_forward_infonce_recovers_log_occupancy_ratios_up_to_a_row_constant(penalty: float) -> None:
    wanted, learned = _log_ratio(), _trained("fwd_infonce", penalty)
    wanted, learned = (x - x.mean(-1, keepdims=True) for x in (wanted, learned))
    assert _correlation(wanted, learned) >= 0.98


def test_binary_nce_recovers_them_with_no_constant_free() -> None:
    wanted, learned = _log_ratio(), _trained("binary_nce", 0.0)
    assert _correlation(wanted, learned) >= 0.98
    assert np.mean(learned - wanted) == pytest.approx(-np.log(BATCH - 1), abs=0.15)


def test_backward_infonce_recovers_them_up_to_a_goal_constant() -> None:
    wanted, learned = _log_ratio(), _trained("bwd_infonce", 0.1)
    wanted, learned = (x - x.mean((0, 1), keepdims=True) for x in (wanted, learned))
    assert _correlation(wanted, learned) >= 0.98


def _agreement(learned: np.ndarray) -> tuple[float, int]:
    """(share with the arg max_a of the true Q, count) over the pairs (s, g) that have a clear best action."""
    value = np.log(_mdp()[1])
    best = np.sort(value, axis=1)
    clear = best[:, -1] - best[:, -2] > MARGIN
    return float((learned.argmax(1) == value.argmax(1))[clear].mean()), int(clear.sum())


def test_penalty_pins_the_constant_so_that_the_best_action_is_right() -> None:
    share, pairs = _agreement(_trained("fwd_infonce", 0.1))
    assert pairs >= S * S // 2  # the claim is about enough pairs
    assert share >= 0.95
    offset = (_trained("fwd_infonce", 0.1) - _log_ratio()).mean(-1)
    assert offset.std() < 0.1 and offset.mean() == pytest.approx(-np.log(BATCH), abs=0.3)


def test_without_the_penalty_the_constant_is_free() -> None:
    """Shows why the penalty is needed: without it, the learned constants differ between actions."""
    free = (_trained("fwd_infonce", 0.0) - _log_ratio()).mean(-1)
    pinned = (_trained("fwd_infonce", 0.1) - _log_ratio()).mean(-1)
    assert free.std() > 2 * pinned.std()


@pytest.mark.parametrize("loss", [pytest.param("c_learning"), pytest.param("nce_c_learning", marks=pytest.mark.slow)])
def test_c_learning_recovers_them_from_next_states_with_no_constant_free(loss: str) -> None:
    """The policy is that of the data, uniform actions. c_learning learns from next states only."""
    keys = jax.random.split(jax.random.key(4), 4)
    row, dot = TD_LOSSES[loss](DISCOUNT), ENERGIES["dot"]
    first = 0.1 * jax.random.normal(keys[0], (S, A, S + 1)), 0.1 * jax.random.normal(keys[1], (S, S + 1))
    adam = optax.adam(optax.cosine_decay_schedule(2e-2, UPDATES), b2=0.99)

    def embed(critic: Any, obs: jax.Array, action: jax.Array, goal: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jnp.einsum("bs,ba,sad->bd", obs, action, critic[0]), goal @ critic[1]

    def update(learner: tuple[Any, ...], inputs: tuple[Batch, jax.Array]) -> tuple[tuple[Any, ...], None]:
        (critic, target, opt), (batch, key) = learner, inputs
        goal = positives(row, batch.next_goal, batch.goal, jnp.arange(BATCH), BATCH)
        action = jax.nn.one_hot(jax.random.randint(key, (BATCH,), 0, A), A)
        weight = ratio(dot.diagonal(*embed(target, batch.next_obs, action, jnp.roll(goal, -1, axis=0)))[None])

        def loss_fn(critic: Any) -> jax.Array:
            return td_loss(row, dot.pairwise(*embed(critic, batch.obs, batch.action, goal)), weight, None)

        step, opt = adam.update(jax.grad(loss_fn)(critic), opt)
        critic = optax.apply_updates(critic, step)
        return (critic, optax.incremental_update(critic, target, 0.05), opt), None

    train = jax.jit(lambda learner, inputs: jax.lax.scan(update, learner, inputs)[0])
    batches = _batches(keys[2], (UPDATES, BATCH), _ring())
    (critic, *_) = train((first, first, adam.init(first)), (batches, jax.random.split(keys[3], UPDATES)))
    learned = np.asarray(jnp.einsum("sad,gd->sag", *critic))
    wanted = _log_ratio()
    assert _correlation(wanted, learned) >= 0.97
    assert np.mean(learned - wanted) == pytest.approx(0.0, abs=0.15)
