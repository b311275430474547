"""Time per part of a training iteration, hours per 100 M env steps, and updates against their matrix products.

Each part (physics, acting, buffer, sampling, updates) is compiled separately, from the functions of the training
iteration. The parts and the whole iteration take turns, several times. Compilation is not timed.

- *overhead*: time of the whole iteration over the sum of its parts.
- *floor*: time of an update over the time of its matrix products only (`benchmarks/roofline.py`).
- hours per 100 M env steps: the cost model, which scales up each part's seconds.

Writes results/train_throughput.json and docs/train_throughput.png.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from rich.console import Console

from benchmarks import common, roofline
from configs import PRESETS
from crl_jax import loop
from crl_jax.cli.options import script
from crl_jax.cli.progress import doing
from crl_jax.config import Config, with_overrides
from crl_jax.experience import buffer
from crl_jax.experience.explore import replay_goals
from crl_jax.experience.rollout import rollout
from crl_jax.trainer import Setup, build
from envs_mjx.physics import resolve

FIGURE = Path(__file__).parent.parent / "docs" / "train_throughput.png"
PARTS = ("physics", "acting", "buffer", "sampling", "updates")
ENV_STEPS = 100e6
"""Env steps of the cost model."""
PUBLISHED = {"depth 4": 1.48, "depth 16": 3.40, "depth 64": 10.99}
"""Hours per 100 M env steps on an A100, Humanoid ("1000 Layer Networks for Self-Supervised RL", arXiv:2503.14858)."""
NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Case:
    """One row: a preset with changes.

    Attributes:
        large: the case is skipped on a CPU, unless `only` names it or `large` is set.
    """

    name: str
    preset: str = "metaworld_cpu"
    changes: Mapping[str, Any] = field(default_factory=dict)
    large: bool = False


def scaled(name: str, large: bool = False, num_envs: int = 512, depth: int = 4, **changes: Any) -> Case:
    """A case with 512 envs, depth 4, batch 256 and 1 update per 40 env steps, apart from the given changes.

    The policy decides at every env step, so that a length of the unroll is one of env steps.
    """
    length = changes.get("unroll_length", 20)
    schedule = {
        "num_envs": num_envs,
        "unroll_length": length,
        "updates_per_iteration": max(1, round(num_envs * length / 40)),
        "replay_capacity": num_envs * length * 20,
        "min_replay": num_envs * length,
        "eval_episodes": num_envs,
        "batch_size": 256,
        "critic_depth": depth,
        "actor_depth": min(depth, 512),
    }
    return Case(name, "metaworld_cpu_steps", schedule | changes, large)


CASES = (
    Case("preset metaworld_cpu"),
    scaled("512 envs, 4x256, batch 256", unroll_length=62),
    *(scaled(f"{count} envs", num_envs=count) for count in (64, 128, 2048)),
    scaled("8192 envs", num_envs=8192, large=True),
    *(scaled(f"batch {size}", batch_size=size) for size in (64, 512, 1024)),
    *(scaled(f"batch {size}", batch_size=size, large=True) for size in (2048, 4096)),
    *(scaled(f"width {width}", width=width) for width in (64, 512)),
    scaled("width 1024", width=1024, large=True),
    scaled("depth 4", depth=4, batch_size=512),
    *(scaled(f"depth {depth}", depth=depth, batch_size=512, unroll_length=5) for depth in (16, 64)),
    *(scaled(f"depth {depth}", depth=depth, batch_size=512, large=True) for depth in (256, 1024)),
)


@dataclass(frozen=True)
class Settings:
    """What is measured. On a GPU: `--physics warp --large`."""

    task: str = "push"
    """The task."""
    physics: str = "auto"
    """The engine."""
    repeats: int = 5
    """Times that every part is run; medians are reported."""
    only: tuple[str, ...] = ()
    """Names of the cases to measure; kept rows of other cases on this machine stay. Empty: all cases (see `large`)."""
    large: bool = False
    """Also measure the large cases, which are otherwise skipped on a CPU."""


def configured(case: Case, settings: Settings) -> Config:
    """The complete configuration of a case, with one iteration per round."""
    changes = dict(case.changes) | {"task": settings.task, "physics": settings.physics, "iterations_per_round": 1}
    return with_overrides(PRESETS[case.preset], **changes)


def warmed(setup: Setup, seed: int = 0) -> loop.LoopState:
    """The state after the warm-up on one device; its ring holds transitions under random actions."""
    warm_up = jax.jit(loop.make_warm_up(setup.env, setup.config.train), donate_argnums=0)
    state: loop.LoopState = warm_up(setup.init(jax.random.PRNGKey(seed)))
    return state


def parts(setup: Setup, state: loop.LoopState) -> dict[str, Callable[[], Any]]:
    """Functions that run each part of one iteration, and the whole of it, by name; `state` comes from `warmed`."""
    env, agent, config = setup.env, setup.agent, setup.config
    schedule, length = config.train, config.train.unroll_length
    key = jax.random.PRNGKey(1)
    actions = jax.random.uniform(key, (env.num_envs, env.spec.action_size), minval=-1, maxval=1)

    @jax.jit
    def act(key: jax.Array) -> jax.Array:
        def step(total: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
            # The sum makes each step depend on the one before, so that XLA hoists none out of the loop.
            env_state = state.env.replace(obs=state.env.obs + 1e-9 * total.sum())
            replayed = replay_goals(env, state.ring, state.env, length)
            return total + loop.exploring_policy(env, agent, state.agent, config.explore, replayed)(
                env_state, key
            ), None

        return jax.lax.scan(step, jnp.zeros_like(actions), jax.random.split(key, length))[0]

    physics = jax.jit(lambda env_state: rollout(env, lambda *_: actions, env_state, key, length))
    _, steps = physics(state.env)
    insert = jax.jit(
        lambda ring: buffer.insert(ring, steps.obs, steps.action, steps.goal, steps.episode), donate_argnums=0
    )
    sample = jax.jit(lambda state: loop.sample_batches(env, state, schedule, config.agent.discount)[1])
    batches = sample(state)
    learn = jax.jit(lambda state, batches: loop.learn(agent, state, batches)[0].agent)
    whole = jax.jit(loop.make_round(env, agent, config), donate_argnums=0)
    rings, states = [jax.tree.map(jnp.copy, state.ring)], [jax.tree.map(jnp.copy, state)]

    def donated_insert() -> Any:
        rings[0] = insert(rings[0])
        return rings[0]

    def donated_iteration() -> Any:
        states[0] = whole(states[0])[0]
        return states[0]

    return {
        "physics": lambda: physics(state.env),
        "acting": lambda: act(key),
        "buffer": donated_insert,
        "sampling": lambda: sample(state),
        "updates": lambda: learn(state, batches),
        "whole": donated_iteration,
    }


def update_floor(setup: Setup) -> float:
    """Seconds of the matrix products of one update, see `roofline`."""
    config = setup.config
    one = with_overrides(config, updates_per_iteration=1).train
    batches = jax.eval_shape(
        lambda state: loop.sample_batches(setup.env, state, one, config.agent.discount)[1], setup.template
    )
    batch = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), batches)
    key = jax.eval_shape(lambda: jax.random.PRNGKey(0))
    return roofline.floor(roofline.products(setup.agent.update, setup.template.agent, batch, key))


def measure(case: Case, settings: Settings) -> dict[str, Any]:
    """One row: median seconds of each part and of the whole iteration, and the numbers derived from them."""
    setup = build(configured(case, settings))
    functions, config = parts(setup, warmed(setup)), setup.config
    common.interleaved(functions, 1)  # compiles
    medians = {name: common.median(times) for name, times in common.interleaved(functions, settings.repeats).items()}
    env_steps, updates = config.env_steps_per_iteration(), config.train.updates_per_iteration
    update, least = medians["updates"] / updates, update_floor(setup)
    total = sum(medians[name] for name in PARTS)
    return {
        "case": case.name,
        "repeats": settings.repeats,
        "preset": case.preset,
        "changes": dict(case.changes),
        "engine": resolve(config.env.physics),
        "seconds": medians,
        "share": {name: medians[name] / total for name in PARTS},
        "overhead": medians["whole"] / total,
        "hours_per_100m": {name: seconds * ENV_STEPS / env_steps / 3600 for name, seconds in medians.items()},
        "env_steps_per_s": env_steps / medians["whole"],
        "updates_per_s": updates / medians["whole"],
        "ms_per_update": 1e3 * update,
        "floor_ms": 1e3 * least,
        "times_floor": update / least,
    }


def plot(rows: Sequence[Mapping[str, Any]], where: str, path: Path) -> Path:
    """Plot stacked bars: hours per 100 M env steps by part."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.5 + 0.35 * len(rows)), layout="constrained")
    axis, names, left = figure.subplots(), [row["case"] for row in rows], [0.0] * len(rows)
    for part in PARTS:
        hours = [row["hours_per_100m"][part] for row in rows]
        axis.barh(names, hours, left=left, label=part)
        left = [a + b for a, b in zip(left, hours, strict=True)]
    axis.plot([row["hours_per_100m"]["whole"] for row in rows], names, "k|", markersize=12, label="whole iteration")
    axis.invert_yaxis()
    axis.set_xlabel(f"hours per 100 M env steps, {where}")
    axis.legend(fontsize="small")
    figure.savefig(path, dpi=110)
    return path


def texts(row: Mapping[str, Any], on_cpu: bool) -> list[str]:
    """One line of the table: the cost model, and the update over its floor."""
    hours = {name: f"{value:.2f}" for name, value in row["hours_per_100m"].items()}
    whole = [hours["whole"], NOT_MEASURED] if on_cpu else ["", hours["whole"]]
    speeds = [f"{row['env_steps_per_s']:,.0f}", f"{row['ms_per_update']:.2f}"]
    ratios = [f"{row['times_floor']:.2f}", f"{row['overhead']:.2f}"]
    return [row["case"], *(hours[name] for name in PARTS), *whole, _published(row["case"]), *speeds, *ratios]


def _published(name: str) -> str:
    return f"{PUBLISHED[name]:.2f}" if name in PUBLISHED else ""


def main(settings: Settings) -> int:
    """Measure every case, print, write the JSON and the figure."""
    console, on_cpu = Console(stderr=True), jax.default_backend() == "cpu"
    cases = [case for case in CASES if not settings.only or case.name in settings.only]
    cases = [case for case in cases if settings.only or settings.large or not (case.large and on_cpu)]
    if not cases:
        raise SystemExit(f"only={settings.only}: no such case; there are {', '.join(case.name for case in CASES)}")
    rows = []
    for number, case in enumerate(cases, 1):
        with doing(f"{number}/{len(cases)} {case.name}", console):
            rows.append(measure(case, settings))
    if settings.only:  # keep this machine's rows of the other cases
        rows += [row for row in common.rows_from_here("train_throughput") if row["case"] not in settings.only]
        rows.sort(key=lambda row: [case.name for case in CASES].index(row["case"]))
    left_out = [case for case in CASES if not settings.only and case not in cases]
    titles = ["hours per 100 M env steps", *PARTS, "whole", "on a GPU", "published, A100"]
    titles += ["env steps/s", "ms per update", "x floor", "overhead"]
    table = [texts(row, on_cpu) for row in rows]
    blank = [""] * (len(PARTS) + 1)
    table += [[case.name, *blank, NOT_MEASURED, _published(case.name), *[""] * 4] for case in left_out]
    common.publish("train_throughput", titles, table, rows, settings.__dict__)
    console.print(f"written: {plot(rows, jax.devices()[0].device_kind, FIGURE)}")
    return 0


if __name__ == "__main__":
    script(main, Settings, __doc__)
