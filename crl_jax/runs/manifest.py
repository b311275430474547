"""A folder's manifest.json: some values, and the size and digest of every other file, to name a damaged file."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

NAME = "manifest.json"


class DamageError(RuntimeError):
    """A file that is missing, or not as it was written. The message is `file (why)`."""


def write(folder: Path, values: dict[str, Any]) -> None:
    """Writes `values` (JSON-able) and the digests of all files under `folder`, and flushes them to the disk."""
    manifest = values | {"files": {name: _digest(folder / name) for name in _files(folder)}}
    manifest["digest"] = _own_digest(manifest)
    with open(folder / NAME, "w") as file:
        json.dump(manifest, file)
        file.flush()
        os.fsync(file.fileno())


def read(folder: Path) -> dict[str, Any]:
    """The values. Only the manifest itself is verified, not the other files.

    Raises:
        DamageError: the manifest is missing or not as written.
    """
    path = folder / NAME
    try:
        manifest = json.loads(path.read_text())
        whole = manifest["digest"] == _own_digest(manifest)
    except (OSError, ValueError, KeyError, TypeError) as error:
        text = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise DamageError(f"{path} ({text[:240]})") from error
    if not whole:
        raise DamageError(f"{path} (digest differs)")
    return manifest


def verified(folder: Path) -> dict[str, Any]:
    """The values, after every file has been verified.

    Raises:
        DamageError: a file is missing or not as written; names the first such file.
    """
    manifest = read(folder)
    for name, wanted in manifest["files"].items():
        try:
            found = _digest(folder / name)
        except OSError as error:
            raise DamageError(f"{folder / name} ({error.strerror or 'unreadable'})") from error
        if found != wanted:
            raise DamageError(f"{folder / name} ({found[0]} bytes of {wanted[0]}, digest differs)")
    return manifest


def _own_digest(manifest: dict[str, Any]) -> str:
    body = {name: value for name, value in manifest.items() if name != "digest"}
    return hashlib.blake2b(json.dumps(body, sort_keys=True).encode(), digest_size=16).hexdigest()


def _digest(path: Path) -> list[Any]:
    """[bytes, digest] of a file."""
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
        return [file.tell(), digest.hexdigest()]


def _files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
