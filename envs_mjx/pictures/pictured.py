"""Environments that are seen through a camera: observations and goals are pictures.

Axis letters: E environments, H height, W width, P = H * W * 3 bytes of a picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from flax import struct

from envs_mjx.base import EnvError, Snapshot, State, select
from envs_mjx.pictures.goal_poses import make_goal_poses
from envs_mjx.pictures.pixels import View, make_draw, mark_goals

SCALE = 64.0
"""Grey levels by which a learner divides the difference of a picture from one of the settled scene. Most of a picture
never changes: seen without that difference, all pictures look alike, and the critic begins to learn far later."""


class Seen(struct.PyTreeNode):
    """What `State.physics` is here: the state of the environment behind the camera, and the camera's view."""

    inner: State
    view: View


class Pictured:
    """`GoalEnv` whose `State.obs` and `State.goal` are pictures, (E, P) uint8, row by row from the top left.

    A goal is a picture of arm and object where the task's commanded goal asks for them. No picture has a goal mark;
    `observe_pixels` adds it. Success and metrics are those of `env`. Goals of pictures cannot be scored or computed
    from a position, so `goal_success`, `commanded_goal` and their like are refused.

    Args:
        env: `MetaWorld` or `Fetch` on engine `c` or `warp`, made with `posed=True`; or its `Repeated`.
        width, height, camera: size of the pictures in pixels, and a camera of the scene.

    Raises:
        EnvError: no such camera, a bad size, or an engine that cannot draw.
    """

    tool = None

    def __init__(self, env: Any, width: int, height: int, camera: str):
        self.env = env
        self.shape = (height, width, 3)
        self._draw, self._camera, settled = make_draw(self.env.physics, width, height, camera)
        self._goal_poses = make_goal_poses(env)
        size, middle, scale = height * width * 3, jnp.asarray(settled.ravel(), jnp.float32), jnp.full((), SCALE)
        self.spec = env.spec.replace(
            obs_size=size,
            goal_size=size,
            obs_shift=middle,
            obs_scale=scale,
            goal_shift=middle,
            goal_scale=scale,
            goal_names=(),
            picture=self.shape,
        )

    def __getattr__(self, name: str) -> Any:
        if name in ("env", "observe", "observe_official", "object_point", "hand_in_goal", "touch_goal"):
            raise AttributeError(name)  # `env` is asked for before it is set, e.g. by `copy`; the rest reads numbers.
        return getattr(self.env, name)

    # -- pictures ----------------------------------------------------------------------------------------------------

    def observe_pixels(self, state: State) -> jax.Array:
        """(E, H, W, 3) uint8 pictures of every environment with its goal marked. Pure, like `step`."""
        return mark_goals(state.obs.reshape(-1, *self.shape), self._camera, state.physics.view, state.target)

    def pictures(self, inner: State) -> tuple[jax.Array, View]:
        """(E, P) uint8 pictures of a state of `env`, and their view."""
        picture, view = self._draw(inner.physics)
        return picture.reshape(len(picture), -1), view

    def goal_pictures(self, inner: State) -> jax.Array:
        """(E, P) uint8 pictures of the goals of episodes at their start, a state of `env`."""
        return self._draw(self._goal_poses(inner))[0].reshape(len(inner.obs), -1)

    def achieved_goal(self, obs: jax.Array) -> jax.Array:
        """(..., P) -> (..., P): the picture itself."""
        return obs

    def goal_success(self, achieved_goal: jax.Array, goal: jax.Array) -> jax.Array:
        """Refused: two pictures do not tell how far apart they are.

        Raises:
            EnvError: always.
        """
        raise EnvError("obs='pixels': whether a picture reaches another is no function of the two; take obs='state'")

    def commanded_goal(self, target: jax.Array) -> jax.Array:
        """Refused: a picture needs a whole scene, not a position.

        Raises:
            EnvError: always.
        """
        raise EnvError("obs='pixels': a goal is a picture of a whole scene, not a position; take obs='state'")

    # -- GoalEnv -----------------------------------------------------------------------------------------------------

    def reset(self, key: jax.Array) -> State:
        """E fresh episodes from one key."""
        return self._begun(self.env.reset(key))

    def reset_each(self, keys: jax.Array) -> State:
        """E fresh episodes from keys (E, 2); episode i depends on keys[i] only."""
        return self._begun(self.env.reset_each(keys))

    def reset_to(self, vector: jax.Array, keys: jax.Array) -> State:
        """E episodes placed by given reset vectors (E, R); keys (E, 2) seed the later episodes."""
        return self._begun(self.env.reset_to(vector, keys))

    def step(self, state: State, action: jax.Array) -> State:
        """One step; ended episodes are restarted."""
        inner = self.env.advance(self._inner(state), action)
        return self._restarted(inner, state.goal, lambda: self._seen(inner, state.goal))

    def advance(self, state: State, action: jax.Array) -> State:
        """One step without a restart: where `done`, the state is the last of its episode."""
        return self._seen(self.env.advance(self._inner(state), action), state.goal)

    def restart(self, state: State) -> State:
        """Begin the next episode, with a new start and goal, where `done`."""
        return self._restarted(self._inner(state), state.goal, lambda: state)

    def picture(self, seen: Seen, target: np.ndarray, index: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """One simulation's model and data for a renderer, with the goal mark at `target[index]`; on the host."""
        pair: tuple[mujoco.MjModel, mujoco.MjData] = self.env.picture(seen.inner.physics, target, index)
        return pair

    def frames(self, snapshots: Iterable[Snapshot], width: int, height: int, camera: str) -> np.ndarray:
        """(T, H, W, 3) uint8 pictures of T snapshots, as `env` draws them; runs on the host."""
        inner = ((seen.inner.physics, target, index) for seen, target, index in snapshots)
        frames: np.ndarray = self.env.frames(inner, width, height, camera)
        return frames

    def _inner(self, state: State) -> State:
        """The state of `env`; a learner may have renumbered the episodes."""
        inner: State = state.physics.inner
        return inner.replace(episode=state.episode)

    def _begun(self, inner: State) -> State:
        return self._seen(inner, self.goal_pictures(inner))

    def _restarted(self, inner: State, goal: jax.Array, unchanged: Callable[[], State]) -> State:
        """The next episodes where `inner.done`, the others with their `goal`; `unchanged()` where none has ended."""

        def begin() -> State:
            begun = self._begun(self.env.restart(inner))
            return begun.replace(goal=select(inner.done, begun.goal, goal))

        return jax.lax.cond(inner.done.any(), begin, unchanged)

    def _seen(self, inner: State, goal: jax.Array) -> State:
        obs, view = self.pictures(inner)
        return inner.replace(physics=Seen(inner, view), obs=obs, goal=goal)
