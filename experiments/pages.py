"""Writes the tables and figures of README.md and the docs from the kept runs: `python -m experiments.pages`.

`make results` runs this module. Each section stands between two marks, <!-- name:begin --> and <!-- name:end -->. No
number between marks is typed by hand.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from crl_jax.config import ConfigError
from experiments import (
    ablation,
    continual,
    depth_scaling,
    diagnosis,
    front,
    lab_journal,
    locomotion,
    metaworld_tables,
    offline,
    places,
    robotics,
    settings,
    single_goal,
    topology,
)
from experiments.study import ROOT

DOCS = ROOT / "docs"
STUDIES = DOCS / "experiments"
_OF_PRESET = {preset: functools.partial(metaworld_tables.section, preset) for preset in metaworld_tables.PRESETS}
_BEFORE = [name for name in _OF_PRESET if name not in ("metaworld_cpu", "sac_her_cpu")]
PAGES: dict[Path, dict[str, Callable[[], str]]] = {
    ROOT / "README.md": {"learned": metaworld_tables.learned},
    DOCS / "world.md": {"world": metaworld_tables.world},
    DOCS / "train.md": {"settings": settings.section},
    STUDIES / "metaworld.md": {
        "metaworld_cpu": _OF_PRESET["metaworld_cpu"],
        "published": metaworld_tables.compared,
    },
    STUDIES / "presets.md": {name: _OF_PRESET[name] for name in _BEFORE},
    STUDIES / "baselines.md": {
        "sac_her_cpu": _OF_PRESET["sac_her_cpu"],
        "baselines": metaworld_tables.baselines,
    },
    STUDIES / "diagnosis.md": {"diagnosis": diagnosis.section},
    STUDIES / "single_goal.md": {"single_goal": single_goal.section},
    STUDIES / "lab_journal.md": {"lab_journal": lab_journal.section, "lab_journal_cells": lab_journal.table},
    STUDIES / "ablation.md": {"ablation": ablation.section},
    STUDIES / "depth.md": {"depth_scaling": depth_scaling.section, "topology": topology.section},
    STUDIES / "robotics.md": {"robotics": robotics.section, "pixels": robotics.pixels_section},
    STUDIES / "offline.md": {"offline": offline.section},
    STUDIES / "locomotion.md": {"locomotion": locomotion.section},
    DOCS / "continual.md": {
        "continual": continual.section,
        "continual_cw10_steps": functools.partial(continual.section, "cw10_steps"),
        "continual_details": continual.details,
        "continual_cw10_steps_details": functools.partial(continual.details, "cw10_steps"),
    },
}
"""Page -> mark -> function that makes the section's Markdown, with picture paths relative to ROOT."""


def write(pages: Mapping[Path, Mapping[str, Callable[[], str]]] = PAGES) -> None:
    """Write every section of every page between its marks.

    Raises:
        ConfigError: a mark is missing, or a section has no kept runs. That page is not changed.
    """
    for page, sections in pages.items():
        content = page.read_text()
        for mark, section in sections.items():
            begin, end = f"<!-- {mark}:begin -->", f"<!-- {mark}:end -->"
            if begin not in content or end not in content:
                raise ConfigError(f"{page}: no marks {begin} ... {end}")
            before, rest = content.split(begin, 1)
            content = f"{before}{begin}\n{placed(section(), page)}\n{end}{rest.split(end, 1)[1]}"
        page.write_text(content)


def placed(markdown: str, page: Path) -> str:
    """The section's Markdown with picture paths made relative to the page's folder."""
    folder = os.path.relpath(DOCS, page.parent)
    return markdown.replace("](docs/", "](" if folder == "." else f"]({folder}/")


if __name__ == "__main__":
    try:
        write()
        places.figure()
        robotics.seen()
        front.draw()
    except ConfigError as error:
        sys.exit(f"error: {error}")
