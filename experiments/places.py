"""Where goals lie in the room: `python -m experiments.places` draws docs/places.png.

For one start of a task: the commanded goal, and the exploratory goals that the default preset asks for at every
decision of an episode, as points over the rendered scene.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from configs import PRESETS
from crl_jax.config import ConfigError, with_overrides
from crl_jax.experience.explore import behaviour_goal
from crl_jax.report.figures import COLOURS, new_figure, saved
from crl_jax.trainer import make_env
from envs_mjx.base import GoalEnv, State
from envs_mjx.film import seen
from envs_mjx.metaworld.env import MetaWorld
from envs_mjx.metaworld.tasks import TASKS
from envs_mjx.repeated import Repeated
from experiments.metaworld_tables import PRESETS as SUITE
from experiments.study import ROOT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = ("sweep-into", "pick-place", "shelf-place", "stick-push")
"""An object that is pushed, one that is carried, one whose straight way is blocked, one that is moved with a tool."""
EPISODES, SIZE = 16, (640, 480)
Points = dict[str, np.ndarray]
"""Name of a part -> (N, 3) positions, metres."""


def points_of(env: GoalEnv, goal: np.ndarray) -> Points:
    """Where goals (N, G) ask for the object and the hand, and for the tool's working end where there is one."""
    column = {name: index for index, name in enumerate(env.spec.goal_names)}

    def part(name: str) -> np.ndarray:
        return goal[:, [column[f"{name} {axis}"] for axis in "xyz"]]

    if "tool from object x" in column:
        return {"object": part("object"), "tool": part("object") + part("tool from object")}
    if "hand from object x" in column:
        return {"object": part("object"), "hand": part("object") + part("hand from object")}
    return {"object": part("object"), "hand": part("hand")}


def episode(task: str, seed: int = 0) -> tuple[GoalEnv, State, Points, Points]:
    """The environment, a start, and the points of its exploratory goals and of its commanded goal.

    All `EPISODES` environments begin at the same start. Their goals differ by the environments' keys.
    """
    config = with_overrides(PRESETS[SUITE[0]], task=task, explore_share=1.0)
    env = make_env(config.env, EPISODES)
    keys = jax.random.split(jax.random.PRNGKey(seed), EPISODES)
    vector = env.reset_each(keys).vector
    state = env.reset_to(jnp.broadcast_to(vector[:1], vector.shape), keys)

    def asked(time: jax.Array) -> jax.Array:
        return behaviour_goal(env, state.replace(time=jnp.full_like(state.time, time)), config.explore)

    goals = jax.jit(jax.vmap(asked))(jnp.arange(env.spec.horizon, dtype=jnp.int32))
    explored = points_of(env, np.asarray(goals).reshape(-1, env.spec.goal_size))
    return env, state, explored, points_of(env, np.asarray(state.goal[:1]))


def draw(axes: Axes, task: str) -> None:
    """The start of `task`, with the points of its goals over it."""
    env, state, explored, commanded = episode(task)
    scene = env.env if isinstance(env, Repeated) else env
    assert isinstance(scene, MetaWorld)
    snapshot = (state.physics, np.asarray(state.target), 0)
    axes.set_title(task)
    axes.set_axis_off()
    for number, (name, points) in enumerate(explored.items()):
        picture, at = seen(scene, snapshot, np.concatenate([points, commanded[name]]), SIZE)
        if number == 0:
            axes.imshow(picture)
        colour = COLOURS[(1, 0)[number]]
        axes.scatter(at[:-1, 0], at[:-1, 1], s=7, color=colour, alpha=0.5, linewidths=0, label=f"{name}, exploratory")
        axes.scatter(
            at[-1:, 0], at[-1:, 1], s=160, color=colour, marker="*", edgecolors="white", label=f"{name}, commanded"
        )
    axes.set(xlim=(0, SIZE[0]), ylim=(SIZE[1], 0))
    axes.legend(loc="lower left", fontsize="small", framealpha=0.8)


def figure(tasks: Sequence[str] = SHOWN, path: Path = ROOT / "docs" / "places.png") -> Path:
    """One panel per task; returns the file's path.

    Raises:
        ConfigError: a task without an object that the hand moves.
    """
    for task in tasks:
        if task not in TASKS:
            raise ConfigError(f"task={task!r}: no task of Meta-World; see crl envs")
    rows = -(-len(tasks) // 2)
    drawing = new_figure(rows, 2, 11.0, 4.2 * rows)
    for task, axes in zip(tasks, drawing.subplots(rows, 2, squeeze=False).flatten(), strict=False):
        draw(axes, task)
    return saved(drawing, path, grid=False)


if __name__ == "__main__":
    try:
        print(figure())
    except ConfigError as error:
        sys.exit(f"error: {error}")
