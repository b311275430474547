"""The agent: where gradients flow, what an update changes, what it reports (bugs 2, 4, 5, 7, 9 of the design note)."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crl_jax.agents import crl
from crl_jax.agents.common import alpha_loss
from crl_jax.config import AgentConfig, ConfigError, NetworkConfig
from crl_jax.contrastive.energies import ENERGIES
from crl_jax.contrastive.losses import LOSSES
from crl_jax.types import Batch
from envs_mjx.base import EnvSpec

D, G, A, B = 5, 3, 2, 16
KEY = jax.random.key(0)
NETWORK = NetworkConfig(width=16, critic_depth=1, actor_depth=1, embedding=8)
SPEC = EnvSpec(D, G, A, 50, jnp.arange(1.0, D + 1), 2 * jnp.ones(D), jnp.arange(1.0, G + 1), jnp.full(G, 3.0))


def _batch(seed: int = 0) -> Batch:
    keys = jax.random.split(jax.random.key(seed), 5)
    ints = jnp.zeros(B, jnp.int32)
    return Batch(
        obs=jax.random.normal(keys[0], (B, D)),
        action=jnp.tanh(jax.random.normal(keys[1], (B, A))),
        next_obs=jax.random.normal(keys[2], (B, D)),
        goal=jax.random.normal(keys[3], (B, G)),
        commanded=jax.random.normal(keys[4], (B, G)),
        env=ints,
        episode=ints,
        offset=ints + 1,
    )


def _crl(**config: Any) -> crl.CRL:
    return crl.CRL(AgentConfig(**config), NETWORK, SPEC)


@cache
def _state() -> crl.CRLState:
    return jax.jit(crl.make(AgentConfig(), NETWORK, SPEC).init)(KEY)


def _moved(before: Any, after: Any) -> bool:
    pairs = zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
    return any(not np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("energy", list(ENERGIES))
def test_actor_gradient_goes_through_phi_and_the_action(energy: str) -> None:
    agent, batch = _crl(energy=energy), _batch()
    state = _state()
    if agent.energy.learned_temperature:
        state = state.replace(phi={"params": state.phi["params"] | {crl.TEMPERATURE: jnp.zeros(())}})

    def loss(actor: Any, phi: Any) -> jax.Array:
        return agent.actor_loss(actor, (phi, state.psi), jnp.zeros(()), batch, KEY)[0]  # alpha 0: the critic alone

    gradient = jax.jit(jax.grad(loss))
    grad = gradient(state.actor, state.phi)
    assert all(jnp.linalg.norm(g) > 0 for g in jax.tree.leaves(grad))
    # cutting phi from the action (the bug) would leave nothing: with phi's action weights at 0 the gradient is 0
    blind = jax.tree.map(lambda x: x, state.phi)
    kernel = blind["params"]["mlp"]["hidden"]["dense_0"]["kernel"]
    blind["params"]["mlp"]["hidden"]["dense_0"]["kernel"] = kernel.at[D:].set(0)
    assert all((g == 0).all() for g in jax.tree.leaves(gradient(state.actor, blind)))


def test_actor_loss_does_not_move_the_critic() -> None:
    """The critic after an update depends on the critic's loss only, not on the actor."""
    agent, batch = _crl(), _batch()
    state = _state()
    other = state.replace(actor=jax.tree.map(lambda x: 3 * x + 1, state.actor), log_alpha=jnp.ones(()))
    first, second = (jax.jit(agent.update)(s, batch, KEY)[0] for s in (state, other))
    assert not _moved((first.phi, first.psi), (second.phi, second.psi))
    grad = jax.jit(jax.grad(lambda p: agent.critic_loss(p, batch)[0]))((state.phi, state.psi))
    step, _ = agent.critic_adam.update(grad, state.critic_opt)
    wanted = jax.tree.map(jnp.add, (state.phi, state.psi), step)
    for a, b in zip(jax.tree.leaves(wanted), jax.tree.leaves((first.phi, first.psi)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_update_moves_everything_and_reports_measured_scalars() -> None:
    agent, batch = crl.make(AgentConfig(), NETWORK, SPEC), _batch()
    state = _state()
    new, metrics = jax.jit(agent.update)(state, batch, KEY)
    for name in ("phi", "psi", "actor", "log_alpha", "critic_opt", "actor_opt", "alpha_opt"):
        assert _moved(getattr(state, name), getattr(new, name)), name
    assert all(v.shape == () and jnp.isfinite(v) for v in metrics.values())
    assert set(metrics) == {
        "critic_loss", "actor_loss", "alpha", "entropy", "categorical_accuracy", "logits_pos", "logits_neg",
        "logsumexp", "critic_grad_norm", "actor_grad_norm", "participation_ratio", "distinct_goals",
    }  # fmt: skip
    assert metrics["critic_grad_norm"] > 0 and metrics["actor_grad_norm"] > 0 and metrics["distinct_goals"] == 1
    assert metrics["logits_pos"] != 0 and metrics["logits_neg"] != 0 and 1 <= metrics["participation_ratio"] <= 8


def test_alpha_moves_towards_the_target_entropy() -> None:
    agent = _crl(target_entropy=-0.5)
    assert agent.target_entropy == -0.5 * A
    too_random = jax.grad(alpha_loss)(jnp.zeros(()), jnp.asarray(-5.0), agent.target_entropy)
    too_certain = jax.grad(alpha_loss)(jnp.zeros(()), jnp.asarray(5.0), agent.target_entropy)
    assert too_random > 0 > too_certain  # descent: alpha falls when the entropy is above the target


def test_act_is_the_mode_or_a_sample_within_bounds() -> None:
    agent = crl.make(AgentConfig(), NETWORK, SPEC)
    state, batch = _state(), _batch()
    keys = jax.random.split(KEY)
    mode = [agent.act(state, batch.obs, batch.goal, k, True) for k in keys]
    drawn = [agent.act(state, batch.obs, batch.goal, k, False) for k in keys]
    np.testing.assert_array_equal(*mode)
    assert (drawn[0] != drawn[1]).any() and mode[0].shape == (B, A)
    assert all(jnp.abs(a).max() <= 1 for a in mode + drawn)


def test_deterministic_acting_uses_the_running_mean_of_the_actor() -> None:
    batch, state = _batch(), _state()
    last, averaged = _crl(actor_average=0.0), _crl(actor_average=0.75)
    (plain, _), (mean, _) = (jax.jit(c.update)(state, batch, KEY) for c in (last, averaged))
    for new, old, running in zip(*map(jax.tree.leaves, (plain.actor, state.actor, mean.average)), strict=True):
        np.testing.assert_allclose(running, 0.75 * old + 0.25 * new, atol=1e-6)
    for new, running in zip(*map(jax.tree.leaves, (plain.actor, plain.average)), strict=True):
        np.testing.assert_array_equal(new, running)
    old, new = (averaged.act(s, batch.obs, batch.goal, KEY, True) for s in (state, plain.replace(average=state.actor)))
    np.testing.assert_array_equal(old, new)  # the actor moved, its mean did not


def test_actor_goals() -> None:
    batch, half = _batch(), B // 2
    goals = {kind: np.asarray(pick(batch)) for kind, pick in crl.ACTOR_GOALS.items()}
    np.testing.assert_array_equal(goals["future"], batch.goal)
    np.testing.assert_array_equal(goals["commanded"], batch.commanded)
    for kind in ("mixed", "half_commanded"):
        np.testing.assert_array_equal(goals[kind][:half], batch.goal[:half])
    np.testing.assert_array_equal(goals["mixed"][half:], batch.goal[half - 1 : -1])
    np.testing.assert_array_equal(goals["half_commanded"][half:], batch.commanded[half:])
    state = _state()
    critic = state.phi, state.psi
    losses = {
        float(_crl(actor_goals=kind).actor_loss(state.actor, critic, jnp.ones(()), batch, KEY)[0]) for kind in goals
    }
    assert len(losses) == 4


def test_the_critics_goals_are_blurred_in_units_of_their_scale() -> None:
    batch = jax.tree.map(lambda x: jnp.tile(x, (500,) + (1,) * (x.ndim - 1)), _batch())
    blurred = _crl(critic_goal_noise=0.1).blurred(batch, KEY)
    noise = (blurred.goal - batch.goal) / SPEC.goal_scale
    np.testing.assert_allclose(noise.std(axis=0), 0.1, rtol=0.05)
    np.testing.assert_allclose(noise.mean(axis=0), 0.0, atol=0.005)
    assert not _moved(batch, blurred.replace(goal=batch.goal))
    assert _crl().blurred(batch, KEY) is batch


def test_only_the_critics_goals_are_blurred() -> None:
    state, batch = _state(), _batch()
    noisy, clean = (jax.jit(_crl(critic_goal_noise=n).update)(state, batch, KEY)[0] for n in (0.5, 0.0))
    assert not _moved(noisy.actor, clean.actor)
    assert _moved(noisy.phi, clean.phi)


def test_inputs_are_normalised_by_the_spec() -> None:
    plain = dataclasses.replace(
        SPEC, obs_shift=jnp.zeros(D), obs_scale=jnp.ones(D), goal_shift=jnp.zeros(G), goal_scale=jnp.ones(G)
    )
    ours, theirs = crl.CRL(AgentConfig(), NETWORK, SPEC), crl.CRL(AgentConfig(), NETWORK, plain)
    state, batch = _state(), _batch()
    scaled = batch.replace(obs=batch.obs * 2 + SPEC.obs_shift, goal=batch.goal * 3 + SPEC.goal_shift)
    actions = [c.act(state, b.obs, b.goal, KEY, True) for c, b in ((ours, scaled), (theirs, batch))]
    np.testing.assert_allclose(*actions, atol=1e-5)
    losses = [c.critic_loss((state.phi, state.psi), b)[0] for c, b in ((ours, scaled), (theirs, batch))]
    np.testing.assert_allclose(*losses, rtol=1e-4)


def test_gradient_clipping_bounds_the_step() -> None:
    clipped, state = _crl(max_grad_norm=1e-12), _state()
    state = state.replace(
        critic_opt=clipped.critic_adam.init((state.phi, state.psi)), actor_opt=clipped.actor_adam.init(state.actor)
    )
    new, metrics = jax.jit(clipped.update)(state, _batch(), KEY)
    assert metrics["critic_grad_norm"] > 1e-6  # reported before the clip
    for name in ("phi", "psi", "actor"):
        moved = jax.tree.map(lambda x, y: float(jnp.abs(x - y).max()), getattr(new, name), getattr(state, name))
        # Adam's first step is 3e-4 whatever the gradient, unless its epsilon of 1e-8 dwarfs it
        assert max(jax.tree.leaves(moved)) < 1e-6


def test_the_step_size_halves_over_its_half_life() -> None:
    adam, params = _crl(lr_half_life=10).critic_adam, jnp.zeros(())
    state, steps = adam.init(params), []
    for _ in range(21):
        step, state = adam.update(jnp.ones(()), state, params)  # of a constant gradient Adam's step is the step size
        steps.append(-float(step))
    np.testing.assert_allclose([steps[0], steps[10], steps[20]], [3e-4, 1.5e-4, 0.75e-4], rtol=1e-4)


@pytest.mark.parametrize("loss", list(LOSSES))
def test_training_tells_goals_apart(loss: str) -> None:
    """With goals that are a function of (s, a), accuracy rises from 1/B."""
    agent = crl.make(AgentConfig(loss=loss, critic_lr=3e-3), NETWORK, SPEC)

    def step(state: Any, key: jax.Array) -> tuple[Any, jax.Array]:
        batch = _batch()
        obs = jax.random.normal(key, (B, D))
        batch = batch.replace(obs=obs, goal=obs[:, :G] + batch.action[:, :1])
        state, metrics = agent.update(state, batch, key)
        return state, metrics["categorical_accuracy"]

    _, accuracy = jax.jit(lambda s: jax.lax.scan(step, s, jax.random.split(KEY, 600)))(_state())
    assert accuracy[-50:].mean() > 0.6 > 0.3 > accuracy[:5].mean()


@pytest.mark.parametrize(
    ("field", "value", "wanted"), [("energy", "nrom", "norm"), ("loss", "fwd_infonc", "fwd_infonce")]
)
def test_unknown_names_are_refused_with_the_nearest(field: str, value: str, wanted: str) -> None:
    with pytest.raises(ConfigError, match=f"{field}.*{wanted}"):
        crl.make(AgentConfig(**{field: value}), NETWORK, SPEC)


def test_a_long_run_does_not_overflow_its_counters() -> None:
    agent = crl.make(AgentConfig(), NETWORK, SPEC)
    state = _state()
    last = jnp.iinfo(jnp.int32).max
    old = jax.tree.map(lambda x: jnp.full_like(x, last) if x.dtype == jnp.int32 else x, state)
    new, _ = jax.jit(agent.update)(old, _batch(), KEY)
    assert all(jnp.isfinite(x).all() for x in jax.tree.leaves(new))
    assert all((x == last).all() for x in jax.tree.leaves(new) if x.dtype == jnp.int32)


# Options of the critic and the actor

OPTIONS: dict[str, Any] = {
    "energy": "cosine", "loss": "c_learning", "twin": True, "mask": "same_goal", "mask_radius": 1.0, "bc_weight": 0.25,
    "entropy": "none", "target_tau": 0.1, "critic_goal_noise": 0.01,
}  # fmt: skip
"""Nearly all at once, so that one program is compiled."""


@cache
def _optional() -> tuple[crl.CRL, crl.CRLState]:
    agent = _crl(**OPTIONS)
    return agent, jax.jit(agent.init)(KEY)


def _with_next(seed: int = 0) -> Batch:
    return _batch(seed).replace(next_goal=jax.random.normal(jax.random.key(seed + 100), (B, G)))


def test_an_update_with_every_option() -> None:
    agent, state = _optional()
    new, metrics = jax.jit(agent.update)(state, _with_next(), KEY)
    assert all(v.shape == () and jnp.isfinite(v) for v in metrics.values())
    assert 0 < metrics["masked_negatives"] < 1 and metrics["temperature"] == 1 and metrics["alpha"] == 0
    for name in ("phi", "psi", "actor", "critic_opt", "actor_opt", "target"):
        assert _moved(getattr(state, name), getattr(new, name)), name
    for name in ("log_alpha", "alpha_opt"):  # no entropy bonus, none to tune
        assert not _moved(getattr(state, name), getattr(new, name)), name
    assert (new.phi["params"][crl.TEMPERATURE] != 0).all()
    pairs = zip(*map(jax.tree.leaves, (state.target, (new.phi, new.psi), new.target)), strict=True)
    for old, learned, target in pairs:
        np.testing.assert_allclose(target, 0.9 * old + 0.1 * learned, atol=1e-6)
        assert old.shape[0] == 2  # twins


def test_twin_critics_differ_and_the_smaller_is_climbed() -> None:
    agent, state = _optional()
    batch, critic = _batch(), (state.phi, state.psi)
    both = agent.value(critic, batch.obs, batch.action, batch.goal)
    single = _crl(**OPTIONS | {"twin": False, "loss": "binary_nce"})
    halves = [jax.tree.map(lambda leaf, k=k: leaf[k], critic) for k in (0, 1)]
    one = [single.value(half, batch.obs, batch.action, batch.goal) for half in halves]
    np.testing.assert_allclose(both, one, atol=1e-5)
    assert (one[0] < one[1]).any() and (one[0] > one[1]).any()
    cloning = _crl(**OPTIONS | {"bc_weight": 1.0}).actor_loss(state.actor, critic, jnp.zeros(()), batch, KEY)[0]
    mixture = agent.actor_loss(state.actor, critic, jnp.zeros(()), batch, KEY)[0]
    climbing = _crl(**OPTIONS | {"bc_weight": 0.0}).actor_loss(state.actor, critic, jnp.zeros(()), batch, KEY)[0]
    mean, log_std = agent.actor(state.actor, batch.obs, batch.goal)
    action, _ = crl.sample_and_log_prob(jax.random.normal(KEY, mean.shape), mean, log_std)
    smaller = agent.value(critic, batch.obs, action, batch.goal).min(axis=0)
    np.testing.assert_allclose(climbing, -smaller.mean(), rtol=1e-4)
    np.testing.assert_allclose(cloning, -crl.log_prob(batch.action, mean, log_std).mean(), rtol=1e-4)
    np.testing.assert_allclose(mixture, 0.75 * climbing + 0.25 * cloning, rtol=1e-4)


def test_the_temperature_divides_the_energy() -> None:
    agent, state = _optional()
    batch = _batch()
    warm = {"params": state.phi["params"] | {crl.TEMPERATURE: jnp.full(2, jnp.log(2.0))}}
    first, second = (agent.value((phi, state.psi), batch.obs, batch.action, batch.goal) for phi in (state.phi, warm))
    np.testing.assert_allclose(second, first / 2, rtol=1e-4)
    assert crl.TEMPERATURE not in _state().phi["params"], "of cosine alone"


def test_a_bootstrapped_loss_contrasts_next_goals_and_looks_at_the_target_alone() -> None:
    agent, state = _optional()
    agent = _crl(**OPTIONS | {"critic_goal_noise": 0.0})
    batch = _with_next()
    contrasted, extras = agent.contrasted(state, batch, KEY)
    np.testing.assert_array_equal(contrasted.goal, batch.next_goal)
    mean, log_std = agent.actor(state.actor, batch.next_obs, jnp.roll(batch.next_goal, -1, axis=0))
    noise = jax.random.normal(jax.random.split(KEY)[1], mean.shape)
    action, _ = crl.sample_and_log_prob(noise, mean, log_std)
    value = agent.value(state.target, batch.next_obs, action, jnp.roll(batch.next_goal, -1, axis=0))
    np.testing.assert_allclose(extras.weight, jnp.exp(value.min(axis=0)), rtol=1e-4)
    other = state.replace(phi=jax.tree.map(lambda x: 2 * x + 1, state.phi))
    np.testing.assert_array_equal(agent.contrasted(other, batch, KEY)[1].weight, extras.weight)


@pytest.mark.parametrize(("entropy", "alpha"), [("none", 0.0), ("fixed", 0.3), ("auto", 1.0)])
def test_the_entropy_coefficient(entropy: str, alpha: float) -> None:
    assert float(_crl(entropy=entropy, alpha=0.3).alpha(_state().log_alpha)) == pytest.approx(alpha)


def test_what_does_not_go_together_is_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match=r"^loss='c_learning': bootstraps .*; take twin=True$"):
        _crl(loss="c_learning")
    with pytest.raises(ConfigError, match=r"^logits_chunk=8: loss='c_learning' has no chunked form; take 0, or fwd_"):
        _crl(loss="c_learning", twin=True, logits_chunk=8)
