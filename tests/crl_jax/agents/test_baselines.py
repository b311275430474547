"""SAC and TD3: their parts, probes with known answers, rewards and hindsight, and whole runs of the presets."""

from __future__ import annotations

import ast
import dataclasses
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs import PRESETS
from configs.baselines import BASELINES
from crl_jax import agents, loop, runs
from crl_jax.agents import sac, td3
from crl_jax.config import (
    AgentConfig,
    BaselineConfig,
    Config,
    ConfigError,
    EnvConfig,
    NetworkConfig,
    TrainConfig,
    with_overrides,
)
from crl_jax.config.learner import READERS
from crl_jax.evaluate import evaluate
from crl_jax.experience import buffer, rewards
from crl_jax.experience.rollout import agent_policy
from crl_jax.runs import checkpoint
from crl_jax.runs.loggers import read_metrics
from crl_jax.train import train
from crl_jax.trainer import build
from crl_jax.types import Batch
from envs_mjx.base import EnvSpec
from tests.crl_jax.test_train import SMALL, assert_same_bits, final_state
from tests.support.probe import PROBES, Line, Paying

KEY = jax.random.PRNGKey(0)
D, G, A, B = 5, 3, 2, 16
SPEC = EnvSpec(D, G, A, 50, jnp.arange(1.0, D + 1), 2 * jnp.ones(D), jnp.arange(1.0, G + 1), jnp.full(G, 3.0))
NETWORK = NetworkConfig(width=16, critic_depth=1, actor_depth=1)
methods = pytest.mark.parametrize("method", ["sac", "td3"])


def _config(method: str, **changes: Any) -> Config:
    return with_overrides(Config(network=NETWORK, agent=AgentConfig(method=method)), **changes)


def _agent(method: str, **changes: Any) -> Any:
    return {"sac": sac.SAC, "td3": td3.TD3}[method](_config(method, **changes), SPEC)


def _batch(seed: int = 0) -> Batch:
    keys = jax.random.split(jax.random.key(seed), 6)
    shapes = ((B, D), (B, A), (B, D), (B, G), (B, G))
    obs, action, next_obs, goal, commanded = (jax.random.normal(*pair) for pair in zip(keys, shapes, strict=False))
    ints = jnp.ones(B, jnp.int32)
    reward = jax.random.normal(keys[5], (B,))
    return Batch(obs, jnp.tanh(action), next_obs, goal, commanded, ints, ints, ints, reward=reward)


@cache
def _after(method: str, updates: int) -> list[Any]:
    """The agent's states [before the first update, after each of the `updates`], and then the last metrics."""
    agent = _agent(method)
    update = jax.jit(agent.update)
    states = [jax.jit(agent.init)(KEY)]
    for index in range(updates):
        state, metrics = update(states[-1], _batch(index), jax.random.fold_in(KEY, index))
        states.append(state)
    return [*states, metrics]


def _same(left: Any, right: Any) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True))


def _between(old: Any, new: Any, share: float, found: Any) -> None:
    for a, b, c in zip(*map(jax.tree.leaves, (old, new, found)), strict=True):
        np.testing.assert_allclose(c, (1 - share) * a + share * b, rtol=1e-5, atol=1e-6)


def test_sac_bootstraps_from_the_soft_value_of_the_lower_q() -> None:
    agent, batch = _agent("sac"), _batch()
    state = jax.jit(agent.init)(KEY).replace(log_alpha=jnp.log(0.3))
    action, log_prob = agent._draw(state.actor, batch.next_obs, batch.goal, KEY)
    lower = agent.q(state.target, batch.next_obs, batch.goal, action).min(axis=0)
    wanted = batch.reward + 0.99 * (lower - 0.3 * log_prob)
    np.testing.assert_allclose(agent.targets(state, batch, KEY), wanted, rtol=1e-5, atol=1e-5)
    assert (agent.targets(state, batch.replace(goal=-batch.goal), KEY) != wanted).all(), "it sees the goal"


def test_td3_bootstraps_from_the_lower_q_at_a_smoothed_action() -> None:
    batch, exact = _batch(), _agent("td3", target_noise=0.0)
    follower = jax.jit(exact.init)(KEY).follower
    action = exact._policy(follower.target_actor, batch.next_obs, batch.goal)
    lower = exact.q(follower.target_critic, batch.next_obs, batch.goal, action).min(axis=0)
    np.testing.assert_allclose(exact.targets(follower, batch, KEY), batch.reward + 0.99 * lower, rtol=1e-5)
    noisy, seen = _agent("td3", target_noise=100.0, noise_clip=0.1), []
    noisy.q = lambda params, obs, goal, action: seen.append(action) or jnp.zeros((2, B))
    noisy.targets(follower, batch, KEY)
    np.testing.assert_allclose(np.abs(seen[0] - jnp.clip(action, -0.9, 0.9)).max(), 0.1, atol=1e-5)


def test_sac_moves_everything_and_its_targets_follow() -> None:
    before, after, metrics = _after("sac", 1)
    for name in ("critic", "target", "actor", "average", "log_alpha"):
        assert not _same(getattr(before, name), getattr(after, name)), name
    _between(before.target, after.critic, 0.005, after.target)
    assert _same(after.average, after.actor), "actor_average 0: the last"
    assert set(metrics) == {
        "critic_loss", "actor_loss", "alpha", "entropy", "critic_grad_norm", "actor_grad_norm",
        "q", "q_target", "reward",
    }  # fmt: skip
    assert all(v.shape == () and jnp.isfinite(v) for v in metrics.values())
    assert metrics["reward"] == _batch().reward.mean()


def test_td3_moves_its_actor_and_targets_every_second_update() -> None:
    *states, metrics = _after("td3", 4)
    moves = [not _same(a.follower, b.follower) for a, b in pairwise(states)]
    assert moves == [True, False, True, False]
    assert not any(_same(a.critic, b.critic) for a, b in pairwise(states))
    old, new = states[2], states[3]
    _between(old.follower.target_critic, new.critic, 0.005, new.follower.target_critic)
    _between(old.follower.target_actor, new.follower.actor, 0.005, new.follower.target_actor)
    assert set(metrics) == {
        "critic_loss", "actor_loss", "critic_grad_norm", "actor_grad_norm", "q", "q_target", "reward",
    }  # fmt: skip
    assert metrics["actor_loss"] == new.follower.told["actor_loss"] != 0 < metrics["actor_grad_norm"]


@methods
def test_the_actors_loss_leaves_the_critic_alone_and_goes_through_the_action(method: str) -> None:
    agent, batch, state = _agent(method), _batch(), _after(method, 1)[0]
    if method == "sac":
        actor, loss = state.actor, lambda a, c: agent.actor_loss(a, c, jnp.zeros(()), batch, KEY)[0]
    else:
        actor, loss = state.follower.actor, lambda a, c: agent.actor_loss(a, c, batch)
    gradient = jax.jit(jax.grad(loss))
    assert all(jnp.linalg.norm(g) > 0 for g in jax.tree.leaves(gradient(actor, state.critic)))
    blind = jax.tree.map(jnp.copy, state.critic)  # with no weight on the action there is nothing to climb
    for one in blind:
        kernel = one["params"]["mlp"]["hidden"]["dense_0"]["kernel"]
        one["params"]["mlp"]["hidden"]["dense_0"]["kernel"] = kernel.at[D + G :].set(0)
    assert all((g == 0).all() for g in jax.tree.leaves(gradient(actor, blind)))


@methods
def test_act_is_the_mode_or_drawn_within_bounds(method: str) -> None:
    agent, batch, state = _agent(method), _batch(), _after(method, 1)[0]
    keys = jax.random.split(KEY)
    mode = [agent.act(state, batch.obs, batch.goal, key, True) for key in keys]
    drawn = [agent.act(state, batch.obs, batch.goal, key, False) for key in keys]
    np.testing.assert_array_equal(*mode)
    assert (drawn[0] != drawn[1]).any() and mode[0].shape == (B, A)
    assert all(jnp.abs(action).max() <= 1 for action in mode + drawn)


# -- rewards and hindsight ---------------------------------------------------------------------------------------------


def test_rewards_are_metrics_shifted_and_scaled() -> None:
    metrics = {"success": jnp.array([0.0, 1.0]), "official_reward": jnp.array([2.0, 10.0])}
    wanted = {"sparse": [0, 3], "negative": [-3, 0], "dense": [6, 30]}
    for name, values in wanted.items():
        paid = rewards.of_step(BaselineConfig(reward=name, reward_scale=3.0), metrics)  # type: ignore[arg-type]
        np.testing.assert_array_equal(paid, values)


@pytest.mark.slow
@given(
    seed=st.integers(0, 1000),
    share=st.floats(0, 1),
    size=st.integers(1, 40),
    kind=st.sampled_from(["sparse", "negative"]),
)
def test_hindsight_pays_for_its_goals_and_leaves_the_others(seed: int, share: float, size: int, kind: Any) -> None:
    env, keys = Line(1, horizon=5), jax.random.split(jax.random.key(seed), 4)
    obs, goal, commanded = (jax.random.normal(key, (3, size, 1)) for key in keys[:3])
    ints, paid = jnp.ones((3, size), jnp.int32), jax.random.normal(keys[3], (3, size))
    batch = Batch(obs, obs, obs, goal, commanded, ints, ints, ints, next_goal=obs, reward=paid)
    config = BaselineConfig(reward=kind, her_share=share)
    learned = rewards.hindsight(config, env, batch)
    relabelled = round(share * size)
    np.testing.assert_array_equal(learned.goal[:, :relabelled], goal[:, :relabelled])
    np.testing.assert_array_equal(learned.goal[:, relabelled:], commanded[:, relabelled:])
    np.testing.assert_array_equal(learned.reward[:, relabelled:], paid[:, relabelled:])
    reached = np.abs(np.asarray(obs - goal))[..., 0] <= 0.5
    np.testing.assert_array_equal(
        learned.reward[:, :relabelled], (reached.astype(float) - (kind == "negative"))[:, :relabelled]
    )


def test_the_ring_keeps_the_reward_of_each_step_only_where_something_learns_from_it() -> None:
    """A sampled transition's reward is its success at `next_obs`."""
    env, config = Line(8, horizon=5), TrainConfig(unroll_length=6, replay_capacity=8 * 24, min_replay=8 * 24)
    paying = agents.make(_config("sac", width=4), env.spec)
    state = loop.init(env, paying, config, KEY)
    state = jax.jit(loop.make_warm_up(env, config, reward=paying.reward))(state)
    batch = buffer.sample(state.ring, KEY, (500,), 0.9, env.achieved_goal)
    np.testing.assert_array_equal(batch.reward, env.goal_success(batch.next_obs, batch.commanded))
    assert 0.05 < batch.reward.mean() < 0.95
    steps = (state.ring.obs[:6], state.ring.action[:6], state.ring.commanded[:6], state.ring.episode[:6])
    with pytest.raises(ValueError, match="reward: none given, one wanted"):
        jax.eval_shape(buffer.insert, state.ring, *steps)
    without = jax.eval_shape(lambda: loop.init(env, agents.make(_config("crl"), env.spec), config, KEY)).ring
    assert without.reward is None and len(jax.tree.leaves(without)) == len(jax.tree.leaves(state.ring)) - 1


# -- probes ------------------------------------------------------------------------------------------------------------

DISCOUNT = 0.8
LEARNER = Config(
    env=EnvConfig(num_envs=16),
    network=NetworkConfig(width=32, critic_depth=2, actor_depth=1, layer_norm=False),
    agent=AgentConfig(discount=DISCOUNT, critic_lr=3e-3, actor_lr=3e-3, target_tau=0.05),
    baseline=BaselineConfig(reward="dense"),
    train=TrainConfig(
        unroll_length=8,
        updates_per_iteration=40,
        batch_size=64,
        replay_capacity=128 * 16,
        min_replay=256,
        iterations_per_round=30,
    ),
)


@cache
def _probed(method: str) -> tuple[Any, Any]:
    """An agent, and its states after 1,200 updates on each probe. One program trains all; leading axis: the probes."""
    changes = {"alpha_lr": 3e-2} if method == "sac" else {}
    config = with_overrides(LEARNER, method=method, **changes).validate()
    env = Paying(config.env.num_envs, horizon=20)
    agent = agents.make(config, env.spec)

    def learned(key: jax.Array, probe: jax.Array) -> Any:
        state = loop.init(env, agent, config.train, key)
        memory = {"probe": jnp.full(env.num_envs, probe, jnp.int32)}
        state = state.replace(env=state.env.replace(memory=memory))
        state = loop.make_warm_up(env, config.train, reward=agent.reward)(state)
        return loop.make_round(env, agent, config)(state)[0].agent

    states = jax.jit(jax.vmap(learned))(jax.random.split(KEY, len(PROBES)), jnp.arange(len(PROBES)))
    return {"sac": sac.SAC, "td3": td3.TD3}[method](config, env.spec), states


def _answers(method: str, probe: str) -> tuple[Any, Any]:
    """Two functions: (obs, action, goal) -> mean of both Q, and (obs, goal) -> the policy's mode."""
    agent, states = _probed(method)
    state = jax.tree.map(lambda leaf: leaf[list(PROBES).index(probe)], states)

    def rows(*values: float) -> list[jax.Array]:
        return [jnp.full((1, 1), value) for value in values]

    def value(obs: float, action: float, goal: float) -> float:
        at, moved, aim = rows(obs, action, goal)
        return float(agent.q(state.critic, at, aim, moved).mean())

    return value, lambda obs, goal: float(agent.act(state, *rows(obs, goal), KEY, True)[0, 0])


@pytest.mark.slow
@methods
def test_probe_constant_reward_is_worth_its_discounted_sum(method: str) -> None:
    value, _ = _answers(method, "constant")
    for action, goal in ((0.0, 1.0), (0.7, -1.0), (-0.7, 1.0)):
        assert value(0.0, action, goal) == pytest.approx(1 / (1 - DISCOUNT), rel=0.06)


@methods
def test_probe_reward_by_observation(method: str) -> None:
    value, _ = _answers(method, "obs")
    assert value(1.0, 0.0, 1.0) == pytest.approx(1.0, abs=0.2) and value(-1.0, 0.0, 1.0) == pytest.approx(-1, abs=0.2)


@methods
def test_probe_reward_by_action(method: str) -> None:
    value, act = _answers(method, "action")
    assert act(0.0, 1.0) == pytest.approx(0.5, abs=0.12)
    assert value(0.0, 0.5, 1.0) - value(0.0, -0.5, 1.0) == pytest.approx(1.0, abs=0.25)


@methods
def test_probe_reward_by_the_action_before(method: str) -> None:
    value, act = _answers(method, "delayed")
    assert act(0.0, 1.0) == pytest.approx(0.5, abs=0.15)
    assert value(0.5, 0.5, 1.0) - value(0.5, -0.5, 1.0) == pytest.approx(DISCOUNT, abs=0.25)


@methods
def test_probe_reward_by_goal(method: str) -> None:
    _, act = _answers(method, "goal")
    assert act(0.0, 1.0) == pytest.approx(0.5, abs=0.15) and act(0.0, -1.0) == pytest.approx(-0.5, abs=0.15)


@pytest.mark.parametrize(
    ("method", "reward"), [("sac", "sparse"), pytest.param("td3", "negative", marks=pytest.mark.slow)]
)
def test_hindsight_learns_to_reach_without_a_dense_reward(method: str, reward: str) -> None:
    """On `Line` with only a success reward and 80% relabelled goals, at least 95% of episodes end at their goal."""
    config = with_overrides(LEARNER, method=method, reward=reward, her_share=0.8).validate()
    env = Line(config.env.num_envs, horizon=12)
    agent = agents.make(config, env.spec)

    def learned(key: jax.Array) -> Any:
        state = loop.init(env, agent, config.train, key)
        state = loop.make_warm_up(env, config.train, reward=agent.reward)(state)
        state = loop.make_round(env, agent, config)(state)[0].agent
        return evaluate(Line(64, horizon=12), agent_policy(agent, state, True), key)

    assert jax.jit(learned)(KEY)["success_final"] >= 0.95


# -- settings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"method": "sca"}, r"method='sca': one of crl, sac, td3"),
        ({"reward": "dense"}, r"reward='dense': method='crl' does not read it; take 'sparse', or method sac or td3"),
        ({"method": "sac", "energy": "dot"}, "energy='dot': method='sac' does not read it"),
        ({"method": "sac", "policy_delay": 3}, "policy_delay=3: .* or method td3"),
        ({"method": "td3", "alpha_lr": 1e-3}, "alpha_lr=0.001: .* or method crl or sac"),
        (
            {"method": "sac", "reward": "dense", "her_share": 0.5},
            "her_share=0.5: reward='dense' is no function of goals",
        ),
        ({"method": "sac", "her_share": 1.5}, "her_share=1.5: must lie between 0 and 1"),
        ({"method": "sac", "reward_scale": 0.0}, "reward_scale=0.0: must be positive"),
        ({"method": "sac", "target_tau": 0.0}, "target_tau=0.0"),
        ({"method": "td3", "policy_delay": 0}, "policy_delay=0"),
        ({"method": "td3", "target_noise": -1.0}, "target_noise=-1.0"),
    ],
)
def test_settings_that_do_not_fit_the_method_are_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        with_overrides(Config(), **changes).validate()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("task", "changes", "told"),
    [
        ("point_U", {"reward": "dense"}, "reward='dense': point_U has no such reward"),
        ("drawer-close", {"her_share": 0.8}, "her_share=0.8: task='drawer-close': native success .* take 0"),
    ],
)
def test_a_reward_that_the_task_lacks_is_refused(task: str, changes: dict[str, Any], told: str) -> None:
    config = with_overrides(Config(), task=task, method="sac", physics="c", num_envs=2, **changes)
    config = with_overrides(config, replay_capacity=124_000, batch_size=2)
    with pytest.raises(ConfigError, match=told) as caught:
        build(config)
    assert "\n" not in str(caught.value)


@methods
def test_a_field_that_a_method_does_not_read_is_refused(method: str) -> None:
    """READERS must agree with the source files: a method reads exactly those config fields that its files name."""
    folder = Path(agents.__file__).parent
    sources = [folder / f"{method}.py", folder / "common.py", folder.parent / "experience" / "rewards.py"]
    named = {
        node.attr
        for path in sources
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
    } | {"method"}
    for leaf in (*dataclasses.fields(AgentConfig), *dataclasses.fields(BaselineConfig)):
        assert (method in READERS.get(leaf.name, (method,))) == (leaf.name in named), leaf.name


def test_a_config_from_before_the_baselines_loads() -> None:
    values = PRESETS["reach_cpu"].to_dict()
    del values["baseline"], values["agent"]["method"]
    assert Config.from_dict(values) == PRESETS["reach_cpu"]


# -- whole runs --------------------------------------------------------------------------------------------------------


def _small(preset: str, folder: Path, **changes: Any) -> Config:
    task = "point_U" if PRESETS[preset].baseline.her_share else "reach"
    small = {**SMALL, "total_env_steps": 240, "task": task, "runs": str(folder), "name": preset}
    return with_overrides(PRESETS[preset], **{**small, **changes})


@pytest.mark.slow
@pytest.mark.parametrize("preset", BASELINES)
def test_every_preset_trains_two_iterations(preset: str, tmp_path: Path) -> None:
    result = train(_small(preset, tmp_path), console=False)
    assert result.counters.updates == 12 and set(result.evaluation) >= {"success_any", "success_final"}
    last = [record for record in read_metrics(result.folder) if "train/critic_loss" in record][-1]
    assert all(np.isfinite(last[f"train/{name}"]) for name in ("q", "q_target", "reward", "actor_grad_norm"))


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["sac_her_cpu", "td3_her_cpu"])
def test_resume_equals_the_uninterrupted_run_to_the_last_bit(preset: str, tmp_path: Path) -> None:
    whole = train(_small(preset, tmp_path, name="whole", total_env_steps=400), console=False)
    half = train(_small(preset, tmp_path, name="half"), console=False)
    config = runs.resume(half.folder, with_overrides(half.config, total_env_steps=400))
    resumed = train(config, resume=half.folder, console=False)
    assert checkpoint.latest(resumed.folder / runs.CHECKPOINTS) == 400
    assert_same_bits(final_state(resumed.folder), final_state(whole.folder))


@pytest.mark.slow
@pytest.mark.parametrize("preset", BASELINES)
def test_the_arm_learns_to_reach(preset: str, tmp_path: Path) -> None:
    config = with_overrides(PRESETS[preset], runs=str(tmp_path), video=False)
    assert train(config, console=False).evaluation["success_final"] >= 0.9
