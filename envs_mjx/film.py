"""Pictures of tasks under a policy: the frames of a film, and a contact sheet of every Meta-World task.

Axis letters: E environments, T frames, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import mujoco
import numpy as np

from envs_mjx import registry
from envs_mjx.base import EnvError, GoalEnv, Snapshot, State
from envs_mjx.metaworld import official
from envs_mjx.metaworld.env import MetaWorld
from envs_mjx.metaworld.tasks import TASKS
from envs_mjx.pictures.render import project, render_frames, require_camera

POLICIES = ("scripted", "random")
CLOSE = "close"
"""Our own camera: looks over the table's edge at the workspace. Official cameras show the whole arm from afar."""
_EYE, _AIM, _LENT = (0.85, -0.78, 0.7), (0.0, 0.68, 0.1), "corner3"
"""Camera "close": its position relative to its aim, its aim (metres), and the official camera moved there."""
_WIDE, _NEAR = 32.0, 24.0
"""Vertical fields of view, degrees: of a film, and of a tile. A tile's camera aims at hand and object."""
_OFFICIAL_HORIZON, _LINGER = 500, 40
"""Env steps that a scripted policy may take, and env steps shown after a success."""
_STARTS = 2
"""Episodes played for a tile, which shows the first to succeed."""
_BELOW, _TABLE = (0.0, 0.0, 0.025), ((-0.25, 0.5, 0.05), (0.25, 0.85, 0.25))
"""A tile's aim: the middle of hand and object, lowered by `_BELOW`, clipped to `_TABLE`; metres."""
_COLUMNS, _LABEL, _FINER = 10, 14, 2
"""Tiles in a row, height of a name's strip in pixels, and the factor by which tiles are supersampled."""
_PAPER, _INK = (255, 255, 255), (30, 30, 30)


def policy_of(task: str, policy: str | None = None) -> str:
    """The policy to show: `policy` if given, else "scripted" if the official package has one, else "random".

    Raises:
        EnvError: no such task or policy, or no scripted policy for this task.
    """
    registry.require_one(task)
    registry.check(task, "c")
    if policy not in (None, *POLICIES):
        raise EnvError(f"policy={policy!r}: no such policy; one of {', '.join(POLICIES)}")
    if policy == "scripted" and task not in TASKS:
        raise EnvError(f"policy='scripted': the official package has none for {task}; take 'random'")
    return policy or ("scripted" if task in TASKS else "random")


def play(env: GoalEnv, policy: str, seed: int, steps: int, compiled: bool = True) -> Iterator[State]:
    """Yields the start of E fresh episodes, then the state after each of `steps` env steps; no restarts.

    `compiled=False` runs op by op. This is faster for one or two episodes: each op is compiled once for all tasks.
    """
    jit: Callable[..., Any] = jax.jit if compiled else lambda function: function
    act = actor(env, policy, seed, jit)
    state, advance = jit(env.reset)(jax.random.PRNGKey(seed)), jit(env.advance)
    yield state
    for _ in range(steps):
        state = advance(state, act(state))
        yield state


def actor(env: GoalEnv, policy: str, seed: int, jit: Callable[..., Any] = jax.jit) -> Callable[[State], np.ndarray]:
    """state -> actions (E, A) of the policy "scripted" (Meta-World; for one episode) or "random"."""
    return _scripted(env, jit) if policy == "scripted" and hasattr(env, "observe_official") else _random(env, seed)


def _scripted(env: Any, jit: Callable[..., Any]) -> Callable[[State], np.ndarray]:
    """state -> actions (E, 4) of the official scripted policy, computed from the official observation."""
    policy, frame = official.scripted_policy(env.task.name), None
    observe = jit(env.observe_official)

    def act(state: State) -> np.ndarray:
        nonlocal frame
        obs, frame = observe(state, frame)
        return official.scripted_actions(policy, obs)

    return act


def _random(env: GoalEnv, seed: int) -> Callable[[State], np.ndarray]:
    generator = np.random.default_rng(seed)
    shape = (env.num_envs, env.spec.action_size)
    return lambda _: generator.uniform(-1, 1, shape).astype(np.float32)


def film(
    task: str,
    policy: str | None = None,
    episodes: int = 3,
    seed: int = 1,
    size: tuple[int, int] = (480, 360),
    camera: str = CLOSE,
    physics: str = "c",
) -> tuple[np.ndarray, float]:
    """Frames of fresh episodes under a policy, one after the other, each until shortly after its success.

    Args:
        task: a name of `envs_mjx.names()`.
        policy: one of `POLICIES`, or None: see `policy_of`.
        size: (width, height), pixels.
        camera: "close", or a camera of the scene. Tasks outside Meta-World have one view and ignore it.

    Returns:
        frames (T, H, W, 3) uint8 and frames per second: real time for Meta-World, 20 env steps a second for others.

    Raises:
        EnvError: a bad request, or no renderer on this machine.
    """
    policy = policy_of(task, policy)
    env = registry.make(task, episodes, physics=physics, reward=False)
    check_camera(env, camera)
    steps = _OFFICIAL_HORIZON if policy == "scripted" else env.spec.horizon
    every, fps = (2, 40.0) if isinstance(env, MetaWorld) else (1, 20.0)
    shown, ends = [], np.full(episodes, steps)
    for time, state in enumerate(play(env, policy, seed, steps)):
        ends = np.where(np.asarray(state.success), np.minimum(ends, time + _LINGER), ends)
        if time % every == 0:
            shown.append((state.physics, np.asarray(state.target)))
        if time >= ends.max():
            break
    snapshots = (
        (physics, target, index) for index, end in enumerate(ends) for physics, target in shown[: end // every + 1]
    )
    return frames(env, snapshots, size, camera), fps


def check_camera(env: GoalEnv, camera: str) -> None:
    """Raise EnvError if `env` has no such camera; tasks outside Meta-World have one view."""
    if isinstance(env, MetaWorld):
        require_camera(env.scene.model, camera, (CLOSE,))
    elif camera != CLOSE:
        raise EnvError(f"camera={camera!r}: films of this task have one view; leave it out")


def frames(env: GoalEnv, snapshots: Iterable[Snapshot], size: tuple[int, int], camera: str = CLOSE) -> np.ndarray:
    """(T, H, W, 3) uint8 pictures of T snapshots: `env.frames` with "close" as an additional camera.

    Raises:
        EnvError: no such camera, or no renderer on this machine (the message says what to install).
    """
    if camera != CLOSE or not isinstance(env, MetaWorld):
        return env.frames(snapshots, *size, camera)
    return render_frames((_close(*env.picture(*snapshot)) for snapshot in snapshots), *size, _LENT)


def seen(
    env: MetaWorld, snapshot: Snapshot, points: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """A picture (H, W, 3) by camera "close", and (N, 3) where points (N, 3) of the room are in it, see `project`."""
    pair = _close(*env.picture(*snapshot))
    return render_frames([pair], *size, _LENT)[0], project(points, *pair, _LENT, *size)


def _close(
    model: mujoco.MjModel, data: mujoco.MjData, aim: Sequence[float] = _AIM, fovy: float = _WIDE
) -> tuple[mujoco.MjModel, mujoco.MjData]:
    """The same simulation with its camera `_LENT` moved to the pose of "close", looking at `aim` (metres)."""
    back = np.array(_EYE) / np.linalg.norm(_EYE)
    right = np.cross((0, 0, 1), back)
    right /= np.linalg.norm(right)
    index = model.camera(_LENT).id
    model.cam_fovy[index], data.cam_xpos[index] = fovy, np.add(_EYE, aim)
    data.cam_xmat[index] = np.stack([right, np.cross(back, right), back], axis=1).ravel()
    return model, data


# -- contact sheet ---------------------------------------------------------------------------------------------------


def tile(task: str, seed: int = 0, size: tuple[int, int] = (160, 120)) -> tuple[np.ndarray, bool]:
    """Close picture of a Meta-World task when its scripted policy first succeeds, and whether it succeeded.

    `_STARTS` episodes are played at once on engine `c`. The first to succeed is drawn; without a success, the end of
    episode 0.

    Args:
        size: (width, height), pixels.

    Returns:
        picture (H, W, 3) uint8, success.

    Raises:
        EnvError: no such task, or no renderer on this machine.
    """
    from PIL import Image

    env = registry.make(task, _STARTS, physics="c", reward=False)
    assert isinstance(env, MetaWorld)
    for state in play(env, policy_of(task, "scripted"), seed, _OFFICIAL_HORIZON, compiled=False):
        success = np.asarray(state.success)
        if success.any():
            break
    index = int(success.argmax())
    simulation = env.picture(state.physics, np.asarray(state.target), index)
    hand, point = (
        np.asarray(state.obs)[index, :3],
        np.asarray(env.layout.point(state.physics, env.task.achieved))[index],
    )
    aim = np.clip((hand + point) / 2 - _BELOW, *_TABLE)
    fine = render_frames([_close(*simulation, aim, _NEAR)], _FINER * size[0], _FINER * size[1], _LENT)[0]
    return np.asarray(Image.fromarray(fine).resize(size, Image.Resampling.LANCZOS)), bool(success.any())


def sheet(pictures: Sequence[np.ndarray], names: Sequence[str], columns: int = _COLUMNS) -> np.ndarray:
    """(H, W, 3) uint8: pictures of one size (h, w, 3) in rows of `columns`, each above its name."""
    from PIL import Image, ImageDraw, ImageFont

    height, width = pictures[0].shape[:2]
    rows = -(-len(pictures) // columns)
    paper = Image.new("RGB", (min(columns, len(pictures)) * width, rows * (height + _LABEL)), _PAPER)
    pen = ImageDraw.Draw(paper)
    for index, (picture, name) in enumerate(zip(pictures, names, strict=True)):
        left, top = index % columns * width, index // columns * (height + _LABEL)
        paper.paste(Image.fromarray(picture), (left, top))
        middle = (left + width / 2, top + height + _LABEL / 2)
        pen.text(middle, name, _INK, ImageFont.load_default(_LABEL - 4), anchor="mm")
    return np.asarray(paper)
