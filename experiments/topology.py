"""Does a deep critic learn the shape of the maze? `python -m experiments.topology run | report`.

`run` reads the runs of `experiments.depth_scaling` that have checkpoints (runs/depth_scaling/...). It computes the
learned Q over a maze for a fixed goal, and Q's rank correlation with the length of the shortest path and with the
Euclidean distance, which ignores the walls. It also plans from a start to a goal by interpolation between embeddings,
decoded to visited states: along the straight line ("Inference via Interpolation", arXiv:2403.04082), and by recursive
midpoints. The results are kept as JSON under experiments/results/topology/; the report reads only these files.

Axis letters: S places of the maze, A actions, G goals, F embedding, K waypoints, V visited states.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from crl_jax import runs
from crl_jax.agents.common import normalised_goal, normalised_obs
from crl_jax.agents.crl import CRL
from crl_jax.config import ConfigError
from crl_jax.experience.rollout import rollout
from crl_jax.play import policy
from crl_jax.report.stats import rank_correlation
from envs_mjx.mazes.point import MAZES
from experiments import depth_scaling, study
from experiments.depth_grids import Kept, cell, scale_of
from experiments.maze_paths import Grid, deceptive_pair, middles
from experiments.topology_figures import plan_figure, topology_figure

STUDY = "topology"
PER_CELL = 3
"""Places along each side of a cell."""
WAYPOINTS = 12
"""Number of waypoints of a plan along the line, start and goal included."""
HALVINGS = 4
EPISODES = 64
"""Episodes of the stochastic policy. A plan may visit only their states."""
DIRECTIONS = np.array([(row, column) for row in (-1.0, 0.0, 1.0) for column in (-1.0, 0.0, 1.0)], np.float32)
"""(A, 2) actions over which Q is maximised: stand still, or full speed in one of eight directions."""
COLUMNS: tuple[study.Column, ...] = (
    ("Q and shortest path", "path_mean", "{:.2f}"),
    ("Q and Euclidean distance", "straight_mean", "{:.2f}"),
    ("this goal: path", "path", "{:.2f}"),
    ("this goal: Euclidean", "straight", "{:.2f}"),
    ("line: longest leg", "line_longest_leg", "{:.2f}"),
    ("midpoints: longest leg", "midpoints_longest_leg", "{:.2f}"),
    ("midpoints: detour", "midpoints_detour", "{:.2f}"),
)
NOTE = (
    "Spearman's correlation of -Q with the env steps of the shortest path, and with the Euclidean distance: mean over"
    " every free cell as the goal, and of the goal shown. Plans: the longest leg, by its shortest path, as a share of"
    " the path from start to goal (1 has jumped the whole way); and the length of all legs over it."
)
Files = Mapping[str, Mapping[str, Sequence[Path]]]
"""Task -> label of a depth -> kept files, by seed."""


def learned_q(crl: CRL, state: Any, positions: np.ndarray, goals: np.ndarray) -> np.ndarray:
    """(S, G) Q(s, g) = max over a in `DIRECTIONS` of f(s, a, g), for positions (S, 2) and goals (G, 2), in cells."""
    count, actions = len(positions), len(DIRECTIONS)
    obs = jnp.repeat(jnp.asarray(positions, jnp.float32), actions, axis=0)
    action = jnp.tile(jnp.asarray(DIRECTIONS), (count, 1))

    def value(phi: Any, psi: Any) -> jax.Array:
        left: Any = crl.phi.apply(phi, normalised_obs(crl.spec, obs), action)
        right: Any = crl.psi.apply(psi, normalised_goal(crl.spec, jnp.asarray(goals, jnp.float32)))
        return jnp.max(crl.energy.pairwise(left, right).reshape(count, actions, -1), axis=1)

    return np.asarray(jax.jit(value)(state.phi, state.psi))


def correlations(q: np.ndarray, grid: Grid, goals: Sequence[int]) -> dict[str, list[float]]:
    """Rank correlations of -q (S, G) with the shortest path and with the Euclidean distance, one per goal.

    `goals` are indices of places. Only places that can reach the goal are ranked. A goal that no other place can reach
    is left out.
    """
    found: dict[str, list[float]] = {"path": [], "straight": []}
    for column, goal in enumerate(goals):
        path = grid.distances(goal)
        there = np.isfinite(path)
        if there.sum() > 1:
            found["path"].append(rank_correlation(-q[there, column], path[there]))
            found["straight"].append(rank_correlation(-q[there, column], grid.straight(goal)[there]))
    return found


def visited(trained: policy.Trained, episodes: int = EPISODES) -> np.ndarray:
    """(V, 2) positions that the stochastic policy visits in fresh episodes."""
    env, act = trained.make_env(episodes), trained.policy(stochastic=True)
    reset_key, key = jax.random.split(jax.random.PRNGKey(0))
    _, steps = jax.jit(lambda: rollout(env, act, env.reset(reset_key), key, env.spec.horizon))()
    return np.asarray(env.achieved_goal(steps.obs)).reshape(-1, env.spec.goal_size)


def on_the_line(embeddings: np.ndarray, waypoints: int = WAYPOINTS) -> list[int]:
    """Plan along the line from the first to the last of embeddings (V, F): indices of the nearest embeddings."""
    share = np.linspace(0, 1, waypoints)[1:-1, None]
    line = (1 - share) * embeddings[0] + share * embeddings[-1]
    apart = np.sum((line[:, None] - embeddings[None]) ** 2, axis=-1)
    return [0, *map(int, np.argmin(apart, axis=1)), len(embeddings) - 1]


def midpoints(embeddings: np.ndarray, halvings: int = HALVINGS) -> list[int]:
    """Plan by recursive midpoints of embeddings (V, F): indices of first, 2^halvings - 1 midpoints, and last.

    The midpoint of two states is the state whose embedding minimises the larger of the distances to the two. This uses
    only the order of distances. In a contrastive critic, distances grow ever more slowly with the length of the path.
    The middle of the straight line between two distant embeddings is therefore nearest to one of the ends.
    """

    def between(start: int, goal: int, times: int) -> list[int]:
        if times == 0:
            return []
        far = np.maximum(*(np.linalg.norm(embeddings - embeddings[end], axis=1) for end in (start, goal)))
        middle = int(np.argmin(far))
        return [*between(start, middle, times - 1), middle, *between(middle, goal, times - 1)]

    last = len(embeddings) - 1
    return [0, *between(0, last, halvings), last]


PLANS = {"line": on_the_line, "midpoints": midpoints}


def plan_scores(waypoints: np.ndarray, grid: Grid) -> dict[str, float]:
    """detour and longest_leg of waypoints (K, 2), start and goal included; see `NOTE`. Empty when a path is missing."""
    places = [grid.nearest(position) for position in waypoints]
    legs = np.array([grid.distances(there)[here] for here, there in itertools.pairwise(places)])
    whole = grid.distances(places[-1])[places[0]]
    if not np.isfinite(legs).all() or not 0 < whole < np.inf:
        return {}
    return {"detour": float(legs.sum() / whole), "longest_leg": float(legs.max() / whole)}


def computed(folder: Path) -> dict[str, Any]:
    """The results kept of a run: Q over the maze, correlations, and both plans between the maze's `deceptive_pair`.

    Raises:
        CheckpointError: no run or checkpoint there. ConfigError: not a maze, or not CRL with one critic.
    """
    config = runs.load(folder)
    if config.env.task not in MAZES:
        raise ConfigError(f"task={config.env.task!r}: no maze of points; one of {', '.join(MAZES)}")
    if config.agent.method != "crl" or config.agent.twin:
        raise ConfigError(f"method={config.agent.method!r}, twin={config.agent.twin}: CRL with one critic wanted")
    trained = policy.load(folder)
    walls = MAZES[config.env.task].walls
    grid, (start, goal) = Grid(walls, PER_CELL), deceptive_pair(walls)
    env = trained.make_env(1)
    crl, state = CRL(config.agent, config.network, env.spec), trained.state
    goals = [grid.nearest(goal), *(grid.nearest(middle) for middle in middles(walls))]
    q = learned_q(crl, state, grid.positions, grid.positions[goals])
    found = correlations(q, grid, goals)
    places = np.concatenate([start[None], visited(trained), goal[None]])
    inputs = normalised_goal(crl.spec, jnp.asarray(places, jnp.float32))
    embeddings = np.asarray(crl.psi.apply(state.psi, inputs))
    plans = {name: places[plan(embeddings)] for name, plan in PLANS.items()}
    return {
        "run": folder.name,
        "env_steps": trained.env_steps,
        "per_cell": PER_CELL,
        "start": start.tolist(),
        "goal": goal.tolist(),
        "q": [round(float(value), 4) for value in q[:, 0]],
        "path": found["path"][0],
        "straight": found["straight"][0],
        "path_mean": float(np.mean(found["path"][1:])),
        "straight_mean": float(np.mean(found["straight"][1:])),
        "visited": len(places) - 2,
        "plans": {
            name: {"waypoints": np.round(waypoints, 3).tolist(), **plan_scores(waypoints, grid)}
            for name, waypoints in plans.items()
        },
        "config": config.to_dict(),
    }


def names(tasks: Sequence[str], depths: Sequence[int]) -> dict[str, dict[str, str]]:
    """Task -> label of a depth -> name of its cell. Empty `tasks` or `depths`: all of the study.

    Raises:
        ConfigError: an unknown task or depth.
    """
    scale = scale_of(False)
    study.known(tasks, scale.tasks, "tasks")
    settings = {str(setting.critic_depth): setting for setting in scale.settings("depth")}
    chosen = study.known([str(depth) for depth in depths] or list(settings), settings, "depths")
    return {
        task: {f"depth {depth}": cell(scale, task, setting).name for depth, setting in chosen.items()}
        for task in tasks or scale.tasks
    }


def run(tasks: tuple[str, ...] = (), depths: tuple[int, ...] = (), seeds: tuple[int, ...] = (0, 1, 2)) -> int:
    """Compute and keep the results of the runs under runs/depth_scaling; runs without checkpoints are skipped.

    Args:
        tasks: point_U, point_Maze11x11, point_FourRooms; all by default.
        depths: 4, 16, 64; all by default.
        seeds: Seeds.
    """
    console, made = Console(), 0
    for cells_ in names(tasks, depths).values():
        for name, seed in ((name, seed) for name in cells_.values() for seed in seeds):
            folder = Path("runs") / depth_scaling.STUDY / f"{name}-s{seed}"
            if not (folder / runs.CHECKPOINTS).is_dir():
                console.print(f"{folder}: no run here, skipped", markup=False, highlight=False)
                continue
            kept = study.RESULTS / STUDY / f"{folder.name}.json"
            kept.parent.mkdir(parents=True, exist_ok=True)
            runs.write_json(kept, computed(folder))
            console.print(f"{kept.name}: kept", markup=False, highlight=False)
            made += 1
    if not made:
        raise ConfigError("no runs with checkpoints under runs/depth_scaling; make them with its `run`")
    return 0


def kept_files(tasks: Sequence[str] = ()) -> Files:
    """The kept files; tasks and depths without kept files are left out.

    Raises:
        ConfigError: no file is kept.
    """
    folder = study.RESULTS / STUDY
    found: dict[str, Mapping[str, Sequence[Path]]] = {}
    for task, cells_ in names(tasks, ()).items():
        there = {label: sorted(folder.glob(f"{name}-s*.json")) for label, name in cells_.items()}
        if there := {label: files for label, files in there.items() if files}:
            found[task] = there
    if not found:
        raise ConfigError(f"nothing kept under {folder}; make it with `run`")
    return found


def read(file: Path) -> dict[str, Any]:
    """The values of a kept file, with the scores of its plans added as <plan>_<score>."""
    found: dict[str, Any] = json.loads(file.read_text())
    scores = ((name, key, value) for name, plan in found["plans"].items() for key, value in plan.items())
    return found | {f"{name}_{key}": value for name, key, value in scores if key != "waypoints"}


def table(kept: Files) -> str:
    """Markdown table, one row per task and depth: `COLUMNS`, each the median and range over the seeds."""
    groups = {f"{task}, {label}": files for task, cells_ in kept.items() for label, files in cells_.items()}
    return study.markdown_table(groups, COLUMNS, "critic", read)


def learning_curves(kept: Files) -> dict[str, Kept]:
    """Task -> label of a depth -> kept runs of `depth_scaling`; tasks and depths without kept runs are left out."""
    found: dict[str, Kept] = {}
    for task, cells_ in kept.items():
        folders = {
            label: [study.RESULTS / depth_scaling.STUDY / file.stem for file in files]
            for label, files in cells_.items()
        }
        found[task] = {
            label: there for label, runs_ in folders.items() if (there := [one for one in runs_ if one.is_dir()])
        }
    return {task: groups for task, groups in found.items() if groups}


def pictures(kept: Files, maps: Path, plans: Path) -> tuple[Path, Path]:
    """Draws both figures, the maps and the plans, into the given files."""
    told = {
        task: {label: [read(file) for file in files] for label, files in cells_.items()}
        for task, cells_ in kept.items()
    }
    return topology_figure(told, learning_curves(kept), maps), plan_figure(told, plans)


def report(out: Path | None = None) -> int:
    """Table, maps of Q beside the shortest path, and plans over the mazes, from the kept files.

    Args:
        out: Folder of the pictures; runs/topology/report by default.
    """
    kept, out = kept_files(), out or Path("runs") / STUDY / "report"
    drawn = pictures(kept, out / "topology.png", out / "plans.png")
    console = Console()
    for text in (table(kept), NOTE, *map(str, drawn)):
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    return 0


def section() -> str:
    """Draws the README's figures; returns table and figures as Markdown.

    Raises:
        ConfigError: no file is kept.
    """
    kept, docs = kept_files(), study.ROOT / "docs"
    maps, plans = pictures(kept, docs / "topology.png", docs / "topology_plans.png")
    beside = f"![Time at goal, and the learned Q beside the shortest path]({maps.relative_to(study.ROOT)})"
    return f"{table(kept)}\n\n{NOTE}\n\n{beside}\n\n![Plans]({plans.relative_to(study.ROOT)})"


if __name__ == "__main__":
    study.cli({"run": run, "report": report})
