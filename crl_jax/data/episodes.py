"""Episodes on disk: written and read in Minari's layout (https://minari.farama.org), read from NumPy archives too.

A dataset in Minari's layout is a folder with `main_data.hdf5` and `metadata.json`; any Minari tool reads it. An archive
(`.npz`, as of D4RL and OGBench) has `observations` (N, D), `actions` (N, A) and `terminals` (N,), and may have
`timeouts`: rows of all episodes, one after another, each ended by a row that is terminal or timed out.

Axis letters: T steps of an episode, D observation, G goal, A action.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import envs_mjx
from crl_jax.config import ConfigError, EnvConfig
from envs_mjx.base import EnvSpec

MINARI = "metadata.json"
ROUNDING = 1e-6
"""By which an action may lie outside [-1, 1]."""
INSTALL = "pip install -e '.[data]'"


@dataclass(frozen=True)
class Episode:
    """One trajectory: obs (T + 1, D), of which the last follows the last action; action (T, A).

    Attributes:
        goal: (G,) goal that was commanded; None where the data have none.
        success: (T,) native success after each action; None where it is not known.
    """

    obs: np.ndarray
    action: np.ndarray
    goal: np.ndarray | None = None
    success: np.ndarray | None = None


@dataclass(frozen=True)
class Recorded:
    """Episodes of one dataset. `about`: what its metadata say, e.g. task and command; empty for an archive."""

    episodes: Sequence[Episode]
    about: Mapping[str, Any] = field(default_factory=dict)


def settings(config: EnvConfig) -> dict[str, Any]:
    """Settings of the environment that a dataset names and a run on it must share; None where one does not apply."""
    has_contract = envs_mjx.contract_of(config.task) != "auto"
    camera = config.camera or envs_mjx.camera_of(config.task)
    return {
        "task": config.task,
        "goal": envs_mjx.contract_of(config.task, config.goal) if has_contract else None,
        "action_repeat": config.action_repeat,
        "control": config.control,
        "obs": config.obs,
        "camera": camera if config.obs == "pixels" else None,
    }


def check_new(folder: Path) -> Path:
    """The absolute path of a dataset to be written.

    Raises:
        ConfigError: something is there already, nothing can be written there, or Minari is not installed.
    """
    _minari()
    folder = folder.expanduser().resolve()  # Minari joins a relative path twice.
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"out={folder}: exists already; name a new folder")
    above = next(parent for parent in folder.parents if parent.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise ConfigError(f"out={folder}: {above} is no folder that can be written to")
    return folder


def write(folder: Path, episodes: Sequence[Episode], spec: EnvSpec, about: Mapping[str, Any]) -> Path:
    """Write a dataset in Minari's layout; all of it or nothing.

    Args:
        folder: must not exist, or be empty.
        about: further metadata, e.g. the command that made the data.

    Raises:
        ConfigError: as `check_new`.
    """
    import gymnasium

    storage, folder = _minari(), check_new(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    inside = gymnasium.spaces.Dict(
        {"observation": _space(spec, spec.obs_size), "desired_goal": _space(spec, spec.goal_size)}
    )
    action = gymnasium.spaces.Box(-1.0, 1.0, (spec.action_size,), np.float32)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        partial.chmod(0o777 & ~_umask())
        data = storage.new(partial, inside, action, data_format="hdf5", jpeg_encoding=False)
        data.update_episodes(_buffers(episodes, spec))
        data.update_metadata({"dataset_id": f"crl_jax/{folder.name}-v0", "minari_version": version("minari"), **about})
        partial.rename(folder)  # In one step; an empty folder there is replaced.
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return folder


def _umask() -> int:
    """The process's mask of new files' permissions, which can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def read(path: Path) -> Recorded:
    """The episodes of a folder in Minari's layout, or of a NumPy archive.

    Raises:
        ConfigError: nothing there, a foreign or damaged file, no episode, numbers that are not finite, or actions
            outside [-1, 1].
    """
    path = path.expanduser().resolve()
    if not path.exists():
        raise ConfigError(f"data={path}: no such file or folder")
    recorded = _read_minari(path) if path.is_dir() else _read_archive(path)
    if not recorded.episodes:
        raise ConfigError(f"data={path}: no episode with at least one action")
    for number, episode in enumerate(recorded.episodes):
        for name in ("obs", "action", "goal"):
            value = getattr(episode, name)
            if value is not None and not np.isfinite(value).all():
                raise ConfigError(f"data={path}: episode {number} has {name} that are not finite")
        most = float(np.abs(episode.action).max(initial=0.0))
        if most > 1 + ROUNDING:
            raise ConfigError(f"data={path}: episode {number} has actions up to {most:g}; scale them to [-1, 1]")
    return recorded


def _minari() -> Any:
    try:
        from minari.dataset.minari_storage import MinariStorage
    except ImportError:
        raise ConfigError(f"recorded data are kept in Minari's layout, which is not installed; {INSTALL}") from None
    return MinariStorage


def _space(spec: EnvSpec, size: int) -> Any:
    import gymnasium

    if spec.picture:
        return gymnasium.spaces.Box(0, 255, spec.picture, np.uint8)
    return gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float32)


def _buffers(episodes: Sequence[Episode], spec: EnvSpec) -> Iterator[Any]:
    from minari.data_collector import EpisodeBuffer

    def shaped(values: np.ndarray) -> np.ndarray:
        return values.reshape(len(values), *spec.picture) if spec.picture else values

    for number, episode in enumerate(episodes):
        steps = len(episode.action)
        assert episode.goal is not None and episode.success is not None
        goals = np.broadcast_to(episode.goal, (steps + 1, *episode.goal.shape))
        yield EpisodeBuffer(
            id=number,
            observations={"observation": shaped(episode.obs), "desired_goal": shaped(goals)},
            actions=episode.action,
            rewards=episode.success.astype(np.float32),
            terminations=np.zeros(steps, bool),
            truncations=np.arange(steps) == steps - 1,
        )


def _read_minari(folder: Path) -> Recorded:
    storage = _minari()
    if not (folder / MINARI).exists() and (folder / "data" / MINARI).exists():
        folder = folder / "data"  # As Minari's own downloads lie.
    if not (folder / MINARI).exists():
        raise ConfigError(f"data={folder}: no dataset in Minari's layout there (no {MINARI})")
    try:
        data = storage.read(folder)
        about = storage.read_raw_metadata(folder)
        found = list(data.get_episodes(range(data.total_episodes)))
    except Exception as error:  # Minari and h5py raise many kinds.
        told = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ConfigError(f"data={folder}: cannot be read ({told})") from None
    return Recorded([_of_minari(one, folder) for one in found if len(one["actions"])], about)


def _of_minari(found: Mapping[str, Any], folder: Path) -> Episode:
    obs, goal = found["observations"], None
    if isinstance(obs, Mapping):
        if "observation" not in obs:
            raise ConfigError(f"data={folder}: its observations have {', '.join(obs)}, and no 'observation'")
        goal = np.asarray(obs["desired_goal"])[0].ravel() if "desired_goal" in obs else None
        obs = obs["observation"]
    obs, action = np.asarray(obs), np.asarray(found["actions"], np.float32)
    if obs.ndim < 2 or action.ndim != 2 or len(obs) != len(action) + 1:
        told = f"observations {obs.shape} and actions {action.shape}"
        raise ConfigError(f"data={folder}: {told}, (T + 1, ...) and (T, A) wanted")
    return Episode(_typed(obs.reshape(len(obs), -1)), action, None if goal is None else _typed(goal))


def _typed(values: np.ndarray) -> np.ndarray:
    """Bytes of pictures stay bytes; numbers become float32, those beyond its range infinite."""
    with np.errstate(over="ignore"):
        return values if values.dtype == np.uint8 else values.astype(np.float32)


def _read_archive(path: Path) -> Recorded:
    try:
        with np.load(path, allow_pickle=False) as archive:
            found = {name: np.asarray(archive[name]) for name in archive.files}
    except Exception:  # NumPy, zipfile and zlib raise many kinds.
        raise ConfigError(f"data={path}: no NumPy archive (.npz), and no folder in Minari's layout") from None
    missing = [name for name in ("observations", "actions", "terminals") if name not in found]
    if missing:
        raise ConfigError(f"data={path}: no {', '.join(missing)} in it; found {', '.join(found) or 'nothing'}")
    read_ = {name: found[name] for name in ("observations", "actions", "terminals", "timeouts") if name in found}
    for name, values in read_.items():
        if values.dtype.kind not in "fiub":
            raise ConfigError(f"data={path}: its {name} are {values.dtype}; numbers wanted")
    obs, action = read_["observations"], _typed(read_["actions"].astype(np.float64))
    ended = [read_[name].ravel() for name in ("terminals", "timeouts") if name in read_]
    if obs.ndim < 2 or action.ndim != 2 or any(len(one) != len(obs) for one in (action, *ended)):
        told = ", ".join(f"{name} {values.shape}" for name, values in read_.items())
        raise ConfigError(f"data={path}: {told}: (N, D), (N, A) and (N,) wanted")
    if not all(np.isfinite(one).all() for one in ended):
        raise ConfigError(f"data={path}: its terminals or timeouts are not finite")
    ends = np.any([one > 0 for one in ended], axis=0)
    cuts = np.flatnonzero(ends) + 1
    rows = np.split(np.arange(len(obs)), cuts[cuts < len(obs)])
    flat = _typed(obs.reshape(len(obs), -1))
    # The last row's action leads to no observation that the archive has.
    return Recorded([Episode(flat[one], action[one[:-1]]) for one in rows if len(one) > 1])
