"""What a run leaves on disk, written and read back.

`folder.py` makes, finds and resumes a run's folder. `lock.py` keeps a second process out of it. `signals.py` hears when
to stop. `checkpoint.py` (with `manifest.py`, its digests) and `loggers.py` fill the folder. `recorded.py` reads curves
and settings of finished or running runs.
"""

from crl_jax.runs.checkpoint import CheckpointError, DiskFullError
from crl_jax.runs.folder import (
    CHECKPOINTS,
    COMMAND,
    CONFIG,
    MAY_CHANGE,
    check_shared,
    create,
    discard,
    load,
    note_command,
    resume,
    write_json,
)
from crl_jax.runs.lock import locked
from crl_jax.runs.signals import StopRequest, stop_on_signals

__all__ = [
    "CHECKPOINTS",
    "COMMAND",
    "CONFIG",
    "MAY_CHANGE",
    "CheckpointError",
    "DiskFullError",
    "StopRequest",
    "check_shared",
    "create",
    "discard",
    "load",
    "locked",
    "note_command",
    "resume",
    "stop_on_signals",
    "write_json",
]
