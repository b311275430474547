"""Where an iteration's time goes: physics, acting, buffer, sampling, updates (`python -m benchmarks.train_throughput`).

Each part is compiled by itself from the same functions that the training iteration is made of, and timed in turn with
the whole iteration, several times over; shares are of the sum of the parts. Compilation is not timed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import tyro

from benchmarks import common
from configs import PRESETS
from crl_jax import buffer, loop
from crl_jax.config import Config, with_overrides
from crl_jax.explore import behaviour_goal
from crl_jax.rollout import rollout
from crl_jax.train import Trainer, build
from crl_jax.types import Batch


@dataclass(frozen=True)
class Case:
    """One row: a preset on a task."""

    preset: str
    task: str


WHOLE = "whole iteration"
CASES = (Case("metaworld_cpu", "push"), Case("metaworld_cpu", "faucet-close"))


class Prepared(NamedTuple):
    """A configuration's environment and agent, the state after the warm-up, and the batches of one iteration."""

    config: Config
    trainer: Trainer
    state: loop.LoopState
    sample: Callable[[loop.LoopState], Batch]
    batches: Batch


def prepare(config: Config) -> Prepared:
    """Build, warm up and sample; on one device."""
    config = with_overrides(config, iterations_per_round=1, devices=1)
    trainer = build(config)
    state = jax.jit(loop.make_warm_up(trainer.env, config.train))(trainer.init(jax.random.PRNGKey(0)))
    discount = config.agent.discount
    sample = jax.jit(lambda state: loop.sample_batches(trainer.env, state, config.train, discount)[1])
    return Prepared(config, trainer, state, sample, sample(state))


def parts(prepared: Prepared) -> dict[str, Callable[[], Any]]:
    """Parts of one iteration and the whole of it, by name, each compiled at its first call."""
    config, trainer, state, sample, batches = prepared
    env, agent, length = trainer.env, trainer.agent, config.train.unroll_length
    key = jax.random.PRNGKey(1)
    actions = jax.random.uniform(key, (env.num_envs, env.spec.action_size), minval=-1, maxval=1)

    def act(key: jax.Array) -> jax.Array:
        def step(total: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
            # The sum ties every step to the one before, so that none is hoisted out of the loop.
            env_state = state.env.replace(obs=state.env.obs + 1e-9 * total.sum())
            goal = behaviour_goal(env, env_state, config.explore)
            return total + agent.act(state.agent, env_state.obs, goal, key, False), None

        return jax.lax.scan(step, jnp.zeros_like(actions), jax.random.split(key, length))[0]

    physics = jax.jit(lambda env_state: rollout(env, lambda *_: actions, env_state, key, length))
    _, steps = physics(state.env)
    insert = jax.jit(
        lambda ring: buffer.insert(ring, steps.obs, steps.action, steps.goal, steps.episode), donate_argnums=0
    )
    learn = jax.jit(lambda state, batches: loop.learn(agent, state, batches)[0].agent)
    whole = jax.jit(loop.make_round(env, agent, config), donate_argnums=0)
    rings, states = [jax.tree.map(jnp.copy, state.ring)], [jax.tree.map(jnp.copy, state)]

    def donated_insert() -> Any:
        rings[0] = insert(rings[0])
        return rings[0]

    def donated_iteration() -> Any:
        states[0] = whole(states[0])[0]
        return states[0]

    compiled_act = jax.jit(act)
    return {
        "physics": lambda: physics(state.env),
        "acting": lambda: compiled_act(key),
        "buffer": donated_insert,
        "sampling": lambda: sample(state),
        "updates": lambda: learn(state, batches),
        WHOLE: donated_iteration,
    }


def measure(case: Case, repeats: int) -> dict[str, Any]:
    """Median seconds and share of every part."""
    config = with_overrides(PRESETS[case.preset], task=case.task)
    functions, env_steps, updates = (
        parts(prepare(config)),
        config.env_steps_per_iteration(),
        config.train.updates_per_iteration,
    )
    common.interleaved(functions, 1)  # compiles
    medians = {name: common.median(values) for name, values in common.interleaved(functions, repeats).items()}
    total = sum(value for name, value in medians.items() if name != WHOLE)
    return {
        "preset": case.preset,
        "task": case.task,
        "seconds": medians,
        "share": {name: value / total for name, value in medians.items() if name != WHOLE},
        "env_steps_per_s": env_steps / medians[WHOLE],
        "updates_per_s": updates / medians[WHOLE],
        "ms_per_update": 1e3 * medians["updates"] / updates,
    }


def main(repeats: int = 7) -> int:
    """Split an iteration into its parts.

    Args:
        repeats: Times that every part is run; medians are reported.
    """
    rows = [measure(case, repeats) for case in CASES]
    table = [
        [row["preset"], row["task"]]
        + [f"{1e3 * row['seconds'][name]:.1f} ({row['share'][name]:.1%})" for name in row["share"]]
        + [f"{row['env_steps_per_s']:,.0f}", f"{row['updates_per_s']:,.0f}", f"{row['ms_per_update']:.2f}"]
        for row in rows
    ]
    titles = [*(f"{name}, ms" for name in rows[0]["share"]), "env steps/s", "updates/s", "ms per update"]
    common.publish("train_throughput", ["preset", "task", *titles], table, rows)
    return 0


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
