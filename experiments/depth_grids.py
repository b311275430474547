"""The grids of `experiments.depth_scaling` as data: which networks train on which tasks, for how many env steps."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import envs_mjx
from configs import PRESETS
from experiments import study
from experiments.single_goal import collecting

METHODS = ("crl", "sac", "td3")


@dataclass(frozen=True)
class Setting:
    """The fields in which two cells of a task may differ."""

    critic_depth: int
    actor_depth: int
    width: int
    batch_size: int
    method: str = "crl"

    @property
    def name(self) -> str:
        return (
            f"{self.method}-critic{self.critic_depth}-actor{self.actor_depth}-width{self.width}-batch{self.batch_size}"
        )


@dataclass(frozen=True)
class Grid:
    """The product of these values. Empty `actor_depths`: as deep as the critic. Other empty fields: the scale's."""

    critic_depths: tuple[int, ...]
    actor_depths: tuple[int, ...] = ()
    widths: tuple[int, ...] = ()
    batch_sizes: tuple[int, ...] = ()
    methods: tuple[str, ...] = ("crl",)


@dataclass(frozen=True)
class Scale:
    """How large the study is.

    Attributes:
        preset: name in `configs`. changes: fields of the preset that every cell changes.
        tasks: task -> env steps of a run. width, batch_size: values for grids that name none. grids: name -> grid.
    """

    preset: str
    changes: Mapping[str, Any]
    tasks: Mapping[str, int]
    width: int
    batch_size: int
    grids: Mapping[str, Grid]

    def settings(self, grid: str) -> list[Setting]:
        """The settings of a grid, in the order of the product."""
        one = self.grids[grid]
        widths, batches = one.widths or (self.width,), one.batch_sizes or (self.batch_size,)
        product = itertools.product(one.methods, one.critic_depths, one.actor_depths or (0,), widths, batches)
        return [
            Setting(critic, actor or critic, width, batch, method) for method, critic, actor, width, batch in product
        ]


CPU = Scale(
    preset="point_cpu",
    changes={
        "updates_per_iteration": 200,
        "min_replay": 31_744,
        "eval_every": 31_744,
        "iterations_per_round": 4,
        "checkpoint_every": 100_000,
    },
    tasks={"point_U": 400_000, "point_Maze11x11": 2_000_000, "point_FourRooms": 400_000},
    width=64,
    batch_size=128,
    grids={
        "depth": Grid((4, 16, 64)),
        "width": Grid((4,), widths=(64, 128, 256)),
        "batch": Grid((4, 16), batch_sizes=(64, 128, 256, 512)),
        "apart": Grid((4, 16), (4, 16)),
        "baselines": Grid((4, 16), methods=METHODS),
    },
)
_MILLION = 1_000_000
FULL = Scale(
    preset="scaling_crl",
    changes={"horizon": 1000},
    tasks={
        "humanoid": 100 * _MILLION,
        "ant_big_maze": 100 * _MILLION,
        "ant_u4_maze": 100 * _MILLION,
        "ant_u5_maze": 400 * _MILLION,
        "ant_hardest_maze": 200 * _MILLION,
        "arm_push_easy": 100 * _MILLION,
        "arm_push_hard": 100 * _MILLION,
        "arm_binpick_hard": 100 * _MILLION,
        "humanoid_u_maze": 400 * _MILLION,
        "humanoid_big_maze": 400 * _MILLION,
    },
    width=256,
    batch_size=512,
    grids={
        "depth": Grid((4, 8, 16, 32, 64)),
        "width": Grid((4,), widths=(256, 512, 1024, 2048)),
        "batch": Grid((4, 8, 16, 64), batch_sizes=(128, 256, 512, 1024, 2048)),
        "apart": Grid((4, 16, 64), (4, 16, 64)),
        "baselines": Grid((4, 16), methods=METHODS),
    },
)
"""The scale of the paper: its epochs of 0.984 M env steps, and episodes of 1,000 env steps, also for the arms.

Departures: those of the preset; and a maze is evaluated with its own goals, where the paper evaluates some mazes on a
separate layout (`evaluated_on` in published/depth_scaling.json)."""
Kept = Mapping[str, list[Path]]
"""Cell's name -> its kept runs."""
BASELINES = {"sac": "sac_her_cpu", "td3": "td3_her_cpu"}
"""Method -> preset of its learner. Collection, schedule and discount are those of the CRL cells."""


def scale_of(full: bool) -> Scale:
    """The paper's scale (`full`), or the scale for a CPU."""
    return FULL if full else CPU


def cell(scale: Scale, task: str, setting: Setting, steps: int | None = None) -> study.Cell:
    """The cell of a task and a setting. `steps` replaces the task's own env steps."""
    preset = PRESETS[scale.preset]
    changes: dict[str, Any] = {**scale.changes, "task": task, "total_env_steps": steps or scale.tasks[task]}
    if setting.method != "crl":
        changes = collecting(preset) | {"discount": preset.agent.discount} | changes
    changes |= {name: value for name, value in vars(setting).items() if name != "method"}
    name = f"{task}-{setting.name}{'-full' if scale is FULL else ''}"
    return study.Cell(name, BASELINES.get(setting.method, scale.preset), changes)


def cells(tasks: Sequence[str], grids: Sequence[str], full: bool = False, steps: int | None = None) -> list[study.Cell]:
    """The cells of some grids on some tasks. A cell that two grids share is listed once.

    Raises:
        ConfigError: an unknown task or grid.
    """
    scale = scale_of(full)
    study.known(tasks, scale.tasks, "tasks")
    study.known(grids, scale.grids, "grids")
    settings = dict.fromkeys(setting for grid in grids for setting in scale.settings(grid))
    return [cell(scale, task, setting, steps) for task in tasks for setting in settings]


def label_of(grid: str, setting: Setting) -> str:
    """Text that distinguishes a setting from the others of its grid."""
    depth = f"depth {setting.critic_depth}"
    return {
        "depth": depth,
        "width": f"width {setting.width}",
        "batch": f"{depth}, batch {setting.batch_size}",
        "apart": f"critic {setting.critic_depth}, actor {setting.actor_depth}",
        "baselines": f"{setting.method}, {depth}",
    }[grid]


def horizon(scale: Scale, task: str) -> int:
    """Episode length of a task's cells, in env steps."""
    return scale.changes.get("horizon") or envs_mjx.horizon_of(task)


def groups_of(kept: Kept, scale: Scale, task: str, grid: str) -> dict[str, list[Path]]:
    """Label -> kept runs, for the cells of one task and grid."""
    named = {label_of(grid, setting): cell(scale, task, setting).name for setting in scale.settings(grid)}
    return {label: kept[name] for label, name in named.items() if name in kept}
