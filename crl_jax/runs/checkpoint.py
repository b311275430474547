"""Checkpoints: one folder per step, arrays by Orbax and the rest as JSON. The folder appears complete or not at all.

    checkpoints/<step>/state/         the arrays (Orbax, zarr in OCDBT)
    checkpoints/<step>/manifest.json  step, host values, name/shape/dtype of every leaf, size and digest of every file

A checkpoint is written under a hidden name, flushed and renamed. Older checkpoints are deleted after that. Nothing is
pickled, so that a checkpoint cannot hold code. With several processes, each writes its own shards of the arrays, and
process 0 writes everything else. Arrays that were split over N devices can be restored onto any number of devices that
divides them, in any number of processes.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from crl_jax.runs import manifest
from crl_jax.scale import hosts
from crl_jax.scale.memory import size_of

ARRAYS = "state"
HIDDEN = ".tmp-"
MARGIN_FACTOR, MARGIN_BYTES = 1.2, 8 * 2**20

_DISK_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DISK_WORDS = ("no space left", "disk quota", "quota exceeded", "file too large")


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be written or read. The message is one line."""


class DiskFullError(CheckpointError):
    """The disk (or a quota, or a file-size limit) has no room for a checkpoint."""


def steps(folder: Path) -> list[int]:
    """Steps of the complete checkpoints under `folder`, ascending."""
    if not Path(folder).is_dir():
        return []
    return sorted(int(entry.name) for entry in Path(folder).iterdir() if entry.name.isdigit() and entry.is_dir())


def latest(folder: Path) -> int | None:
    """The newest step under `folder`, or None."""
    return max(steps(folder), default=None)


def save(folder: Path, step: int, state: Any, host: dict[str, Any], keep: int) -> Path:
    """Writes `state` and `host` as checkpoint `step`, then deletes all but the newest `keep`; returns its folder.

    With several processes, all call this with the same arguments. All return once the checkpoint is complete.

    Args:
        folder: holds one sub-folder per step; made when missing.
        step: name of the checkpoint, >= 0. An existing checkpoint of that step is replaced.
        state: pytree of arrays (any dtype that NumPy or ml_dtypes names; legacy uint32 PRNG keys; empty leaves).
        host: JSON-able values (Python ints of any size).
        keep: number of checkpoints that stay, >= 1. The one just written always stays.

    Raises:
        DiskFullError: no room, noticed before or during writing. Earlier checkpoints are left as they were.
        HostError: process 0 failed; process 0 itself raises the cause. ValueError: step < 0 or keep < 1.
    """
    if step < 0 or keep < 1:
        raise ValueError(f"step={step}, keep={keep}: step must be >= 0 and keep >= 1")
    folder = Path(folder).absolute()
    try:
        partial = folder / hosts.from_leader(lambda: _prepare(folder, step, state))
        with _removed_on_failure(partial):
            _write_arrays(partial, state)
            hosts.from_leader(lambda: _complete(partial, step, state, host, keep))
    except CheckpointError:
        raise
    except Exception as error:
        if not _is_disk_full(error):
            raise
        room = f"need {_mib(_need(state))}, free {_mib(shutil.disk_usage(folder).free)}"
        raise DiskFullError(f"no room for checkpoint {step} under {folder}: {room} ({_line(error)})") from error
    return folder / str(step)


def restore(folder: Path, template: Any, step: int | None = None) -> tuple[Any, dict[str, Any]]:
    """Reads a checkpoint back, bitwise, into the structure of `template`.

    If the template's shardings span several processes, all processes must call this. Otherwise each process may call
    it on its own.

    Args:
        folder: as given to `save`.
        template: pytree of arrays or `jax.ShapeDtypeStruct`; a leaf's sharding is used when it has one.
        step: which checkpoint; the newest when None.

    Returns:
        state (arrays that own their memory, so that they can be donated) and the `host` values.

    Raises:
        CheckpointError: no checkpoint; a damaged one (the message names the path and the other steps); or its leaves
            differ from the template's.
    """
    folder = Path(folder).absolute()
    if _spans_processes(template):
        step = int(hosts.from_leader(lambda: require(folder, step)))
        path, others = folder / str(step), "see process 0"
        written = manifest.read(path)
    else:
        path, written, others = _found(folder, step)
    _require_same_leaves(written["leaves"], template, path)
    try:
        return _read(path, written["leaves"], template), written["host"]
    except Exception as error:
        raise CheckpointError(f"damaged checkpoint {path}: {_line(error)}; other steps: {others}") from error


def require(folder: Path, step: int | None = None) -> int:
    """Check that a checkpoint exists and is undamaged, and return its step. Call it before an expensive compilation.

    Raises:
        CheckpointError: as `restore`.
    """
    return int(_found(Path(folder).absolute(), step)[0].name)


def host_values(folder: Path, step: int | None = None) -> dict[str, Any]:
    """The `host` values of a checkpoint, the newest by default. The files of its arrays are verified but not loaded.

    Raises:
        CheckpointError: as `restore`.
    """
    host: dict[str, Any] = _found(Path(folder).absolute(), step)[1]["host"]
    return host


def _found(folder: Path, step: int | None) -> tuple[Path, dict[str, Any], str]:
    """Path and verified manifest of a checkpoint, and the other steps as text."""
    available = steps(folder)
    if not available:
        raise CheckpointError(f"no checkpoint under {folder}; train with `crl train ...` first")
    step = available[-1] if step is None else step
    if step not in available:
        raise CheckpointError(f"no checkpoint {step} under {folder}; available steps: {_listed(available)}")
    path = folder / str(step)
    others = _listed([other for other in available if other != step])
    try:
        return path, manifest.verified(path), others
    except manifest.DamageError as error:
        raise CheckpointError(f"damaged checkpoint: {error}; other steps: {others}") from error


def _prepare(folder: Path, step: int, state: Any) -> str:
    """Makes the hidden folder to write into; returns its name."""
    folder.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    require_room(folder, state)
    partial = folder / f"{HIDDEN}{step}-{os.getpid()}"
    partial.mkdir()
    return partial.name


def _write_arrays(partial: Path, state: Any) -> None:
    leaves = jax.tree_util.tree_leaves(state)
    arrays = {_key(index): jnp.asarray(leaf) for index, leaf in enumerate(leaves) if np.size(leaf)}
    if arrays:
        with _quiet(), ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
            checkpointer.save(partial / ARRAYS, args=ocp.args.StandardSave(arrays))


def _complete(partial: Path, step: int, state: Any, host: dict[str, Any], keep: int) -> None:
    """Writes the manifest, renames the hidden folder to its step, and deletes older checkpoints."""
    manifest.write(partial, {"format": 1, "step": step, "host": host, "leaves": _described(state)})
    for folder, _, _ in os.walk(partial):
        _sync(Path(folder))
    path = partial.with_name(str(step))
    if path.exists():
        _discard(path)
    partial.rename(path)
    _sync(path.parent)
    for old in steps(path.parent)[:-keep]:
        if old != step:
            _discard(path.with_name(str(old)))


def _read(path: Path, described: list[list[Any]], template: Any) -> Any:
    leaves, structure = jax.tree_util.tree_flatten(template)
    wanted = {
        _key(index): jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=_sharding(leaf))
        for index, leaf in enumerate(leaves)
        if np.prod(leaf.shape)
    }
    arrays: dict[str, jax.Array] = {}
    if wanted:
        with _quiet(), _reader(template) as checkpointer:
            arrays = checkpointer.restore(path / ARRAYS, args=ocp.args.StandardRestore(wanted))
    restored = [
        _owned(arrays.pop(_key(index))) if _key(index) in wanted else _empty(shape, dtype, leaves[index])
        for index, (_, shape, dtype) in enumerate(described)
    ]
    return jax.tree_util.tree_unflatten(structure, restored)


def _reader(template: Any) -> ocp.Checkpointer:
    if jax.process_count() == 1 or _spans_processes(template):
        return ocp.Checkpointer(ocp.StandardCheckpointHandler())
    # This process reads on its own. By default Orbax would wait for all processes.
    me = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(primary_host=me, active_processes={me}, barrier_sync_key_prefix=str(me))
    handler = ocp.StandardCheckpointHandler(multiprocessing_options=alone)
    return ocp.Checkpointer(handler, multiprocessing_options=alone)


def _spans_processes(template: Any) -> bool:
    return not all(_sharding(leaf).is_fully_addressable for leaf in jax.tree_util.tree_leaves(template))


def _empty(shape: list[int], dtype: str, leaf: Any) -> jax.Array:
    if _sharding(leaf).is_fully_addressable:
        return jnp.zeros(shape, dtype)
    return jax.make_array_from_callback(tuple(shape), _sharding(leaf), lambda index: np.zeros(shape, dtype)[index])


def _owned(array: jax.Array) -> jax.Array:
    # On a CPU an array may alias the reader's buffer. Donating such an array would overwrite memory it does not own.
    on_cpu = next(iter(array.devices())).platform == "cpu"
    return jax.device_put(jnp.array(array, copy=True), array.sharding) if on_cpu else array


def _sharding(leaf: Any) -> jax.sharding.Sharding:
    return getattr(leaf, "sharding", None) or jax.sharding.SingleDeviceSharding(jax.local_devices()[0])


def _described(state: Any) -> list[list[Any]]:
    """[name, shape, dtype] of every leaf, in the tree's order."""
    paths = jax.tree_util.tree_flatten_with_path(state)[0]
    return [[jax.tree_util.keystr(path), list(np.shape(leaf)), str(jnp.result_type(leaf))] for path, leaf in paths]


def _require_same_leaves(saved: list[list[Any]], template: Any, path: Path) -> None:
    wanted = [
        [jax.tree_util.keystr(where), list(leaf.shape), str(leaf.dtype)]
        for where, leaf in jax.tree_util.tree_flatten_with_path(template)[0]
    ]
    for index in range(max(len(saved), len(wanted))):
        ours = saved[index] if index < len(saved) else None
        theirs = wanted[index] if index < len(wanted) else None
        if ours != theirs:
            raise CheckpointError(
                f"checkpoint {path} does not fit this run: it holds {_leaf(ours)}, the run wants {_leaf(theirs)}"
            )


def _leaf(leaf: list[Any] | None) -> str:
    return "no further leaf" if leaf is None else f"{leaf[0] or 'the root'} {leaf[2]}{tuple(leaf[1])}"


def _key(index: int) -> str:
    return f"leaf_{index:05d}"


def _need(state: Any) -> int:
    return int(size_of(state) * MARGIN_FACTOR) + MARGIN_BYTES


def require_room(folder: Path, state: Any) -> None:
    """Check that the disk of `folder`, which need not exist yet, has room for a checkpoint of `state` (or its shapes).

    Raises:
        DiskFullError: with the bytes needed and free.
    """
    while not folder.exists() and folder.parent != folder:
        folder = folder.parent
    need, free = _need(state), shutil.disk_usage(folder).free
    if free < need:
        raise DiskFullError(f"no room for a checkpoint under {folder}: need {_mib(need)}, free {_mib(free)}")


def _is_disk_full(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in _DISK_ERRNOS:
            return True
        if any(word in str(error).lower() for word in _DISK_WORDS):
            return True
        error = error.__cause__ or error.__context__
    return False


def _sweep(folder: Path) -> None:
    """Removes folders that killed processes left half-written or half-deleted."""
    for entry in folder.glob(f"{HIDDEN}*"):
        shutil.rmtree(entry, ignore_errors=True)


def _discard(path: Path) -> None:
    # Rename first: a kill during the deletion must not leave half a checkpoint under a step's name.
    grave = path.with_name(f"{HIDDEN}old-{path.name}-{os.getpid()}")
    path.rename(grave)
    shutil.rmtree(grave, ignore_errors=True)


@contextlib.contextmanager
def _removed_on_failure(partial: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        for entry in partial.parent.glob(f"{partial.name}*"):
            shutil.rmtree(entry, ignore_errors=True)
        raise


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences Orbax's log messages. Its errors are still raised as exceptions."""
    loggers = [logging.getLogger(name) for name in ("absl", "orbax")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"


def _listed(values: list[int]) -> str:
    return ", ".join(map(str, values)) or "none"


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    text = text if len(text) <= 240 else f"{text[:120]} ... {text[-120:]}"  # the cause is at the start or the end
    return f"{type(error).__name__}: {text}"
