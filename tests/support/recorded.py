"""Recordings of the official package. Tests compare the ported rewards with them.

Axis letters: T time, E environments, K points, Q rotations, J joints, R reset vector.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import jax
import mujoco
import numpy as np

from envs_mjx.metaworld import official, scenes
from envs_mjx.metaworld.layout import make_scene
from envs_mjx.metaworld.rewards import REWARDS, Reading, RewardSpec
from envs_mjx.metaworld.tasks import TASKS
from envs_mjx.physics.base import Part, PhysicsState, read_data

STEPS, EPISODES = 150, 4

REMEMBERED = {"tcp": "init_tcp", "object": "obj_init_pos"}
OTHERWISE = {
    "handle-press": {"object": "_handle_init_pos"},
    "handle-press-side": {"object": "_handle_init_pos"},
    "window-open": {"handle": "window_handle_pos_init"},
    "window-close": {"handle": "window_handle_pos_init"},
    "lever-pull": {"lever": "_lever_pos_init"},
    "peg-insert-side": {"head": "peg_head_pos_init"},
    "stick-pull": {"stick": "stick_init_pos"},
    "stick-push": {"stick": "stick_init_pos"},
} | {f"button-press{kind}": {"travel": "_obj_to_target_init"} for kind in ("", "-wall", "-topdown", "-topdown-wall")}
"""Names in our memory -> official attributes: `REMEMBERED` for all tasks, `OTHERWISE` where a task differs."""


@dataclass
class Readout:
    """Values of a spec's `all_points` (..., K, 3), `rotations` (..., Q, 9) and `joints` (..., J), float64."""

    points: np.ndarray
    rotations: np.ndarray
    joints: np.ndarray


@dataclass
class Recording:
    """Episodes of E official environments. Arrays of steps begin with axes (T, E), arrays of resets with E.

    Attributes:
        remembered: name in our memory -> (E, ...) the official environments' value.
        begin: readout of the starts, with the scene of our environment.
        rows, fixture: states of the starts, float64, as in engine `c`.
    """

    start: Readout
    stale: dict[Part, np.ndarray]
    vector: np.ndarray
    remembered: dict[str, np.ndarray]
    steps: Readout
    actions: np.ndarray
    targets: np.ndarray
    rewards: np.ndarray
    begin: PhysicsState
    rows: np.ndarray
    fixture: np.ndarray


def draw(env: Any) -> np.ndarray:
    """(R,) a reset vector that the official rejection loop accepts, rounded to float32."""
    official.set_vector(env, None)
    env.reset()
    return env._last_rand_vec.astype(np.float32)


def place(data: mujoco.MjData, part: Part) -> np.ndarray:
    return getattr(data, part.kind)(part.name).xpos + np.array(part.offset)


def read(spec: RewardSpec, data: mujoco.MjData) -> Readout:
    rotations = [getattr(data, part.kind)(part.name).xmat for part in spec.rotations]
    return Readout(
        np.array([place(data, part) for part in spec.all_points]),
        np.array(rotations, np.float64).reshape(-1, 9),
        np.array([data.joint(name).qpos[0] for name in spec.joints]),
    )


def stack(readouts: list[Readout], axis: int = 0) -> Readout:
    fields = ("points", "rotations", "joints")
    return Readout(*(np.stack([getattr(readout, field) for readout in readouts], axis) for field in fields))


def mixed(index: int, step: int, scripted: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """(4,) action of episode 0: random, also out of bounds; 1: scripted; 2: with noise; 3: 0 and 1, 25 steps each."""
    noise = generator.uniform(-1.5, 1.5, 4)
    turn = noise if step // 25 % 2 else scripted
    return (noise, scripted, scripted + 0.5 * noise, turn)[index % 4].astype(np.float32)


@functools.cache
def record(task_name: str) -> Recording:
    """Record `EPISODES` episodes of the official package, one after the other."""
    spec, env, generator = REWARDS[task_name], official.make_official(task_name), np.random.default_rng(0)
    names = REMEMBERED | OTHERWISE.get(task_name, {})
    task = TASKS[task_name]
    scene, fixture = make_scene(task), task.placement.fixture
    starts, states, runs = [], [], []
    for index in range(EPISODES):
        vector = draw(env)
        official.set_vector(env, vector)
        obs, _ = env.reset()
        mujoco.mj_forward(env.model, env.data)
        states.append(read_data(scene, env.data))
        row = np.empty(mujoco.mj_stateSize(env.model, mujoco.mjtState.mjSTATE_INTEGRATION))
        mujoco.mj_getState(env.model, env.data, row, mujoco.mjtState.mjSTATE_INTEGRATION)
        remembered = {ours: np.array(getattr(env, theirs, 0.0)) for ours, theirs in names.items()}
        starts.append((read(spec, env.data), vector, remembered, row, env.model.body(fixture or "world").pos.copy()))
        runs.append(play(task_name, env, obs, index, generator))
    start, vectors, remembered, rows, fixtures = (list(part) for part in zip(*starts, strict=True))
    steps, actions, targets, rewards = (list(part) for part in zip(*runs, strict=True))
    data = scenes.unrefreshed(task.scene, task.hand_init)
    return Recording(
        start=stack(start),
        stale={part: place(data, part) for part in spec.all_stale},
        vector=np.stack(vectors),
        remembered={name: np.stack([each[name] for each in remembered]) for name in names},
        steps=stack(steps, 1),
        actions=np.stack(actions, 1),
        targets=np.stack(targets, 1),
        rewards=np.stack(rewards, 1),
        begin=jax.tree.map(lambda *leaves: np.concatenate(leaves), *states),
        rows=np.stack(rows),
        fixture=np.stack(fixtures),
    )


def play(task_name: str, env: Any, obs: np.ndarray, index: int, generator: np.random.Generator) -> tuple:
    """Readout, actions, targets and rewards of one episode; the first axis of every array is T."""
    spec, policy = REWARDS[task_name], official.scripted_policy(task_name)
    readouts, actions, targets, rewards = [], [], [], []
    for step in range(STEPS):
        actions.append(mixed(index, step, np.clip(policy.get_action(obs), -1, 1), generator))
        obs, reward, *_ = env.step(actions[-1])
        readouts.append(read(spec, env.data))
        targets.append(env._target_pos.copy())
        rewards.append(float(reward))
    return stack(readouts), np.array(actions), np.array(targets), np.array(rewards)


def reading(spec: RewardSpec, points, rotations, joints) -> Reading:
    """A `Reading`, which is indexed by name, from arrays (E, K, 3), (E, Q, 9), (E, J)."""
    return Reading(
        {part: points[:, index] for index, part in enumerate(spec.all_points)},
        {part: rotations[:, index] for index, part in enumerate(spec.rotations)},
        {name: joints[:, index] for index, name in enumerate(spec.joints)},
    )
