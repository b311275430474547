"""Tables and figures of README.md and docs/results.md, made from the kept runs: `python -m experiments.pages`.

`make results` calls it. Each stands between two marks, <!-- name:begin --> and <!-- name:end -->: no number there is
typed by hand.
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
    metaworld_suite,
    single_goal,
    topology,
)
from experiments.study import ROOT

_OF_PRESET = {preset: functools.partial(metaworld_suite.section, preset) for preset in metaworld_suite.PRESETS}
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
        "baselines": metaworld_suite.baselines,
        "lab_journal": lab_journal.table,
        "ablation": ablation.section,
        "continual": continual.details,
        "continual_cw10": functools.partial(continual.details, "cw10"),
    },
}
"""Page -> mark -> the Markdown that stands there, its pictures as seen from ROOT."""


def write(pages: Mapping[Path, Mapping[str, Callable[[], str]]] = PAGES) -> None:
    """Write every section of every page between its marks.

    Raises:
        ConfigError: marks that are missing, or a section without kept runs; that page is as it was.
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
    """A section as it stands on a page: pictures of docs/ as seen from the page's folder."""
    return markdown.replace("](docs/", "](") if page.parent == ROOT / "docs" else markdown


if __name__ == "__main__":
    try:
        write()
    except ConfigError as error:
        sys.exit(f"error: {error}")
