"""Brax's ant on its spring physics, as a goal-reaching task: JaxGCRL's `ant` (arXiv:2408.11052, envs/ant.py).

The torso starts near the origin, the goal lies on a circle of 10 m around it, anew in every episode. An episode ends
early when the torso leaves 0.2 ... 1 m of height; the adaptors for Gymnasium and Brax report that as a truncation. The
goal is part of the environment's state, where JaxGCRL's ant.xml has a body for it.

Axis letters: E environments, T frames, H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from envs_mjx.base import EnvSpec, Snapshot, State, select
from envs_mjx.planar import Planar

Q, QD, ACTION_SIZE, GOAL_SIZE = 15, 14, 8, 2
OBS_SIZE = Q + QD
HORIZON = 1000
RADIUS = 0.5
"""Metres; success: the torso nearer to the goal than this, seen from above."""
GOAL_DISTANCE = 10.0
HEALTHY = (0.2, 1.0)
"""Metres of height within which an episode goes on."""
NOISE = 0.1
"""Of the start: half width of the positions' uniform, standard deviation of the velocities."""
FASTEST = 1e4
"""A position or velocity beyond this, in SI units, or not finite, is a simulation that has diverged."""


class BraxAnt(Planar):
    """E ants as a `GoalEnv`: observation is q (15) and qd (14), a goal is x, y of the torso."""

    radius = RADIUS

    def __init__(self, num_envs: int, horizon: int):
        from brax.envs.ant import Ant

        self.num_envs, self._ant = num_envs, Ant(backend="spring")
        blank, goal = jnp.zeros(OBS_SIZE), jnp.zeros(GOAL_SIZE)
        # as in JaxGCRL, the networks see SI units
        self.spec = EnvSpec(OBS_SIZE, GOAL_SIZE, ACTION_SIZE, horizon, blank, blank + 1, goal, goal + 1)

    def advance(self, state: State, action: jax.Array) -> State:
        """One env step and no restart: where `done`, the state is the end of its episode."""
        physics = jax.vmap(self._ant.pipeline_step)(state.physics, action)
        moving = jnp.abs(jnp.concatenate([physics.q, physics.qd], axis=-1))
        diverged = ~jnp.all(moving < FASTEST, axis=-1)  # not a number compares false
        physics = select(diverged, state.physics, physics)
        height, time = physics.x.pos[:, 0, 2], state.time + 1
        fallen = (height < HEALTHY[0]) | (height > HEALTHY[1])
        done = (time >= self.spec.horizon) | fallen | diverged
        return self._scored(state.replace(physics=physics, obs=_obs(physics), time=time, done=done), diverged)

    def frames(self, snapshots: Iterable[Snapshot], width: int, height: int, camera: str) -> np.ndarray:
        """(T, H, W, 3) uint8 pictures of the whole circle, the goal green; the only view, whatever `camera`."""
        from envs_mjx.render import render_frames

        return render_frames(_drawn(snapshots), width, height, "circle")

    def _place(self, vector: jax.Array) -> tuple[Any, jax.Array, jax.Array]:
        physics = jax.vmap(self._ant.pipeline_init)(vector[:, :Q], vector[:, Q:OBS_SIZE])
        return physics, _obs(physics), physics.x.pos[:, 0]

    def _draw(self, keys: jax.Array) -> jax.Array:
        """(E, 31) start and goal: q uniform and qd normal around Brax's standing ant, the goal at any angle."""

        def draw(key: jax.Array) -> jax.Array:
            q_key, qd_key, goal_key = jax.random.split(jax.random.fold_in(key, 1), 3)
            q = self._ant.sys.init_q + jax.random.uniform(q_key, (Q,), minval=-NOISE, maxval=NOISE)
            angle = 2 * jnp.pi * jax.random.uniform(goal_key)
            goal = GOAL_DISTANCE * jnp.stack([jnp.cos(angle), jnp.sin(angle)])
            return jnp.concatenate([q, NOISE * jax.random.normal(qd_key, (QD,)), goal])

        return jax.vmap(draw)(keys)


def _obs(physics: Any) -> jax.Array:
    return jnp.concatenate([physics.q, physics.qd], axis=-1)


def _drawn(snapshots: Iterable[Snapshot]) -> Iterator[tuple[Any, Any]]:
    """MuJoCo's model and data of each snapshot, for the renderer."""
    import mujoco
    from etils import epath

    scene = mujoco.MjSpec.from_file(str(epath.resource_path("brax") / "envs/assets/ant.xml"))
    scene.worldbody.add_camera(name="circle", pos=[0, -20, 18], xyaxes=[1, 0, 0, 0, 18, 20], fovy=45)
    mark = scene.worldbody.add_body(name="goal", mocap=True)
    size, shape = [RADIUS, 0, 0], mujoco.mjtGeom.mjGEOM_SPHERE
    mark.add_geom(type=shape, size=size, rgba=[0.16, 0.67, 0.31, 0.7], contype=0, conaffinity=0)
    model = scene.compile()
    for physics, target, index in snapshots:
        data = mujoco.MjData(model)
        data.qpos[:], data.mocap_pos[0] = np.asarray(physics.q)[index], target[index]
        mujoco.mj_forward(model, data)
        yield model, data
