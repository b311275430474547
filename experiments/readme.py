"""The README's tables and figures, made from the kept runs: `python -m experiments.readme` (`make results`).

Each stands between two marks, <!-- name:begin --> and <!-- name:end -->: no number there is typed by hand.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path

from crl_jax.config import ConfigError
from experiments import ablation, lab_journal, metaworld_suite, single_goal
from experiments.study import ROOT

README = ROOT / "README.md"
SECTIONS: dict[str, Callable[[], str]] = {
    **{preset: functools.partial(metaworld_suite.section, preset) for preset in metaworld_suite.PRESETS},
    "baselines": metaworld_suite.baselines,
    "single_goal": single_goal.section,
    "lab_journal": lab_journal.section,
    "ablation": ablation.section,
}
"""Mark -> the Markdown that stands there."""


def write(path: Path = README, sections: dict[str, Callable[[], str]] | None = None) -> None:
    """Write every section between its marks.

    Raises:
        ConfigError: marks that are missing, or a section without kept runs; the file is as it was.
    """
    content = path.read_text()
    for mark, section in (SECTIONS if sections is None else sections).items():
        begin, end = f"<!-- {mark}:begin -->", f"<!-- {mark}:end -->"
        if begin not in content or end not in content:
            raise ConfigError(f"{path}: no marks {begin} ... {end}")
        before, rest = content.split(begin, 1)
        content = f"{before}{begin}\n{section()}\n{end}{rest.split(end, 1)[1]}"
    path.write_text(content)


if __name__ == "__main__":
    try:
        write()
    except ConfigError as error:
        sys.exit(f"error: {error}")
