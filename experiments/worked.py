"""The pictures of docs/method.md, from one policy of a point maze: `python -m experiments.worked` (a minute or two).

Nothing in them is drawn by hand: the batch comes from the run's replay ring, the numbers from its critic.
Axis letters: B rows of the batch shown, T rows of the ring.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import crl_jax
from configs import PRESETS
from crl_jax.config import with_overrides
from crl_jax.experience import buffer
from crl_jax.play.policy import Trained
from crl_jax.report.figures import COLOURS, new_figure, saved
from crl_jax.runs import CHECKPOINTS, checkpoint
from crl_jax.trainer import build
from crl_jax.types import Batch
from experiments.study import ROOT

TASK, SHOWN, SEED = "point_FourRooms", 8, 2
STEPS = 300_000
CRITIC, ACTOR = ROOT / "docs" / "method_critic.png", ROOT / "docs" / "method_actor.png"


def train(runs: Path) -> tuple[Trained, Any, Any]:
    """A policy of the maze; also its replay ring and its environment."""
    config = with_overrides(
        PRESETS["point_cpu"], task=TASK, total_env_steps=STEPS, video=False, runs=str(runs), distinct_trajectories=True
    )
    result = crl_jax.train(config)
    setup = build(result.config)
    state, host = checkpoint.restore(result.folder / CHECKPOINTS, setup.template)
    trained = Trained(result.folder, result.config, setup.agent, state.agent, host["counters"]["env_steps"])
    return trained, state.ring, setup.env


def critic_figure(trained: Trained, ring: Any, env: Any, path: Path = CRITIC) -> Path:
    """Left: a batch of `SHOWN` steps with their positives, in the maze. Right: the critic's logits of all pairs."""
    config, key = trained.config, jax.random.PRNGKey(SEED)
    batch = buffer.sample(ring, key, (SHOWN,), config.agent.discount, env.achieved_goal, distinct=True)
    figure = new_figure(1, 2, 9.0, 4.2)
    maze, matrix = figure.subplots(1, 2)
    _walls(maze, env)
    for row in range(SHOWN):
        path_of = _future(ring, env, batch, row)
        colour = COLOURS[0] if row == 0 else "0.6"
        maze.plot(*path_of.T, color=colour, linewidth=1.2)
        maze.plot(*path_of[0], "o", color=colour, markersize=5)
        maze.plot(*np.asarray(batch.goal)[row], "*", color=COLOURS[2] if row == 0 else COLOURS[1], markersize=11)
    maze.set_title("A step (s, a), its positive, its negatives", fontsize=10)
    for label, mark, colour in (
        ("(s, a) of the first row", "o", COLOURS[0]),
        ("its positive: what its episode reached later", "*", COLOURS[2]),
        ("its negatives: the positives of the other rows", "*", COLOURS[1]),
    ):
        maze.plot([], [], mark, color=colour, label=label)
    maze.legend(loc="upper center", bbox_to_anchor=(0.5, 0.0), frameon=False, fontsize=8)
    logits = np.asarray(_logits(trained, batch))
    shown = matrix.imshow(logits, cmap="viridis")
    for row in range(SHOWN):
        matrix.text(row, row, "+", ha="center", va="center", color=COLOURS[1], fontsize=13, fontweight="bold")
    matrix.set(xlabel="goal of row j", ylabel="step of row i", xticks=range(SHOWN), yticks=range(SHOWN))
    matrix.set_title("f(s, a, g) of every pair; +: the positives", fontsize=10)
    figure.colorbar(shown, ax=matrix, fraction=0.046)
    return saved(figure, path, grid=False)


def actor_figure(trained: Trained, env: Any, path: Path = ACTOR) -> Path:
    """Left: f(s, a, g) of every goal g, for one step. Right: f(s, a, g) of every action a, for one state and goal."""
    critic = jax.jit(trained.critic())  # type: ignore[arg-type]
    state = jax.jit(env.reset)(jax.random.PRNGKey(SEED))
    figure = new_figure(1, 2, 9.0, 4.2)
    goals, actions = figure.subplots(1, 2)
    obs, goal = state.obs[:1], state.goal[:1]
    action = trained.policy()(state, jax.random.PRNGKey(0))[:1]
    rows, columns = env.walls.shape
    xs, ys = np.linspace(0, rows, 12 * rows), np.linspace(0, columns, 12 * columns)
    asked = jnp.asarray(np.stack(np.meshgrid(xs, ys, indexing="ij"), -1).reshape(-1, 2), jnp.float32)
    many = len(asked)
    values = critic(jnp.repeat(obs, many, 0), jnp.repeat(action, many, 0), asked)
    free = ~env.walls[np.minimum(xs.astype(int), rows - 1)][:, np.minimum(ys.astype(int), columns - 1)]
    picture = np.where(free, np.asarray(values).reshape(len(xs), len(ys)), np.nan)
    shown = goals.pcolormesh(xs, ys, picture.T, cmap="viridis", shading="nearest")
    _walls(goals, env)
    goals.plot(*np.asarray(obs)[0], "o", color=COLOURS[1], label="the state s")
    goals.plot(*np.asarray(goal)[0], "*", color="white", markersize=12, markeredgecolor="black", label="the goal")
    goals.legend(loc="upper center", bbox_to_anchor=(0.5, 0.0), frameon=False, fontsize=8, ncols=2)
    goals.set_title("f(s, a, g) of every goal g", fontsize=10)
    figure.colorbar(shown, ax=goals, fraction=0.046)
    side = np.linspace(-1, 1, 61)
    tried = jnp.asarray(np.stack(np.meshgrid(side, side, indexing="ij"), -1).reshape(-1, 2), jnp.float32)
    values = critic(jnp.repeat(obs, len(tried), 0), tried, jnp.repeat(goal, len(tried), 0))
    shown = actions.pcolormesh(side, side, np.asarray(values).reshape(61, 61).T, cmap="viridis", shading="nearest")
    actions.plot(*np.asarray(action)[0], "*", color=COLOURS[1], markersize=14, label="the actor's action")
    ahead = np.asarray(goal - obs)[0]
    actions.annotate("", 0.5 * ahead / np.linalg.norm(ahead), (0, 0), arrowprops={"arrowstyle": "->", "color": "white"})
    actions.plot([], [], color="0.7", label="straight to the goal")
    actions.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), frameon=False, fontsize=8, ncols=2)
    actions.set(xlabel="action along x", ylabel="action along y", aspect="equal")
    actions.set_title("f(s, a, g) of every action a, for the goal", fontsize=10)
    figure.colorbar(shown, ax=actions, fraction=0.046)
    return saved(figure, path, grid=False)


def _walls(axes: Any, env: Any) -> None:
    rows, columns = env.walls.shape
    dark = np.ma.masked_where(~env.walls.T, np.ones((columns, rows)))
    axes.imshow(dark, cmap="gray_r", vmin=0, vmax=1.4, origin="lower", extent=(0, rows, 0, columns), zorder=0)
    axes.set(xticks=[], yticks=[], xlim=(0, rows), ylim=(0, columns), aspect="equal")


def _future(ring: Any, env: Any, batch: Batch, row: int) -> np.ndarray:
    """(T, 2) places of a batch row's episode from its step to its positive."""
    column = int(batch.env[row])
    achieved, episode = np.asarray(env.achieved_goal(ring.obs[:, column])), np.asarray(ring.episode[:, column])
    mine = np.flatnonzero(episode == int(batch.episode[row]))
    first = mine[np.argmin(np.linalg.norm(achieved[mine] - np.asarray(env.achieved_goal(batch.obs[row])), axis=1))]
    found: np.ndarray = achieved[(first + np.arange(int(batch.offset[row]) + 1)) % len(achieved)]
    return found


def _logits(trained: Trained, batch: Batch) -> jax.Array:
    """(B, B) energies f(s_i, a_i, g_j)."""
    critic = trained.critic()
    assert critic

    def row(obs: jax.Array, action: jax.Array) -> jax.Array:
        return critic(jnp.tile(obs, (SHOWN, 1)), jnp.tile(action, (SHOWN, 1)), batch.goal)

    return jax.vmap(row)(batch.obs, batch.action)


if __name__ == "__main__":
    print("Training a point maze, then drawing ...")
    with tempfile.TemporaryDirectory() as folder:
        learned, experience, world = train(Path(folder))
        print(critic_figure(learned, experience, world))
        print(actor_figure(learned, world))
