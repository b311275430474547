"""Trained policies that ship with the package: the actor alone, in float16, with what made it.

`policies/<task>.npz` holds the leaves of the actor's parameters (the running mean that deterministic acting uses), in
the order in which JAX flattens them, and `about`: JSON with the run's config, env steps, success and commit.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

import envs_mjx
from crl_jax.config import Config, ConfigError, nearest
from crl_jax.play.policy import Trained
from crl_jax.scale.machine import check_jax
from crl_jax.trainer import build

FOLDER = Path(__file__).parent / "policies"
ABOUT = "about"


@dataclass(frozen=True)
class About:
    """Where a shipped policy comes from.

    Attributes:
        success: native success at the last step of fresh episodes. official: the same in the official package.
        command: the command line that trained it. commit: the commit at which it was put here.
    """

    task: str
    env_steps: int
    success: float
    official: float
    command: str
    commit: str
    config: dict[str, Any]


def names() -> list[str]:
    """Tasks with a shipped policy."""
    return sorted(path.stem for path in FOLDER.glob("*.npz"))


def save(trained: Trained, about: About, folder: Path = FOLDER) -> Path:
    """Write a policy's actor; returns the file's path."""
    folder.mkdir(parents=True, exist_ok=True)
    leaves = jax.tree.leaves(trained.state.average)
    arrays: dict[str, Any] = {f"leaf_{index}": np.asarray(leaf, np.float16) for index, leaf in enumerate(leaves)}
    arrays[ABOUT] = np.frombuffer(json.dumps(about.__dict__).encode(), np.uint8)
    path = folder / f"{about.task}.npz"
    np.savez_compressed(path, **arrays)
    return path


def about(task: str, folder: Path = FOLDER) -> About:
    """What is known of a shipped policy.

    Raises:
        ConfigError: none is shipped for the task.
    """
    with np.load(_path(task, folder), allow_pickle=False) as arrays:
        return About(**json.loads(arrays[ABOUT].tobytes()))


def load(task: str, folder: Path = FOLDER) -> Trained:
    """A shipped policy, ready to act. Only its actor is trained; the critic is drawn anew.

    Raises:
        ConfigError: none is shipped for the task, or it does not fit this version.
    """
    known = about(task, folder)
    check_jax()
    config = Config.from_dict(known.config)
    setup = build(config)
    state = setup.agent.init(jax.random.PRNGKey(0))
    template, structure = jax.tree.flatten(state.average)
    with np.load(_path(task, folder), allow_pickle=False) as arrays:
        leaves = [np.asarray(arrays[f"leaf_{index}"], np.float32) for index in range(len(arrays.files) - 1)]
    if [leaf.shape for leaf in leaves] != [leaf.shape for leaf in template]:
        raise ConfigError(f"demo={task!r}: the policy that ships does not fit this version")
    actor = jax.tree.unflatten(structure, [jax.numpy.asarray(leaf) for leaf in leaves])
    state = state.replace(actor=actor, average=actor)
    return Trained(Path(task), config, setup.agent, state, known.env_steps, has_critic=False)


def _path(task: str, folder: Path) -> Path:
    path = folder / f"{task}.npz"
    if not path.is_file():
        there = sorted(one.stem for one in folder.glob("*.npz"))
        near = f"nearest: {nearest(task, there)}" if there else "this version ships none"
        told = f"no policy of this task ships yet; {near}" if task in envs_mjx.names() else f"no such task; {near}"
        raise ConfigError(f"demo={task!r}: {told} (`crl demo --list`)")
    return path
