"""How close engine `warp` is to engine `c` on Fetch and PointMaze; physics on `c` is the official one, bit for bit.

Every step starts from states of engine `c` along episodes of random actions; rollouts start from its resets. Writes
results/robotics_fidelity.json, and its section of docs/fidelity.md.

Axis letters: E environments, T time.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks import common, fidelity_page
from benchmarks.fidelity import POINTS
from crl_jax.cli.options import script
from crl_jax.cli.progress import doing


@dataclass(frozen=True)
class Settings:
    """What is measured."""

    tasks: tuple[str, ...] = ()
    """Tasks; empty: all seven."""
    episodes: int = 16
    """Environments."""
    steps: int = 50
    """Env steps of a rollout of random actions."""
    every: int = 5
    """Env steps between the states from which one step is compared."""
    seed: int = 0
    """Seed of starts, goals and actions."""


def on_warp(exact: Any, state: Any, blank: Any) -> Any:
    """A state of engine `c` as one of `warp`: positions, velocities, warm start and mocap body; `blank`: of `warp`."""
    import jax.numpy as jnp

    found = [exact.physics.materialise(state.physics, index)[1] for index in range(exact.num_envs)]

    def stacked(name: str) -> Any:
        return jnp.asarray(np.stack([getattr(one, name) for one in found]), jnp.float32)

    engine = blank.physics.engine.replace(
        qpos=stacked("qpos"), qvel=stacked("qvel"), warmstart=stacked("qacc_warmstart")
    )
    if engine.turn is not None:
        engine = engine.replace(mocap=stacked("mocap_pos")[:, 0], turn=stacked("mocap_quat")[:, 0])
    return state.replace(physics=blank.physics.replace(engine=engine), metrics=blank.metrics)


def measure(task: str, settings: Settings) -> dict[str, Any]:
    """One row."""
    import jax

    import envs_mjx

    exact, ours = (
        envs_mjx.make(task, settings.episodes, physics=engine, goal="object", horizon=settings.steps + 1)
        for engine in ("c", "warp")
    )
    key = jax.random.PRNGKey(settings.seed)
    step_c, step_warp = jax.jit(exact.advance), jax.jit(ours.advance)
    state = jax.jit(exact.reset)(key)
    blank = rolled = jax.jit(ours.reset)(key)
    shape = (settings.steps, settings.episodes, exact.spec.action_size)
    errors, same = [], []
    for time, action in enumerate(np.random.default_rng(settings.seed).uniform(-1, 1, shape).astype(np.float32)):
        after = step_c(state, action)
        if time % settings.every == 0:
            near = step_warp(on_warp(exact, state, blank), action)
            errors.append(_apart(exact, near, after))
            same.append(np.asarray(near.success) == np.asarray(after.success))
        state, rolled = after, step_warp(rolled, action)
    apart = _apart(exact, rolled, state)
    return {
        "task": task,
        "one_step_median_m": float(np.median(errors)),
        "one_step_max_m": float(np.max(errors)),
        "rollout_median_m": float(np.median(apart)),
        "rollout_p90_m": float(np.percentile(apart, 90)),
        "same_success": float(np.mean(same)),
        "episodes": settings.episodes,
        "steps": settings.steps,
    }


def _apart(env: Any, one: Any, other: Any) -> np.ndarray:
    """(E,) metres between the points of the object (or the body) in two states."""
    return np.linalg.norm(np.asarray(env.object_point(one.obs)) - np.asarray(env.object_point(other.obs)), axis=-1)


def main(settings: Settings) -> None:
    """Measure, print, and write the rows and their section of docs/fidelity.md."""
    from envs_mjx.registry import GROUPS

    console, rows = Console(stderr=True), []
    for task in settings.tasks or GROUPS["robotics"]:
        with doing(task, console):
            rows.append(measure(task, settings))
        console.print(str(rows[-1]))
    common.write("robotics_fidelity", rows, asdict(settings))
    for written in fidelity_page.write(POINTS):
        console.print(f"written: {written}")


if __name__ == "__main__":
    script(main, Settings, __doc__)
