"""What learning from pictures costs: frames/s of drawing, and the parts of an iteration of the preset pixels_cpu.

The parts take turns, so that the machine's load affects all alike. A part is timed alone, on a ring of random pictures:
physics (the env steps of an unroll), drawing (its pictures), goals (solving for and drawing the goals of new episodes,
shared out over the env steps of an episode), acting, and updates.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console

from benchmarks import common
from crl_jax.cli.options import script
from crl_jax.cli.progress import doing

PARTS = ("physics", "drawing", "goals", "acting", "updates")


@dataclass(frozen=True)
class Settings:
    """What is measured."""

    tasks: tuple[str, ...] = ("FetchReach", "FetchPush", "reach", "push")
    """Tasks whose pictures are drawn."""
    sizes: tuple[int, ...] = (32, 64, 128)
    """Sides of the pictures, in pixels."""
    num_envs: int = 64
    """Pictures that are drawn at once."""
    repeats: int = 5
    """Turns of each part; the median counts."""
    threads: int = 0
    """Threads of engine c; 0 takes every core. Drawing takes one."""


def drawing(task: str, size: int, settings: Settings) -> dict[str, Any]:
    """Frames/s of one task and size on engine c."""
    import jax

    import envs_mjx

    env: Any = envs_mjx.make(
        task, settings.num_envs, physics="c", obs="pixels", width=size, height=size, threads=settings.threads
    )
    inner = jax.jit(env.env.reset)(jax.random.PRNGKey(0))
    draw = jax.jit(env.pictures)
    common.seconds(lambda: draw(inner))
    measured = [common.seconds(lambda: draw(inner)) for _ in range(settings.repeats)]
    return {"task": task, "size": size, "frames_per_s": settings.num_envs / statistics.median(measured)}


def parts(settings: Settings) -> dict[str, float]:
    """Share of an iteration of pixels_cpu that each part takes, and the iteration's seconds."""
    import jax
    import jax.numpy as jnp

    from configs import PRESETS
    from crl_jax import loop
    from crl_jax.config import with_overrides
    from crl_jax.trainer import build

    config = with_overrides(PRESETS["pixels_cpu"], threads=settings.threads)
    setup, train = build(config), config.train
    env: Any = setup.env
    state = setup.init(setup.key())
    rows = train.unroll_length * 8
    last = jnp.arange(state.ring.last_row.shape[0])[:, None] == 0
    ring = state.ring.replace(
        obs=jax.random.randint(setup.key(), state.ring.obs.shape, 0, 256, jnp.uint8),
        last_row=jnp.where(last, rows - 1, -1) + 0 * state.ring.last_row,
        written=jnp.int32(rows),
    )
    state = state.replace(ring=ring)
    inner, action = state.env.physics.inner, jnp.zeros((env.num_envs, env.spec.action_size))
    step, draw, goals = jax.jit(env.env.advance), jax.jit(env.pictures), jax.jit(env.goal_pictures)
    act = jax.jit(lambda agent, env_state: setup.agent.act(agent, env_state.obs, env_state.goal, setup.key(), False))
    learn = jax.jit(loop.make_learn(env, setup.agent, config))
    cases: dict[str, tuple[Callable[[], Any], float]] = {
        "physics": (lambda: step(inner, action), train.unroll_length),
        "drawing": (lambda: draw(inner), train.unroll_length),
        "goals": (lambda: goals(inner), train.unroll_length / env.spec.horizon),
        "acting": (lambda: act(state.agent, state.env), train.unroll_length),
        "updates": (lambda: learn(state)[0].agent, 1),
    }
    for function, _ in cases.values():
        common.seconds(function)
    measured = common.interleaved({name: function for name, (function, _) in cases.items()}, settings.repeats)
    seconds = {name: statistics.median(measured[name]) * times for name, (_, times) in cases.items()}
    whole = sum(seconds.values())
    return {**{f"share_{name}": one / whole for name, one in seconds.items()}, "iteration_s": whole}


def main(settings: Settings) -> None:
    """Measure, print, and write results/pictures.json."""
    console, rows = Console(stderr=True), []
    for task in settings.tasks:
        for size in settings.sizes:
            with doing(f"{task}, {size} x {size} ...", console):
                rows.append(drawing(task, size, settings))
    with doing("parts of an iteration of pixels_cpu ...", console):
        shares = parts(settings)
    table = [[row["task"], f"{row['size']} x {row['size']}", f"{row['frames_per_s']:,.0f}"] for row in rows]
    told = [f"{name} {shares[f'share_{name}']:.0%}" for name in PARTS]
    table.append([f"an iteration, {shares['iteration_s']:.2f} s", ", ".join(told), ""])
    common.publish(
        "pictures",
        ["task", "pictures", "frames/s"],
        table,
        [*rows, {"preset": "pixels_cpu", **shares}],
        asdict(settings),
    )


if __name__ == "__main__":
    script(main, Settings, __doc__)
