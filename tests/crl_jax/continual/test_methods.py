"""The parts of continual methods against their equations, worked out in NumPy."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crl_jax import continual
from crl_jax.config.continual import READS_AT_END
from crl_jax.continual import cbp, cka_rl, clonex, componet, masknet, packnet, regularised, trees
from crl_jax.continual.method import Base, Inputs, Stepped
from crl_jax.networks.residual import layer_norm
from tests.support.continual import PLAIN, RESIDUAL, SIZES, SMALL, inputs, sequence

KEY = jax.random.key(0)
LAST = SIZES.tasks - 1


def softmax(x: np.ndarray) -> np.ndarray:
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


# PackNet


@settings(max_examples=15)
@given(st.lists(st.integers(-4, 4), min_size=12, max_size=12), st.lists(st.booleans(), min_size=12, max_size=12))
def test_packnet_keeps_an_exact_share_of_the_largest(weights: list[int], free: list[bool]) -> None:
    for parts in (1, 3):
        kept = np.asarray(packnet.largest(jnp.array(weights, jnp.float32), jnp.array(free), jnp.array(parts)))
        free_, size = np.array(free), np.abs(weights)
        assert kept.sum() == -(-free_.sum() // parts) and not (kept & ~free_).any()
        left = free_ & ~kept
        assert not left.any() or size[kept].min() >= size[left].max()


def test_packnet_gives_each_task_an_equal_share_and_freezes_biases() -> None:
    _, tasks = sequence("packnet", reset=False)
    owner = tasks[LAST].memory.owner["params"]["mlp"]["hidden"]["dense_1"]["kernel"]
    shares = [(owner == task).mean() for task in range(SIZES.tasks)]
    np.testing.assert_allclose(shares, 1 / SIZES.tasks, atol=0.02)
    for number in range(LAST):
        here, there = (tasks[i].params["params"]["mlp"]["hidden"] for i in (number, LAST))
        mine = tasks[number].memory.owner["params"]["mlp"]["hidden"]["dense_1"]["kernel"] == number
        assert mine.any() and np.array_equal(here["dense_1"]["kernel"][mine], there["dense_1"]["kernel"][mine])
        assert np.array_equal(here["dense_0"]["bias"], there["dense_0"]["bias"])
        assert np.array_equal(here["norm_0"]["scale"], there["norm_0"]["scale"])
    pruned = tasks[0].params["params"]["mlp"]["hidden"]["dense_1"]["kernel"]
    free = tasks[0].memory.owner["params"]["mlp"]["hidden"]["dense_1"]["kernel"] == SIZES.tasks
    assert not pruned[free].any() and pruned[~free].all()  # Retraining leaves what was pruned at 0.


# CKA-RL


def pool_of(*vectors: list[float], size: int) -> cka_rl.Pool:
    rows = np.zeros((size, len(vectors[0])), np.float32)
    rows[: len(vectors)] = vectors
    return cka_rl.Pool({"a": jnp.array(rows[:, :1]), "b": jnp.array(rows[:, 1:])}, jnp.array(len(vectors)))


def rows_of(pool: cka_rl.Pool) -> np.ndarray:
    return np.concatenate([pool.vectors["a"], pool.vectors["b"]], axis=1)[: int(pool.count)]


def test_cka_rl_weighs_the_vectors_in_use() -> None:
    pool, beta = pool_of([1, 0, 0], [0, 2, 0], size=3), jnp.array([0.0, 1.0, 50.0])
    weights = softmax(np.array([0.0, 1.0]))
    known = cka_rl.combination(pool, beta)
    np.testing.assert_allclose(known["a"], [weights[0]], rtol=1e-6)
    np.testing.assert_allclose(known["b"], [2 * weights[1], 0], rtol=1e-6)
    gradient = jax.grad(lambda b: cka_rl.combination(pool.replace(count=jnp.array(0)), b)["a"][0])(beta)
    np.testing.assert_array_equal(gradient, 0)


@settings(max_examples=10)
@given(st.lists(st.lists(st.floats(-1, 1, width=32), min_size=3, max_size=3), min_size=5, max_size=5))
def test_cka_rl_never_keeps_more_and_merges_to_the_mean(vectors: list[list[float]]) -> None:
    size = 2
    pool = pool_of(vectors[0], size=size)
    for vector in vectors[1:]:
        before = np.concatenate([rows_of(pool), np.array([vector], np.float32)])
        pool = cka_rl.pushed(pool, {"a": jnp.array(vector[:1]), "b": jnp.array(vector[1:])})
        after = rows_of(pool)
        assert len(after) <= size
        if len(before) <= size:
            np.testing.assert_array_equal(after, before)
            continue
        unit = before / np.maximum(np.linalg.norm(before, axis=1, keepdims=True), 1e-12)
        cosine = unit @ unit.T
        possible = [
            np.concatenate([np.delete(before, (i, j), axis=0), before[[i, j]].mean(axis=0, keepdims=True)])
            for i in range(size + 1)
            for j in range(i + 1, size + 1)
            if cosine[i, j] >= np.max(cosine[np.triu_indices(size + 1, 1)]) - 1e-5
        ]
        assert any(np.allclose(sorted(after.tolist()), sorted(one.tolist()), atol=1e-6) for one in possible)


@pytest.mark.slow
def test_cka_rl_adapts_what_it_is_told_to() -> None:
    def trunk(name: str, number: int) -> np.ndarray:
        config = dataclasses.replace(SMALL, adapt="heads", trunk=name)
        _, tasks = sequence("cka_rl", config=config, reset=False)
        return tasks[LAST].memory.finished["params"]["mlp"]["hidden"]["dense_0"]["kernel"][number]

    assert np.array_equal(trunk("frozen", 0), trunk("frozen", 1)) and trunk("frozen", 0).any()
    assert not np.array_equal(trunk("finetune", 0), trunk("finetune", 1))
    counts = [int(left.memory.pool.count) for left in sequence("cka_rl")[1]]
    assert counts == [0, 0, 1]  # The pool of one starts with the second task's vector.


# CompoNet


def actor_in_numpy(params, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The plain actor of `PLAIN`: Dense, LayerNorm, swish, twice; a linear head."""
    body = jax.tree.map(np.asarray, params["params"]["mlp"])
    for index in range(2):
        x = x @ body["hidden"][f"dense_{index}"]["kernel"] + body["hidden"][f"dense_{index}"]["bias"]
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
        x = x * body["hidden"][f"norm_{index}"]["scale"] + body["hidden"][f"norm_{index}"]["bias"]
        x = x / (1 + np.exp(-x))
    mean, raw = np.split(x @ body["head"]["kernel"] + body["head"]["bias"], 2, axis=-1)
    return mean, -5 + 3.5 * (np.tanh(raw) + 1)


def componet_in_numpy(units: list, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """CompoNet's mean and log_std for states (B, D), by the equations of the paper, module by module."""
    phi: list[np.ndarray] = []
    for unit in units:
        weights = {
            name: (np.asarray(unit[name]["kernel"]), np.asarray(unit[name]["bias"])) for name in componet.PROJECTIONS
        }

        def project(name: str, x: np.ndarray, weights=weights) -> np.ndarray:
            return x @ weights[name][0] + weights[name][1]

        outputs = []
        for row, one in enumerate(state):
            tentative, read = np.zeros(SIZES.action), np.zeros(SMALL.attention_size)
            if phi:
                means = np.stack([proposal[row] for proposal in phi])
                encoding = componet.positions(len(phi) + 1, SIZES.action)
                logits = project("out_query", one) @ project("out_key", means + encoding[:-1]).T
                tentative = softmax(logits / np.sqrt(SMALL.attention_size)) @ means
                proposed = np.concatenate([means, tentative[None]])
                logits = project("in_query", one) @ project("in_key", proposed + encoding).T
                read = softmax(logits / np.sqrt(SMALL.attention_size)) @ project("in_value", proposed)
            mean, log_std = actor_in_numpy(unit["policy"], np.concatenate([one, read])[None])
            outputs.append((tentative + mean[0], log_std[0]))
        phi.append(np.stack([mean for mean, _ in outputs]))
    return phi[-1], np.stack([log_std for _, log_std in outputs])


def test_componet_is_its_equations() -> None:
    _, tasks = sequence("componet")
    probe = inputs(jax.random.key(1), 4)
    state = np.concatenate([probe.obs, probe.goal], axis=-1)
    for number, left in enumerate(tasks):
        units = [tasks[earlier].params for earlier in range(number + 1)]
        mean, log_std = componet_in_numpy(units, state)
        np.testing.assert_allclose(left.settled[number][0], mean, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(left.settled[number][1], log_std, rtol=1e-4, atol=1e-5)


def test_positions_are_those_of_attention_is_all_you_need() -> None:
    np.testing.assert_allclose(
        componet.positions(2, 4),
        [[0, 1, 0, 1], np.array([np.sin(1), np.cos(1), np.sin(0.01), np.cos(0.01)])],
        rtol=1e-6,
    )


# ProgNet


def test_prognet_reads_earlier_columns_and_starts_as_the_plain_actor() -> None:
    _, tasks = sequence("prognet")
    base, probe = Base(PLAIN, SIZES), inputs(jax.random.key(1), 4)
    np.testing.assert_allclose(tasks[0].settled[0], jnp.stack(base(tasks[0].params.actor, probe)), rtol=1e-4, atol=1e-5)

    def hidden(column, others: list) -> list[np.ndarray]:
        """Both hidden layers of a column, (B, H)."""
        body, x, read = column.actor["params"]["mlp"]["hidden"], np.concatenate([probe.obs, probe.goal], -1), []
        for index in range(2):
            x = x @ body[f"dense_{index}"]["kernel"] + body[f"dense_{index}"]["bias"]
            if index:
                x = x + sum(other[0] @ column.hidden[number, 0] for number, other in enumerate(others))
            x = np.asarray(layer_norm(jnp.asarray(x), body[f"norm_{index}"]["scale"], body[f"norm_{index}"]["bias"]))
            x = x / (1 + np.exp(-x))
            read.append(x)
        return read

    columns: list = []
    for left in tasks:
        columns.append(hidden(left.params, columns))
    head = tasks[LAST].params.actor["params"]["mlp"]["head"]
    output = columns[LAST][1] @ head["kernel"] + head["bias"]
    output = output + sum(columns[number][1] @ tasks[LAST].params.head[number] for number in range(LAST))
    np.testing.assert_allclose(tasks[LAST].settled[LAST][0], output[:, : SIZES.action], rtol=1e-4, atol=1e-5)


# MaskNet


def test_masknet_trains_scores_alone_and_masks_every_layer() -> None:
    _, tasks = sequence("masknet", reset=False)
    for left in tasks[1:]:
        for one, other in zip(
            jax.tree.leaves(left.memory.weights), jax.tree.leaves(tasks[0].memory.weights), strict=True
        ):
            assert np.array_equal(one, other)
    body = tasks[0].memory.weights["params"]["mlp"]
    np.testing.assert_allclose(np.abs(body["hidden"]["dense_1"]["kernel"]), np.sqrt(2 / 8), rtol=1e-6)
    np.testing.assert_allclose(np.abs(body["head"]["kernel"]), np.sqrt(2 / 8), rtol=1e-6)
    assert tasks[LAST].params.beta.any() and not tasks[0].params.beta.any()  # Nothing to weigh in the first task.


def test_masks_are_binary_and_pass_the_gradient() -> None:
    scores = jnp.array([-0.3, 0.0, 0.7, 1e-9])
    value, gradient = jax.value_and_grad(lambda s: jnp.sum(jnp.arange(4.0) * masknet.straight_through(s)))(scores)
    np.testing.assert_array_equal(masknet.straight_through(scores), [0, 1, 1, 1])
    assert value == 6
    np.testing.assert_array_equal(gradient, [0, 1, 2, 3])


def test_consolidated_scores_are_the_combination() -> None:
    _, tasks = sequence("masknet")
    left = tasks[1]
    share = softmax(left.params.beta[:2])
    first, own = (
        tree["params"]["mlp"]["head"]["kernel"]
        for tree in (jax.tree.map(lambda leaf: leaf[0], left.memory.finished), left.params.own)
    )
    stored = tasks[2].memory.finished["params"]["mlp"]["head"]["kernel"][1]
    np.testing.assert_allclose(stored, share[0] * first + share[1] * own, rtol=1e-5, atol=1e-6)


# CBP


def cbp_layer(key: jax.Array) -> tuple[cbp.Layer, jax.Array]:
    keys = jax.random.split(key, 5)
    shapes = ((5, 4), (4,), (4, 3), (3,))
    return cbp.Layer(*(jax.random.normal(k, s) for k, s in zip(keys, shapes, strict=False))), jax.random.normal(
        keys[4], (6, 5)
    )


def test_cbp_a_new_unit_gives_nothing_and_the_old_ones_mean_stays() -> None:
    layer, x = cbp_layer(KEY)
    x = x.at[:, 0].set(1.0)
    weights = jnp.zeros(5).at[0].set(2.0)  # Unit 1 sees the constant input alone: it gives its mean.
    layer = layer.replace(kernel=layer.kernel.at[:, 1].set(weights), bias=jnp.ones(4))
    config = dataclasses.replace(SMALL, maturity=0, replacement_rate=0.25)

    def output(layer: cbp.Layer) -> jax.Array:
        return jnp.maximum(x @ layer.kernel + layer.bias, 0) @ layer.out + layer.out_bias

    hidden = jnp.maximum(x @ layer.kernel + layer.bias, 0)
    zeros = jnp.zeros(4)
    units, marked = cbp.chosen(config, layer, cbp.Units(jnp.zeros(4, jnp.int32), zeros, zeros, jnp.zeros(())), hidden)
    assert marked.tolist() == [False, True, False, False]  # It varies least, and a quarter of four units is one.
    new, units = cbp.redrawn(config, layer, units, marked, jax.random.key(1))
    other, _ = cbp.redrawn(config, layer, cbp.Units(units.age + 1, units.mean, units.utility, units.due), marked, KEY)
    assert not np.allclose(new.kernel[:, 1], other.kernel[:, 1]) and units.age[1] == 0 and not new.out[1].any()
    np.testing.assert_allclose(output(new), output(layer), rtol=1e-5, atol=1e-5)


def test_cbp_utility_by_hand_and_no_replacement_before_maturity() -> None:
    layer, x = cbp_layer(KEY)
    config = dataclasses.replace(SMALL, maturity=5, utility_decay=0.5, replacement_rate=0.25)
    hidden, zeros = np.asarray(jnp.maximum(x @ layer.kernel, 0)), jnp.zeros(4)
    units, mean, utility = cbp.Units(jnp.zeros(4, jnp.int32), zeros, zeros, jnp.zeros(())), 0.0, 0.0
    for age in (1, 2, 3):
        units, marked = cbp.chosen(config, layer, units, jnp.asarray(hidden))
        mean = 0.5 * mean + 0.5 * hidden.mean(axis=0)
        spread = np.abs(hidden - mean / (1 - 0.5**age)).mean(axis=0)
        utility = 0.5 * utility + 0.5 * spread * np.abs(layer.out).sum(1) / np.abs(layer.kernel).sum(0)
        assert not marked.any() and units.due == 0
    np.testing.assert_allclose(units.utility, utility, rtol=1e-5)


def test_cbp_steps_of_new_units_have_their_own_bias_correction() -> None:
    gradients, optimiser = [0.3, -0.2, 0.5, 0.1], optax.adam(0.1)
    young, old = jnp.zeros(()), jnp.zeros(())
    young_state, old_state = optimiser.init(young), optimiser.init(old)
    for count in range(1, 5):  # `old` has made 20 steps before; its moments are cleared, its count is not.
        if count == 1:
            for _ in range(20):
                _, old_state = optimiser.update(jnp.ones(()), old_state)
            old_state = trees.without_moments(old_state, jnp.zeros((), bool))
        gradient = jnp.asarray(gradients[count - 1])
        step, young_state = optimiser.update(gradient, young_state)
        young = young + step
        step, old_state = optimiser.update(gradient, old_state)
        old = cbp.corrected(old, old + step, jnp.array(count), trees.adam_count(old_state))
        np.testing.assert_allclose(old, young, rtol=1e-4)


@pytest.mark.parametrize("network", [PLAIN, pytest.param(RESIDUAL, marks=pytest.mark.slow)])
def test_cbp_replaces_units_in_every_layer_it_treats(network) -> None:
    method, tasks = sequence("cbp", network)
    for units in tasks[LAST].memory.layers:
        assert (units.age < 3 * 6).any(axis=-1).all()  # 3 tasks of 6 updates: some unit of each layer is younger.
    params, memory = tasks[LAST].params, tasks[LAST].memory
    assert method.after is not None
    due = tuple(units.replace(due=np.ones_like(units.due)) for units in memory.layers)
    memory = memory.replace(layers=due)
    state = optax.adam(1e-2).init(params)
    state = trees.over_moments(state, lambda moment: jax.tree.map(jnp.ones_like, moment))
    after, state, memory = method.after(Stepped(params, params, state), memory, inputs(KEY, 4), KEY)
    replaced = {
        path: np.asarray(units.age) == 0
        for (path, _), units in zip(cbp.treated(params["params"]["mlp"]), memory.layers, strict=True)
    }
    for path, following in cbp.treated(params["params"]["mlp"]):
        young = replaced[path]
        assert young.any()
        moments = (
            trees.head_of(state[0].mu) if following == ("head",) else cbp.at(state[0].mu["params"]["mlp"], following)
        )
        out = cbp.at(after["params"]["mlp"], following)["kernel"]
        # What a new unit of the next layer sees was drawn with it.
        old = ~replaced[following] if following in replaced else np.ones(out.shape[-1], bool)
        from_young = young[..., :, None] & old[..., None, :]
        assert from_young.any() and not np.asarray(out)[from_young].any()
        assert not np.asarray(moments["kernel"])[young].any()


# L2, EWC, MAS, ClonEx


def test_the_fisher_information_is_that_of_the_log_likelihood() -> None:
    base, state = Base(PLAIN, SIZES), inputs(KEY, 1)
    params = base.init(KEY)
    exact = trees.head_of(regularised.fisher(base, params, state))["bias"]
    mean, log_std = base(params, state)
    actions = mean + jnp.exp(log_std) * jax.random.normal(jax.random.key(1), (20_000, SIZES.action))

    def log_likelihood(bias: jax.Array, action: jax.Array) -> jax.Array:
        head = {**trees.head_of(params), "bias": bias}
        mean, log_std = (out[0] for out in base(trees.with_head(params, head), state))
        return jnp.sum(-0.5 * ((action - mean) * jnp.exp(-log_std)) ** 2 - log_std)

    scores = jax.vmap(jax.grad(log_likelihood), (None, 0))(trees.head_of(params)["bias"], actions)
    np.testing.assert_allclose(exact, jnp.mean(scores**2, axis=0), rtol=0.1)


@pytest.mark.slow
def test_importance_is_the_mean_over_states_and_heads_are_free() -> None:
    base, states = Base(PLAIN, SIZES), inputs(KEY, 3)
    params = base.init(KEY)
    each = [
        regularised.sensitivity(base, params, jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], states)) for i in range(3)
    ]
    mean = jax.tree.map(lambda *leaves: sum(leaves) / 3, *each)
    ours = regularised.averaged(regularised.sensitivity, base, params, states)
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6), ours, mean)
    for name in ("l2", "ewc", "mas"):
        left = sequence(name)[1][LAST]
        body = left.memory.importance["params"]["mlp"]
        assert not body["head"]["kernel"].any() and (body["hidden"]["dense_0"]["kernel"] >= 0).all()
        assert body["hidden"]["dense_0"]["kernel"].any()


def test_the_pull_is_quadratic_in_the_distance_to_the_last_solution() -> None:
    method = continual.make(dataclasses.replace(SMALL, learner="l2"), PLAIN, SIZES)
    params, memory = method.init(KEY)
    assert method.added_loss is not None and method.end is not None
    assert method.added_loss(params, memory, inputs(KEY, 2), KEY) == 0
    params, memory = method.end(params, memory, inputs(KEY, 2), KEY)
    moved = jax.tree.map(lambda leaf: leaf + 0.5, params)
    weights = sum(leaf.size for leaf in jax.tree.leaves(params)) - sum(
        leaf.size for leaf in jax.tree.leaves(trees.head_of(params))
    )
    np.testing.assert_allclose(method.added_loss(moved, memory, inputs(KEY, 2), KEY), 10 * 0.25 * weights, rtol=1e-5)


def test_divergence_of_gaussians() -> None:
    mean, log_std, other, other_log_std = (jax.random.normal(key, (3, 2)) for key in jax.random.split(KEY, 4))
    np.testing.assert_allclose(clonex.gaussian_kl(mean, log_std, mean, log_std), 0, atol=1e-6)
    std, wide = np.exp(log_std), np.exp(other_log_std)
    expected = np.log(wide / std) + (std**2 + (mean - other) ** 2) / (2 * wide**2) - 0.5
    np.testing.assert_allclose(
        clonex.gaussian_kl(mean, log_std, other, other_log_std), expected.sum(-1), rtol=1e-4, atol=1e-5
    )


def test_clonex_clones_earlier_tasks_alone() -> None:
    method, tasks = sequence("clonex")
    assert method.added_loss is not None
    first = tasks[0]
    assert method.added_loss(first.params, first.memory, inputs(KEY, 2), KEY) == 0
    following = method.start(first.params, first.memory, KEY)
    value, grad = jax.value_and_grad(method.added_loss)(*following, inputs(KEY, 2), KEY)
    np.testing.assert_allclose(value, 0, atol=1e-5)  # The actor is still the one that was stored.
    moved = jax.tree.map(lambda leaf: leaf + 0.1, following[0])
    grad = jax.grad(method.added_loss)(moved, following[1], inputs(KEY, 2), KEY)
    assert np.any(grad.heads["kernel"][0]) and not np.any(grad.heads["kernel"][1:])


def test_methods_that_read_the_replay_at_a_tasks_end_are_named() -> None:
    made = {name: continual.make(dataclasses.replace(SMALL, learner=name), PLAIN, SIZES) for name in continual.METHODS}
    assert {name for name, method in made.items() if method.states or method.retrain} == set(READS_AT_END)


def test_inputs_of_no_method_change_shape() -> None:
    states = Inputs(jnp.zeros((2, SIZES.obs)), jnp.zeros((2, SIZES.goal)))
    for name in continual.METHODS:
        method = continual.make(dataclasses.replace(SMALL, learner=name), PLAIN, SIZES)
        carried = jax.eval_shape(method.init, KEY)
        mean, log_std = jax.eval_shape(method.apply, *carried, states)
        assert mean.shape == log_std.shape == (2, SIZES.action)
        task = jax.ShapeDtypeStruct((), jnp.int32)
        for again in (jax.eval_shape(method.start, *carried, KEY), jax.eval_shape(method.view, *carried, task)):
            assert jax.tree.structure(again) == jax.tree.structure(carried)
            assert jax.tree.leaves(again) == jax.tree.leaves(carried), name
