"""The 50 tasks of Meta-World V3 as a table: one row of data per task, one file per family.

Official resets also make two kinds of writes that the rows leave out. Neither moves anything, and no observation,
success or reward reads them: `site_pos` of goal marks (pictures move the marks, see `MetaWorld.picture`), and world
positions in `data` that the next forward overwrites (the cabinet in plate-slide-side and plate-slide-back stays where
the scene has it). Goals that are drawn but never used stay in the reset vector (disassemble, sweep-into).
"""

from __future__ import annotations

from envs_mjx.metaworld.tasks import opening, placing, pressing, tools
from envs_mjx.metaworld.tasks.spec import KNOB, TCP, TaskSpec

TASKS: dict[str, TaskSpec] = {
    row.name: row
    for row in sorted((*placing.ROWS, *pressing.ROWS, *opening.ROWS, *tools.ROWS), key=lambda row: row.name)
}

__all__ = ["KNOB", "TASKS", "TCP", "TaskSpec"]
