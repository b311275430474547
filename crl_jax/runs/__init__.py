"""What a run leaves on disk, written and read back.

`folder.py` makes, finds and resumes a run's folder; `checkpoint.py` (with `manifest.py`, its digests) and `loggers.py`
fill it; `recorded.py` reads curves and settings of finished or running runs.
"""

from crl_jax.runs.checkpoint import CheckpointError, DiskFullError
from crl_jax.runs.folder import (
    CHECKPOINTS,
    COMMAND,
    CONFIG,
    MAY_CHANGE,
    StopRequest,
    check_shared,
    create,
    load,
    note_command,
    resume,
    stop_on_signals,
    write_json,
)

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
    "load",
    "note_command",
    "resume",
    "stop_on_signals",
    "write_json",
]
