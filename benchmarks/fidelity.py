"""How close engines `warp` and `jax` are to engine `c`, the official physics: steps, rollouts, scripted policies.

All engines start from states of engine `c`, so resets are not measured here. A row is one task on one engine. Each row
is written as soon as it is measured; `--missing` continues with the tasks and engines that have no row yet. Writes
docs/fidelity.md and docs/fidelity.png from the rows.

Axis letters: E environments (one episode each), T time, K points, R reset vector.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks import common, fidelity_page
from benchmarks.scripted_policies import draw_vectors, official_successes
from crl_jax.cli.options import script
from crl_jax.cli.progress import doing

POINTS = 10
"""Tolerance on the scripted policy's success rate against engine `c`, in percentage points."""


@dataclass(frozen=True)
class Settings:
    """What is measured."""

    engines: tuple[str, ...] = ("c", "scene", "warp", "jax")
    """Engines. `c`: the reference; its rows only count the official scene's geom pairs. `scene`: the simplified scene
    of `jax` stepped by MuJoCo's C engine in the official package, which shows what the simplification costs."""
    tasks: tuple[str, ...] = ()
    """Tasks; empty: all."""
    missing: bool = False
    """Measure only tasks and engines without a row in results/fidelity.json."""
    episodes: int = 16
    """Environments and scripted episodes per task and engine."""
    horizon: int = 200
    """Env steps of a scripted episode."""
    rollout: int = 50
    """Env steps of a rollout of random actions."""
    seed: int = 0
    """Seed of reset vectors and actions."""


@dataclass(frozen=True)
class Side:
    """One engine's compiled functions of one task.

    Attributes:
        step: (physics, action (E, 4)) -> physics.
        judge: (physics, previous frame, target) -> success (E,), official observation (E, 39), frame.
    """

    env: Any
    step: Callable[..., Any]
    judge: Callable[..., Any]


def make_side(task: str, engine: str, count: int) -> Side:
    """The side with E = count environments; raises EnvError if the engine does not support the scene."""
    import jax

    from envs_mjx.metaworld import official
    from envs_mjx.metaworld.env import MetaWorld
    from envs_mjx.metaworld.tasks import TASKS

    env = MetaWorld(TASKS[task], count, engine, "object", 1, reward=False)

    def judge(physics, previous, target):
        return env.success(physics, target), *official.observation(env.task, physics, previous, target)

    return Side(env, jax.jit(env.physics.step), jax.jit(judge))


def begin(env: Any, vectors: np.ndarray) -> tuple[Any, Any]:
    """Engine `c`'s physics after a reset to `vectors` (E, R), and the targets (E, 3)."""
    import jax
    import jax.numpy as jnp

    physics = jax.jit(env.physics.reset)(env.physics.initial(), jnp.ones(env.num_envs, bool), jnp.asarray(vectors))
    return physics, env.target(physics, jnp.asarray(vectors))


def as_dynamics(env: Any, physics: Any) -> Any:
    """Convert a state of engine `c` to one of `warp` and `jax`; `env` is the environment on `c`. The readout stays."""
    import jax.numpy as jnp

    from envs_mjx.physics.dynamics import Dynamics

    rows, name = [], env.scene.placement.fixture
    for index in range(env.num_envs):
        model, data = env.physics.materialise(physics, index)
        fixture = model.body(name).pos if name else np.zeros(3)
        rows.append((data.qpos, data.qvel, data.qacc_warmstart, data.mocap_pos[0], fixture))
    engine = Dynamics(*(jnp.asarray(np.array(field), jnp.float32) for field in zip(*rows, strict=True)))
    return physics.replace(engine=engine)


def scripted(side: Side, physics: Any, target: Any, horizon: int, keep: tuple[int, ...] = ()) -> tuple[Any, list[Any]]:
    """Run the official scripted policy; returns success at any step (E,), and the states before the steps `keep`.

    The run stops at the horizon, or earlier if all environments have succeeded and all of `keep` are stored.
    """
    from envs_mjx.metaworld import official

    policy, frame, kept = official.scripted_policy(side.env.task.name), None, []
    successes = np.zeros(side.env.num_envs, bool)
    for now in range(horizon + 1):
        success, obs, frame = side.judge(physics, frame, target)
        successes |= np.asarray(success) & (now > 0)
        if now == horizon or (successes.all() and now > max(keep, default=0)):
            break
        if now in keep:
            kept.append(physics)
        physics = side.step(physics, official.scripted_actions(policy, obs))
    return successes, kept


def random_actions(seed: int, steps: int, count: int) -> np.ndarray:
    """(T, E, 4) uniform in [-1, 1]."""
    return np.random.default_rng(seed).uniform(-1, 1, (steps, count, 4)).astype(np.float32)


def rolled(side: Side, physics: Any, actions: np.ndarray) -> np.ndarray:
    """(E, 3) the achieved point after `actions` (T, E, 4)."""
    for action in actions:
        physics = side.step(physics, action)
    return np.asarray(side.env.layout.point(physics, side.env.task.achieved))


@dataclass(frozen=True)
class Reference:
    """Results of engine `c` on one task.

    Attributes:
        start, target: state after the reset; goal (E, 3).
        states: states along scripted episodes, at the steps KEPT.
        ends: (E, 3) achieved points after rollouts of random actions.
        successes: (E,) success of the scripted policy.
    """

    side: Side
    start: Any
    target: Any
    states: list[Any]
    ends: np.ndarray
    successes: np.ndarray


KEPT = (0, 10, 20, 30, 40, 50, 60)
"""Steps of a scripted episode at which one-step errors are measured: free flight, grasp, transport."""


@functools.lru_cache(maxsize=1)
def reference(task: str, settings: Settings) -> Reference:
    vectors = draw_vectors(task, settings.episodes, settings.seed)
    side = make_side(task, "c", settings.episodes)
    start, target = begin(side.env, vectors)
    successes, states = scripted(side, start, target, settings.horizon, KEPT)
    ends = rolled(side, start, random_actions(settings.seed + 1, settings.rollout, settings.episodes))
    return Reference(side, start, target, states, ends, successes)


def one_step_errors(side: Side, known: Reference, seed: int) -> np.ndarray:
    """(len(KEPT) * E,) errors in metres after one step of random actions: the largest over the points of a task."""
    errors = []
    for state, action in zip(known.states, random_actions(seed, len(known.states), side.env.num_envs), strict=True):
        exact, ours = known.side.step(state, action), side.step(as_dynamics(known.side.env, state), action)
        errors.append(np.linalg.norm(np.asarray(exact.points) - np.asarray(ours.points), axis=-1).max(axis=-1))
    return np.concatenate(errors)


def measure(task: str, engine: str, settings: Settings) -> dict[str, Any]:
    """One row; raises EnvError if the engine does not support the scene."""
    from envs_mjx.metaworld.jax_scenes import colliding_pairs, load_jax_model
    from envs_mjx.metaworld.scenes import load_model
    from envs_mjx.metaworld.tasks import TASKS

    began = time.perf_counter()
    scene = TASKS[task].scene
    model = load_jax_model(scene) if engine == "jax" else load_model(scene)
    row = {"task": task, "engine": engine, "pairs": colliding_pairs(model)}
    if engine == "c":
        return row
    if engine == "scene":
        return measure_scene(task, settings)
    known = reference(task, settings)
    side = make_side(task, engine, settings.episodes)
    start, actions = as_dynamics(known.side.env, known.start), random_actions(settings.seed + 1, settings.rollout, 1)
    first = time.perf_counter()
    np.asarray(side.step(start, np.repeat(actions[0], settings.episodes, axis=0)).points)
    compiled = time.perf_counter()
    errors = one_step_errors(side, known, settings.seed)
    ends = rolled(side, start, random_actions(settings.seed + 1, settings.rollout, settings.episodes))
    successes, _ = scripted(side, start, known.target, settings.horizon)
    apart = np.linalg.norm(ends - known.ends, axis=-1)
    return row | {
        "one_step_median_m": float(np.median(errors)),
        "one_step_max_m": float(errors.max()),
        "rollout_median_m": float(np.median(apart)),
        "rollout_p90_m": float(np.percentile(apart, 90)),
        "success": float(100 * successes.mean()),
        "c_success": float(100 * known.successes.mean()),
        "faithful": bool(abs(successes.mean() - known.successes.mean()) * 100 <= POINTS),
        "episodes": settings.episodes,
        "first_step_s": compiled - first,
        "measured_s": time.perf_counter() - began,
    }


def measure_scene(task: str, settings: Settings) -> dict[str, Any]:
    """One row: success of the scripted policy in the official package, with the simplified scene of engine `jax`."""
    from envs_mjx.metaworld.jax_scenes import colliding_pairs, load_jax_model
    from envs_mjx.metaworld.scenes import load_model
    from envs_mjx.metaworld.tasks import TASKS

    row, official = TASKS[task], load_model(TASKS[task].scene)
    # The official package reads more bodies than our tasks do. So all bodies are kept, and none is fused.
    bodies = tuple(name for index in range(1, official.nbody) if (name := official.body(index).name))
    model, random = load_jax_model(row.scene, bodies), np.random.default_rng(settings.seed)
    vectors: list[np.ndarray] = []
    while len(vectors) < settings.episodes:
        vector = random.uniform(row.low, row.high)
        goal = vector[3:5] if row.min_xy_from is None else np.array(row.min_xy_from)
        if not row.min_xy or np.linalg.norm(vector[:2] - goal) >= row.min_xy:
            vectors.append(vector)
    ours, theirs = (
        official_successes(task, np.array(vectors), settings.horizon, used).mean() for used in (model, None)
    )
    return {
        "task": task,
        "engine": "scene",
        "pairs": colliding_pairs(model),
        "success": float(100 * ours),
        "c_success": float(100 * theirs),
        "faithful": bool(abs(ours - theirs) * 100 <= POINTS),
        "episodes": settings.episodes,
    }


def main(settings: Settings) -> None:
    """Measure, print, write results/fidelity.json and docs/fidelity.{md,png}; rows of other cases stay."""
    from envs_mjx.base import EnvError
    from envs_mjx.metaworld.tasks import TASKS

    console = Console(stderr=True)
    rows = _kept()
    wanted = [(task, engine) for task in settings.tasks or TASKS for engine in settings.engines]
    wanted = [case for case in wanted if not (settings.missing and case in rows)]
    for number, case in enumerate(wanted, 1):
        try:
            with doing(f"{number}/{len(wanted)} {' '.join(case)}", console):
                row = measure(*case, settings)
        except EnvError as error:
            console.print(f"{' '.join(case)}: left out: {error}")
            continue
        rows = _kept() | {case: row}  # Read again: another process may have added rows.
        common.write("fidelity", _in_order(rows, tuple(TASKS)), asdict(settings))
        console.print(f"{' '.join(case)}: {row}")
    for written in fidelity_page.write(POINTS):
        console.print(f"written: {written}")


def _kept() -> dict[tuple[str, str], dict[str, Any]]:
    """(task, engine) -> its row in results/fidelity.json."""
    return {(row["task"], row["engine"]): row for row in common.read_rows("fidelity")}


def _in_order(rows: dict[tuple[str, str], dict[str, Any]], tasks: tuple[str, ...]) -> list[dict[str, Any]]:
    return [rows[task, engine] for task in tasks for engine in Settings.engines if (task, engine) in rows]


if __name__ == "__main__":
    script(main, Settings, __doc__)
