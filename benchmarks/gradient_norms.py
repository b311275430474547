"""Gradient norm of every residual block at depth 1024, for each way to keep it trainable (`crl bench gradient_norms`).

The benchmark trains the real agent on real transitions of a task (random actions, engine `c`). phi and psi are 1024
layers deep, the actor 512. Norms are measured at the first update and after the last one. A flat curve over the blocks
means that every block learns. Writes results/gradient_norms.json and docs/gradient_norms.png.

Axis letters: L blocks, U updates.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks import common
from crl_jax.cli.options import script
from crl_jax.cli.progress import doing

FIGURE = Path(__file__).parent.parent / "docs" / "gradient_norms.png"
NETWORKS = ("phi", "actor")


@dataclass(frozen=True)
class Case:
    """One way to build and train a deep network."""

    residual_scale: str = "one"
    layer_norm: bool = True
    max_grad_norm: float = 0.0

    @property
    def name(self) -> str:
        parts = ["scale 1" if self.residual_scale == "one" else "scale 1/sqrt(L)"]
        parts += [] if self.layer_norm else ["no LayerNorm"]
        parts += [f"clipped at {self.max_grad_norm:g}"] if self.max_grad_norm else []
        return ", ".join(parts)


CASES = (
    Case(),
    Case(max_grad_norm=1.0),
    Case(residual_scale="depth"),
    Case(residual_scale="depth", max_grad_norm=1.0),
    Case(layer_norm=False),
    Case(layer_norm=False, residual_scale="depth"),
)


@dataclass(frozen=True)
class Settings:
    """What is measured."""

    task: str = "push"
    """Task that the transitions come from."""
    preset: str = "metaworld_cpu"
    """Preset that sets agent, exploration and schedule."""
    depth: int = 1024
    """Hidden layers of phi and psi; the actor has at most 512."""
    width: int = 64
    """Units of every hidden layer."""
    batch_size: int = 64
    """Transitions of an update."""
    updates: int = 100
    """SGD updates between the two measurements."""
    seed: int = 0
    """Seed of parameters, transitions and batches."""


def block_norms(gradient: Any) -> np.ndarray:
    """(L,) Euclidean norm of the gradient of every scanned block's parameters."""
    import jax

    leaves = jax.tree.leaves(gradient["params"]["mlp"]["blocks"])
    squares = sum(np.square(np.asarray(leaf, np.float64)).reshape(leaf.shape[0], -1).sum(axis=1) for leaf in leaves)
    return np.sqrt(squares)


def batches_of(settings: Settings) -> tuple[Any, Any, Any]:
    """Spec of the environment, the agent's config, and (U, B) batches of transitions under random actions."""
    from benchmarks.train_throughput import warmed
    from configs import PRESETS
    from crl_jax import loop
    from crl_jax.config import with_overrides
    from crl_jax.trainer import build

    config = with_overrides(
        PRESETS[settings.preset],
        task=settings.task,
        physics="c",
        batch_size=settings.batch_size,
        updates_per_iteration=settings.updates,
        width=16,
        critic_depth=1,
        actor_depth=1,
    )
    setup = build(config)
    state = warmed(setup, settings.seed)
    _, batches = loop.sample_batches(setup.env, state, config.train, config.agent.discount)
    return setup.env.spec, config.agent, batches


def measure(case: Case, settings: Settings, spec: Any, agent: Any, batches: Any) -> dict[str, Any]:
    """One row: norms per block before and after the updates, and the updates' losses and gradient norms."""
    import dataclasses

    import jax
    import jax.numpy as jnp

    from crl_jax.agents.crl import CRL
    from crl_jax.config import NetworkConfig

    network = NetworkConfig(
        width=settings.width,
        critic_depth=settings.depth,
        actor_depth=min(settings.depth, 512),
        layer_norm=case.layer_norm,
        residual_scale=case.residual_scale,  # type: ignore[arg-type]
        remat=True,
    )
    crl = CRL(dataclasses.replace(agent, max_grad_norm=case.max_grad_norm), network, spec)
    key, first = jax.random.PRNGKey(settings.seed), jax.tree.map(lambda leaf: leaf[0], batches)

    @jax.jit
    def gradients(state: Any) -> dict[str, Any]:
        critic = (state.phi, state.psi)
        phi, psi = jax.grad(lambda critic: crl.critic_loss(critic, first)[0])(critic)
        actor = jax.grad(lambda actor: crl.actor_loss(actor, critic, jnp.ones(()), first, key)[0])(state.actor)
        return {"phi": phi, "psi": psi, "actor": actor}

    @jax.jit
    def train(state: Any) -> tuple[Any, dict[str, jax.Array]]:
        keys = jax.random.split(key, settings.updates)
        return jax.lax.scan(lambda state, inputs: crl.update(state, *inputs), state, (batches, keys))

    started = time.perf_counter()
    state = jax.jit(crl.init)(key)
    begin = {name: block_norms(gradient).tolist() for name, gradient in gradients(state).items()}
    state, metrics = train(state)
    end = {name: block_norms(gradient).tolist() for name, gradient in gradients(state).items()}
    traces = {name: np.asarray(metrics[name], float).tolist() for name in ("critic_loss", "critic_grad_norm")}
    return {**asdict(case), "name": case.name, "begin": begin, "end": end, **traces, "s": time.perf_counter() - started}


def texts(row: dict[str, Any]) -> list[str]:
    """One line of the table: ratio of largest to smallest block norm before and after, largest gradient, final loss."""
    spread = [f"{max(row[when][name]) / min(row[when][name]):.1f}" for when in ("begin", "end") for name in NETWORKS]
    tenth = max(1, len(row["critic_loss"]) // 10)
    loss = sum(row["critic_loss"][-tenth:]) / tenth
    return [row["name"], *spread, f"{max(row['critic_grad_norm']):.1e}", f"{loss:.2f}"]


def plot(rows: list[dict[str, Any]]) -> None:
    """Plot norms over the blocks: one column per network, one row before and one after the updates."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7), layout="constrained")
    axes = figure.subplots(2, len(NETWORKS), sharex="col", sharey="row")
    for down, (when, title) in enumerate((("begin", "first update"), ("end", "after the last update"))):
        for across, name in enumerate(NETWORKS):
            axis = axes[down][across]
            for row in rows:
                axis.semilogy(np.maximum(row[when][name], 1e-30), label=row["name"])
            axis.set_title(f"{name}, {title}")
            axis.grid(alpha=0.3)
            axis.set_xlabel("block (4 layers each)" if down else "")
            axis.set_ylabel("" if across else "norm of the gradient")
    axes[0][0].legend(fontsize="small")
    figure.savefig(FIGURE, dpi=110)


def main(settings: Settings) -> int:
    """Measure every case, print, write the JSON and the figure."""
    console = Console(stderr=True)
    spec, agent, batches = batches_of(settings)
    rows = []
    for number, case in enumerate(CASES, 1):
        with doing(f"{number}/{len(CASES)} {case.name}", console):
            rows.append(measure(case, settings, spec, agent, batches))
    titles = [f"{name}, max/min {when}" for when in ("first", "last") for name in NETWORKS]
    table = [texts(row) for row in rows]
    common.publish("gradient_norms", ["case", *titles, "largest critic grad", "loss"], table, rows, asdict(settings))
    plot(rows)
    console.print(f"written: {FIGURE}")
    return 0


if __name__ == "__main__":
    script(main, Settings, __doc__)
