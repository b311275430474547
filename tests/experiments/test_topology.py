"""Maze critics with known answers, plans of known length, a report from kept files, and a real run."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import numpy as np
import pytest

import envs_mjx
from crl_jax import runs
from crl_jax.agents.crl import CRL
from crl_jax.config import ConfigError, with_overrides
from crl_jax.play import policy
from crl_jax.train import train
from envs_mjx.mazes.point import MAZES
from experiments import study, topology
from experiments.depth_grids import CPU, Setting, cell, cells
from experiments.maze_paths import Grid, deceptive_pair
from tests.crl_jax.test_train import SMALL
from tests.experiments.test_depth_scaling import made_up

U = MAZES["point_U"].walls
TINY = {**SMALL, "horizon": 12, "width": 8, "critic_depth": 4, "actor_depth": 4, "total_env_steps": 160, "embedding": 4}


def test_learned_q_is_the_critic_s_best_of_nine_actions() -> None:
    config = with_overrides(cell(CPU, "point_U", Setting(4, 4, 8, 16)).config("x"), embedding=4)
    crl = CRL(config.agent, config.network, envs_mjx.make("point_U", 1).spec)
    state = crl.init(jax.random.PRNGKey(0))
    grid = Grid(U)
    goals = grid.positions[[0, 7, 18]]
    q = topology.learned_q(crl, state, grid.positions, goals)
    assert q.shape == (19, 3)
    for place, goal in ((0, 0), (3, 1), (18, 2)):
        obs, aim = np.tile(grid.positions[place], (9, 1)), np.tile(goals[goal], (9, 1))
        values = crl.value((state.phi, state.psi), obs, topology.DIRECTIONS, aim)
        assert q[place, goal] == pytest.approx(float(np.max(values)), abs=1e-4)


def test_a_critic_that_follows_the_maze_is_told_from_one_that_goes_through_walls() -> None:
    grid = Grid(U, 3)
    start, goal = deceptive_pair(U)
    goals = [grid.nearest(goal), grid.nearest(start)]
    path = np.stack([grid.distances(one) for one in goals], axis=1)
    straight = np.stack([grid.straight(one) for one in goals], axis=1)
    follows, ignores = topology.correlations(-(path**2), grid, goals), topology.correlations(-straight, grid, goals)
    assert follows["path"] == pytest.approx([1, 1]) and ignores["straight"] == pytest.approx([1, 1])
    assert max(follows["straight"]) < 0.6 and max(ignores["path"]) < 0.6, "the maze deceives"
    pocket = Grid(np.array([[False, False, True, False]]))
    assert topology.correlations(np.array([[0.0], [-1.0], [5.0]]), pocket, [0])["path"] == [pytest.approx(1)]
    assert topology.correlations(np.zeros((3, 1)), pocket, [2]) == {"path": [], "straight": []}, "nothing reaches it"


def test_plans_in_a_known_embedding() -> None:
    corridor = Grid(np.zeros((1, 9), bool))
    plan = corridor.positions[topology.on_the_line(corridor.positions, waypoints=9)]
    np.testing.assert_array_equal(plan, corridor.positions)
    np.testing.assert_array_equal(
        corridor.positions[topology.midpoints(corridor.positions, halvings=3)], corridor.positions
    )
    assert topology.plan_scores(plan, corridor) == {"detour": 1.0, "longest_leg": 0.125}
    jump = corridor.positions[[0, 0, 8]]
    assert topology.plan_scores(jump, corridor) == {"detour": 1.0, "longest_leg": 1.0}
    back = corridor.positions[[0, 4, 2, 8]]
    assert topology.plan_scores(back, corridor)["detour"] == 1.5
    assert topology.plan_scores(jump[:2], corridor) == {}, "no way to go"


def between_ends(grid: Grid, start: np.ndarray, goal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places from start to goal, and env steps of the shortest path between any two of them."""
    places = [grid.nearest(start), *range(len(grid.places)), grid.nearest(goal)]
    return grid.positions[places], np.stack([grid.distances(place)[places] for place in places])


def test_embeddings_by_path_length_give_a_plan_along_the_path() -> None:
    grid = Grid(U, 3)
    start, goal = deceptive_pair(U)
    places, steps = between_ends(grid, start, goal)
    scores = topology.plan_scores(places[topology.on_the_line(steps[:, :1])], grid)
    assert 1 <= scores["detour"] < 1.2 and scores["longest_leg"] < 0.2
    straight = topology.plan_scores(places[topology.on_the_line(places)], grid)
    assert straight["longest_leg"] > 0.5, "a straight line jumps over the wall"


def test_midpoints_need_only_the_order_of_distances() -> None:
    """Embedding distances grow as the path length to the power 1, 0.5, 0.3: at 0.3 the line jumps, midpoints do not."""
    corridor = Grid(np.zeros((1, 33), bool))
    apart = np.abs(np.subtract.outer(np.arange(33), np.arange(33)))
    longest = {}
    for power in (1.0, 0.5, 0.3):
        squares = apart ** (2 * power)
        inner = 0.5 * (squares[:1] + squares[:, :1] - squares)  # about the first place: classical scaling
        values, vectors = np.linalg.eigh(inner)
        embeddings = vectors * np.sqrt(np.maximum(values, 0))
        distances = np.linalg.norm(embeddings[:, None] - embeddings[None], axis=-1)
        np.testing.assert_allclose(distances, apart**power, atol=1e-5)
        halved = topology.plan_scores(corridor.positions[topology.midpoints(embeddings, halvings=3)], corridor)
        assert halved == {"detour": 1.0, "longest_leg": 0.125}
        longest[power] = topology.plan_scores(corridor.positions[topology.on_the_line(embeddings)], corridor)[
            "longest_leg"
        ]
    assert longest[1.0] < 0.1 and longest[0.3] > 0.5


def keep_made_up(folder: Path, task: str, depth: int, seed: int) -> None:
    """Write results of a made-up critic: Euclidean distance at depth 4, else the length of the shortest path."""
    walls = MAZES[task].walls
    grid, (start, goal) = Grid(walls, topology.PER_CELL), deceptive_pair(walls)
    at = grid.nearest(goal)
    q = -(grid.straight(at) if depth == 4 else grid.distances(at))
    found = topology.correlations(q[:, None], grid, [at])
    numbers = {"path": found["path"][0], "straight": found["straight"][0]}
    whole = {"path_mean": numbers["path"] - 0.01 * seed, "straight_mean": numbers["straight"]}
    finite = np.where(np.isfinite(q), q, -999.0)
    plan = {"waypoints": [start.tolist(), goal.tolist()], "detour": 1.0, "longest_leg": 1.0}
    plans = {"plans": {"line": plan, "midpoints": plan | {"longest_leg": 0.25}}}
    told = {"per_cell": topology.PER_CELL, "start": start.tolist(), "goal": goal.tolist(), "q": finite.tolist()}
    name = f"{topology.names((task,), (depth,))[task][f'depth {depth}']}-s{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    runs.write_json(folder / f"{name}.json", told | numbers | whole | plans | {"env_steps": 1000})


def test_the_report_is_made_of_kept_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(study, "RESULTS", tmp_path)
    with pytest.raises(ConfigError, match="nothing kept under"):
        topology.report(tmp_path / "out")
    for task, depth, seed in (("point_U", 4, 0), ("point_U", 4, 1), ("point_U", 64, 0), ("point_Maze11x11", 64, 0)):
        keep_made_up(tmp_path / "topology", task, depth, seed)
    made_up(tmp_path, cells(("point_U",), ("depth",)))
    assert topology.report(tmp_path / "out") == 0
    told = capsys.readouterr().out
    rows = {line.split("|")[1].strip(): line.split("|") for line in told.splitlines() if line.startswith("| point")}
    assert set(rows) == {"point_U, depth 4", "point_U, depth 64", "point_Maze11x11, depth 64"}
    assert rows["point_U, depth 4"][2].strip() == "2" and "[" in rows["point_U, depth 4"][3]
    assert rows["point_U, depth 64"][3].strip() == "1.00" and rows["point_U, depth 4"][4].strip() == "1.00"
    assert [cell.strip() for cell in rows["point_U, depth 4"][7:10]] == ["1.00", "0.25", "1.00"]
    for name in ("topology.png", "plans.png"):
        assert (tmp_path / "out" / name).stat().st_size > 10_000
    curves = topology.learning_curves(topology.kept_files())
    assert set(curves) == {"point_U"} and set(curves["point_U"]) == {"depth 4", "depth 64"}


def test_what_is_unknown_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="tasks='point_u': unknown; nearest: point_U"):
        topology.names(("point_u",), ())
    with pytest.raises(ConfigError, match="depths='6': unknown; nearest: "):
        topology.names((), (6,))
    with pytest.raises(ConfigError, match="no runs with checkpoints under runs/depth_scaling"):
        topology.run(depths=(4,), seeds=(0,))


@pytest.mark.slow
def test_a_trained_critic_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(study, "RESULTS", tmp_path / "results")
    wanted = cells(("point_U",), ("depth",))[0]
    train(with_overrides(wanted.config("depth_scaling"), **TINY), console=False)
    assert topology.run(tasks=("point_U",), depths=(4,), seeds=(0, 1)) == 0
    (kept,) = (tmp_path / "results" / "topology").iterdir()
    told = json.loads(kept.read_text())
    assert kept.stem == f"{wanted.name}-s0" == told["run"] and told["env_steps"] >= 160
    assert len(told["q"]) == 19 * topology.PER_CELL**2 and np.isfinite(told["q"]).all()
    assert all(-1 <= told[key] <= 1 for key in ("path", "straight", "path_mean", "straight_mean"))
    assert told["visited"] == topology.EPISODES * 12
    for name, count in (("line", topology.WAYPOINTS), ("midpoints", 2**topology.HALVINGS + 1)):
        plan = told["plans"][name]
        assert np.shape(plan["waypoints"]) == (count, 2)
        np.testing.assert_allclose(np.array(plan["waypoints"])[[0, -1]], [told["start"], told["goal"]])
        assert plan["detour"] >= 1 - 1e-9 and 0 < plan["longest_leg"] <= plan["detour"]
    places = topology.visited(policy.load(tmp_path / "runs" / "depth_scaling" / kept.stem), 4)
    assert not U[tuple(np.floor(places).astype(int).T)].any(), "the policy never stands in a wall"
    assert topology.report(tmp_path / "out") == 0
