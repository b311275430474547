"""The point mazes of Gymnasium-Robotics (PointMaze, v3): a ball pushed among walls by a force, simulated by MuJoCo.

Observations, starts, targets and success are the official ones. Not the pure JAX mazes of `mazes/point.py`, whose
action is a velocity. Axis letters: E environments, D observation, G goal, R reset vector.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from envs_mjx.base import EnvSpec, Snapshot, State
from envs_mjx.mazes.planar import Planar
from envs_mjx.physics import make_physics
from envs_mjx.physics.base import MotorControl, Parts, Placement, Scene, begin, buffers_used
from envs_mjx.robotics.scenes import assets

RADIUS = 0.45
"""Metres: success is a distance of at most this."""
HEIGHT, NOISE, SPEED = 0.4, 0.25, 5.0
"""Metres of the walls; metres by which starts and targets lie off the middle of a cell, at most; m/s, at most."""
CAMERA = "above"


@dataclass(frozen=True)
class PointMaze:
    """A floor plan: rows of cells of one metre, "#" (wall) or "." (free); its middle is the origin, x to the right.

    Attributes:
        horizon: env steps of an episode.
    """

    name: str
    plan: tuple[str, ...]
    horizon: int

    @property
    def official(self) -> str:
        return f"{self.name}-v3"

    def middles(self, kind: str) -> np.ndarray:
        """(n, 2) x and y of the middles of all cells of a kind, row by row, metres."""
        rows, columns = len(self.plan), len(self.plan[0])
        return np.array(
            [
                (column + 0.5 - columns / 2, rows / 2 - (row + 0.5))
                for row in range(rows)
                for column in range(columns)
                if self.plan[row][column] == kind
            ]
        )


_U = """##### #...# ###.# #...# #####"""
_MEDIUM = """######## #..##..# #..#...# ##...### #..#...# #.#..#.# #...#..# ########"""
_LARGE = """
    ############ #....#.....# #.##.#.#.#.# #......#...# #.####.###.# #..#.#.....# ##.#.#.#.### #..#...#...#
    ############"""
MAZES: dict[str, PointMaze] = {
    row.name: row
    for row in (
        PointMaze("PointMaze_UMaze", tuple(_U.split()), 300),
        PointMaze("PointMaze_Medium", tuple(_MEDIUM.split()), 600),
        PointMaze("PointMaze_Large", tuple(_LARGE.split()), 800),
    )
}


@functools.cache
def load_model(maze: PointMaze) -> mujoco.MjModel:
    """The compiled model: the package's ball, a box for each wall, and what a picture needs."""
    spec = mujoco.MjSpec.from_file(str(assets() / "point" / "point.xml"))
    for x, y in maze.middles("#"):
        spec.worldbody.add_geom(
            type=mujoco.mjtGeom.mjGEOM_BOX,
            pos=[x, y, HEIGHT / 2],
            size=[0.5, 0.5, HEIGHT / 2],
            contype=1,
            conaffinity=1,
            rgba=[0.7, 0.5, 0.3, 1.0],
        )
    sphere, far = mujoco.mjtGeom.mjGEOM_SPHERE, 1.4 * max(len(maze.plan), len(maze.plan[0]))
    spec.worldbody.add_site(name="target", pos=[0, 0, HEIGHT / 2], size=[0.2] * 3, type=sphere, rgba=[1, 0, 0, 0.7])
    spec.worldbody.add_camera(name=CAMERA, pos=[0, 0, far], fovy=45)
    return spec.compile()


class MujocoMaze(Planar):
    """`GoalEnv` over E balls: obs (4,) is position and velocity, the goal (2,) a position, the action (2,) a force.

    Args:
        maze: row of `MAZES`.
        num_envs: E.
        engine: "c" or "warp".
        horizon: env steps of an episode.
        threads, naconmax, njmax: settings of our engines, see `envs_mjx.make`.

    Raises:
        EnvError: the official package's scenes are not installed.
    """

    radius = RADIUS

    def __init__(
        self,
        maze: PointMaze,
        num_envs: int,
        engine: str,
        horizon: int,
        threads: int = 0,
        naconmax: int = 0,
        njmax: int = 0,
    ):
        self.maze, self.num_envs, self.engine = maze, num_envs, engine
        model = load_model(maze)
        data = mujoco.MjData(model)
        control = MotorControl((0.0, 0.0), (1.0, 1.0), most=SPEED)
        parts, placement = Parts((), whole=model.nq + model.nv), Placement(whole=True)
        scene = Scene(maze.name, model, data, parts, control, placement, frame_skip=1)
        self.physics = make_physics(engine, scene, num_envs, threads, naconmax, njmax)
        half = np.array([len(maze.plan[0]), len(maze.plan)], np.float32) / 4
        obs_scale = np.concatenate([half, [SPEED, SPEED]]).astype(np.float32)
        self.spec = EnvSpec(
            obs_size=4,
            goal_size=2,
            action_size=2,
            horizon=horizon,
            obs_shift=jnp.zeros(4),
            obs_scale=jnp.asarray(obs_scale),
            goal_shift=jnp.zeros(2),
            goal_scale=jnp.asarray(half),
            buffers=self.physics.buffers,
        )

    def goal_success(self, achieved_goal: jax.Array, goal: jax.Array) -> jax.Array:
        """(..., G), (..., G) -> (...,) bool; a distance of exactly the radius succeeds."""
        return jnp.linalg.norm(achieved_goal - goal, axis=-1) <= self.radius

    def advance(self, state: State, action: jax.Array) -> State:
        """One env step without a restart: where `done`, the state is the last of its episode."""
        physics = self.physics.step(state.physics, action)
        time = state.time + 1
        done = (time >= self.spec.horizon) | physics.diverged
        return self._scored(state.replace(physics=physics, obs=physics.joints, time=time, done=done), physics.diverged)

    def picture(self, physics: Any, target: np.ndarray, index: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """One simulation's model and data for a renderer, with the goal mark at `target[index]`; on the host."""
        model, data = self.physics.materialise(physics, index)
        mark = model.site("target").id
        model.site_pos[mark, :2] = data.site_xpos[mark, :2] = target[index, :2]
        return model, data

    def frames(self, snapshots: Iterable[Snapshot], width: int, height: int, camera: str) -> np.ndarray:
        """(T, H, W, 3) uint8 views from above, the target in red; `camera` is ignored."""
        from envs_mjx.pictures.render import render_frames

        drawn = (self.picture(physics, target, index) for physics, target, index in snapshots)
        return render_frames(drawn, width, height, CAMERA)

    def _draw(self, keys: jax.Array) -> jax.Array:
        """(E, 6) reset vectors: position, velocity 0, target.

        The target is near the middle of a free cell; so is the start, in a cell whose middle is more than half a metre
        from the target (`generate_target_goal`, `generate_reset_pos`).
        """
        cells = jnp.asarray(self.maze.middles("."), jnp.float32)

        def near(key: jax.Array, middle: jax.Array) -> jax.Array:
            return middle + jax.random.uniform(key, (2,), minval=-NOISE, maxval=NOISE)

        def draw(key: jax.Array) -> jax.Array:
            goal_key, off_key, start_key, start_off_key = jax.random.split(jax.random.fold_in(key, 1), 4)
            goal = near(off_key, cells[jax.random.randint(goal_key, (), 0, len(cells))])
            away = jnp.linalg.norm(cells - goal, axis=-1) > 0.5
            start = near(start_off_key, cells[jax.random.categorical(start_key, jnp.where(away, 0.0, -jnp.inf))])
            return jnp.concatenate([start, jnp.zeros(2), goal])

        return jax.vmap(draw)(keys)

    def _place(self, vector: jax.Array, running: State | None) -> tuple[Any, jax.Array, jax.Array]:
        physics = begin(self.physics, vector, running)
        return physics, physics.joints, self.object_point(physics.joints)

    def _scored(self, state: State, diverged: jax.Array) -> State:
        state = super()._scored(state, diverged)
        return state.replace(metrics=state.metrics | buffers_used(self.physics.buffers, state.physics))
