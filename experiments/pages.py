"""Writes the tables and figures of README.md and docs/results.md from the kept runs: `python -m experiments.pages`.

`make results` runs this module. Each section stands between two marks, <!-- name:begin --> and <!-- name:end -->. No
number between marks is typed by hand.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from crl_jax.config import ConfigError
from experiments import (
    ablation,
    continual,
    depth_scaling,
    lab_journal,
    locomotion,
    metaworld_tables,
    places,
    single_goal,
    topology,
)
from experiments.study import ROOT

_OF_PRESET = {preset: functools.partial(metaworld_tables.section, preset) for preset in metaworld_tables.PRESETS}
_IN_README = ("metaworld_cpu", "sac_her_cpu")
PAGES: dict[Path, dict[str, Callable[[], str]]] = {
    ROOT / "README.md": {
        **{preset: _OF_PRESET[preset] for preset in _IN_README},
        "single_goal": single_goal.section,
        "lab_journal": lab_journal.section,
        "depth_scaling": depth_scaling.section,
        "topology": topology.section,
        "locomotion": locomotion.section,
        "continual": continual.section,
        "continual_cw10": functools.partial(continual.section, "cw10"),
    },
    ROOT / "docs" / "results.md": {
        **{preset: section for preset, section in _OF_PRESET.items() if preset not in _IN_README},
        "baselines": metaworld_tables.baselines,
        "published": metaworld_tables.compared,
        "lab_journal": lab_journal.table,
        "ablation": ablation.section,
        "continual": continual.details,
        "continual_cw10": functools.partial(continual.details, "cw10"),
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
    return markdown.replace("](docs/", "](") if page.parent == ROOT / "docs" else markdown


if __name__ == "__main__":
    try:
        write()
        places.figure()
    except ConfigError as error:
        sys.exit(f"error: {error}")
