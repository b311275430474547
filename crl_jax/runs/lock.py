"""A lock of a run's folder: one process at a time writes there.

The kernel releases it when the process dies, also after kill -9. On NFS, Linux passes it on to the server.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crl_jax.config import ConfigError

LOCK = ".lock"
_HELD = {errno.EACCES, errno.EAGAIN}


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock inside the block. Where the file system has no locks, nothing is locked.

    Raises:
        ConfigError: another process holds it; the line names its host and process.
    """
    file = _acquired(Path(folder) / LOCK)
    try:
        yield
    finally:
        if file is not None:
            with contextlib.suppress(OSError):
                os.unlink(Path(folder) / LOCK)
            os.close(file)


def _acquired(path: Path) -> int | None:
    """The file descriptor that holds the lock, or None on a file system without locks."""
    import fcntl

    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.read(file, 200).decode(errors="replace").strip()
            os.close(file)
            if error.errno not in _HELD:
                return None
            raise ConfigError(
                f"{path.parent}: {owner or 'another process'} trains here; wait for it, or stop it"
            ) from None
        if _is(file, path):
            os.ftruncate(file, 0)
            os.write(file, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
            return file
        os.close(file)  # Its owner has ended and removed the file between our opening and locking it.


def _is(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


def is_locked(folder: Path) -> bool:
    """Whether a process writes in the folder, as its lock file says: one of another host counts as alive."""
    try:
        owner = (Path(folder) / LOCK).read_text().split()
        process, host = int(owner[1]), owner[3]
    except (OSError, ValueError, IndexError):
        return False
    if host != socket.gethostname():
        return True
    try:
        with contextlib.suppress(PermissionError):  # It lives, and is another user's.
            os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
