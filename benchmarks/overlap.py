"""Collecting while learning against collecting, then learning (`--overlap`), in one process (`crl bench overlap`).

The two take turns, round by round. On a CPU both share its cores; on a GPU machine the updates run on the GPU.

Writes results/overlap.json.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import common
from configs import PRESETS
from crl_jax import trainer
from crl_jax.cli.options import script
from crl_jax.config import with_overrides
from crl_jax.scale.machine import run_cpu_programs_where_called
from crl_jax.start import ready


@dataclass(frozen=True)
class Settings:
    """What is timed."""

    task: str = "push"
    """Task, on engine c."""
    presets: tuple[str, ...] = ("metaworld_cpu",)
    """Presets."""
    threads: int = 0
    """Threads of engine c; 0: every core."""
    repeats: int = 9
    """Rounds of each order."""


def measure(settings: Settings, preset: str) -> dict[str, Any]:
    """Median seconds of a round in each order, and env steps of a round."""
    changed = {"task": settings.task, "physics": "c", "threads": settings.threads, "allow_cpu": True}
    cases, states = {}, {}
    for name, beside in (("in turn", False), ("overlap", True)):
        config = ready(with_overrides(PRESETS[preset], **changed, overlap=beside))
        compiled = trainer.compile_all(trainer.build(config))
        states[name] = compiled.warm_up(compiled.setup.init(compiled.setup.key()))

        def one(name: str = name, round_: Any = compiled.round) -> jax.Array:
            states[name], _, _ = round_(states[name])
            return jnp.asarray(states[name].ring.written)

        one()
        cases[name] = one
    found = {name: common.median(seconds) for name, seconds in common.interleaved(cases, settings.repeats).items()}
    steps = config.train.iterations_per_round * config.env_steps_per_iteration()
    return {"preset": preset, "env_steps": steps, "seconds": found, "ratio": found["in turn"] / found["overlap"]}


def main(settings: Settings) -> None:
    """Time, print, write results/overlap.json."""
    run_cpu_programs_where_called()
    rows = [measure(settings, preset) for preset in settings.presets]
    titles = ["preset", "in turn, env steps/s", "overlap, env steps/s", "times as fast"]
    table = [
        [row["preset"], *(f"{row['env_steps'] / one:,.0f}" for one in row["seconds"].values()), f"{row['ratio']:.2f}"]
        for row in rows
    ]
    common.publish("overlap", titles, table, rows, asdict(settings))


if __name__ == "__main__":
    script(main, Settings, __doc__)
