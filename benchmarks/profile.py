"""Where an iteration's time goes: a table of stages, and a trace for XProf (`crl profile TASK [options]`).

The stages are those of `train_throughput`, each compiled separately. Under a stage, the table lists those of its parts
that can run alone. The trace covers whole training iterations, as `crl train` runs them. Its operations carry the names
of the loop's stages.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.table import Table

from benchmarks import common
from benchmarks.train_throughput import PARTS, parts, warmed
from configs import PRESETS
from crl_jax import cli, loop
from crl_jax.agents.crl import CRL
from crl_jax.cli import train as cli_train
from crl_jax.cli.progress import doing
from crl_jax.config import Config, ConfigError, with_overrides
from crl_jax.experience.relabel import truncated_geometric
from crl_jax.scale import compilation_cache
from crl_jax.scale.machine import machine
from crl_jax.trainer import Setup, build
from crl_jax.types import Batch

ABOUT = "Profile the training of a task. Besides the options below: --out FOLDER of the trace, --repeats N (5)."
WHOLE = "whole"
INSIDE = {"relabelling": "sampling", "critic gradient": "updates", "actor gradient": "updates"}
"""Part that is also timed alone -> stage that it belongs to."""


def inside(setup: Setup, state: loop.LoopState) -> dict[str, Callable[[], Any]]:
    """Functions that run the parts of `INSIDE`, by name, over the batches of one iteration from `state`."""
    config, env, key = setup.config, setup.env, jax.random.PRNGKey(2)
    discount = config.agent.discount
    batches = jax.jit(lambda state: loop.sample_batches(env, state, config.train, discount)[1])(state)
    crl, learner = CRL(config.agent, config.network, env.spec), state.agent
    critic, alpha = (learner.phi, learner.psi), jnp.exp(learner.log_alpha)

    def relabelled(key: jax.Array, batches: Batch, obs: jax.Array) -> jax.Array:
        horizon = jnp.full(batches.offset.shape, env.spec.horizon // 2)
        row = batches.offset + truncated_geometric(key, discount, horizon)
        return env.achieved_goal(obs[row % obs.shape[0], batches.env])

    def summed(gradient: Callable[[Batch], Any]) -> Callable[[Batch], Any]:
        """Sums the gradients over the U batches, so that XLA drops none of them."""

        def add(total: Any, batch: Batch) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, total, gradient(batch)), None

        def run(batches: Batch) -> Any:
            blank = jax.eval_shape(gradient, jax.tree.map(lambda leaf: leaf[0], batches))
            start = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), blank)
            return jax.lax.scan(add, start, batches)[0]

        return run

    of_critic = summed(
        lambda batch: jax.grad(crl.critic_loss, has_aux=True)(critic, *crl.contrasted(learner, batch, key))[0]
    )
    of_actor = summed(lambda batch: jax.grad(crl.actor_loss, has_aux=True)(learner.actor, critic, alpha, batch, key)[0])
    relabel, critic_gradient, actor_gradient = jax.jit(relabelled), jax.jit(of_critic), jax.jit(of_actor)
    return {
        "relabelling": lambda: relabel(key, batches, state.ring.obs),
        "critic gradient": lambda: critic_gradient(batches),
        "actor gradient": lambda: actor_gradient(batches),
    }


def stages(setup: Setup, repeats: int, console: Console) -> tuple[list[dict[str, Any]], Callable[[], Any]]:
    """One row per stage (median ms per iteration, share of the stages' sum), and the whole iteration as a function."""
    with doing("Filling the ring with random actions ...", console):
        state = warmed(setup)
        functions = parts(setup, state) | inside(setup, state)
    for name, function in functions.items():
        with doing(f"Compiling {name} ...", console):
            common.seconds(function)
    with doing(f"Timing every stage in turn, {repeats} times ...", console):
        measured = {name: 1e3 * common.median(took) for name, took in common.interleaved(functions, repeats).items()}
    total = sum(measured[name] for name in PARTS)
    rows: list[dict[str, Any]] = []
    for name in (*PARTS, WHOLE):
        rows.append({"stage": name, "ms": measured[name], "share": measured[name] / total})
        within = (part for part, stage in INSIDE.items() if stage == name)
        rows += [{"stage": part, "of": name, "ms": measured[part], "share": measured[part] / total} for part in within]
    return rows, functions[WHOLE]


def trace(iteration: Callable[[], Any], folder: Path, count: int) -> list[Path]:
    """Trace `count` iterations into `folder`; returns the files written."""
    before = set(folder.rglob("*"))
    with jax.profiler.trace(str(folder)):
        for step in range(count):
            with jax.profiler.StepTraceAnnotation("iteration", step_num=step):
                jax.block_until_ready(iteration())
    return sorted(path for path in set(folder.rglob("*")) - before if path.is_file())


def show(rows: Sequence[dict[str, Any]], config: Config, console: Console) -> None:
    """Print the table."""
    schedule = config.train
    transitions, updates = config.env_steps_per_iteration(), schedule.updates_per_iteration
    title = f"{config.env.task}: an iteration of {transitions:,} env steps, {updates} updates of {schedule.batch_size}"
    table = Table("stage", "ms", "share", title=title)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        last = row["stage"] == WHOLE
        if last:
            table.add_section()
        table.add_row(
            f"{'  of it ' if 'of' in row else ''}{row['stage']}",
            f"{row['ms']:.1f}",
            f"{row['share']:.2f} x the sum" if last else f"{row['share']:.1%}",
        )
    console.print(table)


def main(arguments: Sequence[str]) -> int:
    """Run `crl profile` with these arguments; returns 0, or 2 after a user's error."""
    first = argparse.ArgumentParser(prog="crl profile", add_help=False, allow_abbrev=False)
    first.add_argument("--out", type=Path)
    first.add_argument("--repeats", type=int, default=5)
    known, rest = first.parse_known_args(arguments)
    console, told = Console(stderr=True), Console()
    try:
        config, run = cli_train.settings(PRESETS, rest, "profile", ABOUT)
        if known.repeats < 1:
            raise ConfigError(f"repeats={known.repeats}: must be at least 1")
        if config.agent.method != "crl":
            raise ConfigError(f"method={config.agent.method!r}: crl profile takes the parts of 'crl' alone")
        folder = known.out or (run / "profile" if run else Path(config.run.runs) / "profile" / config.env.task)
        compilation_cache.enable()
        with doing("Building ...", console):
            setup = build(with_overrides(config, iterations_per_round=1, devices=1))
        folder.mkdir(parents=True, exist_ok=True)
    except cli.USER_ERRORS as error:
        return cli.fail(str(error))
    except OSError as error:
        return cli.fail(f"out={str(folder)!r}: cannot be written: {error.strerror}")
    rows, iteration = stages(setup, known.repeats, console)
    with doing("Tracing 2 iterations ...", console):
        files = trace(iteration, folder, 2)
    content = {"machine": machine(), "config": config.to_dict(), "repeats": known.repeats, "stages": rows}
    (folder / "stages.json").write_text(json.dumps(content, indent=1) + "\n")
    show(rows, config, told)
    for path in [folder / "stages.json", *files]:
        told.print(f"  {path}", highlight=False, soft_wrap=True)
    told.print(f"Open the trace: pip install xprof && xprof --logdir {folder}", highlight=False, soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
