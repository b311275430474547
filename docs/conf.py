"""Settings of the documentation: `make docs` builds it under docs/_build/html, with every warning as an error."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

project, author, copyright = "crl_jax", "the crl_jax authors", "2026, the crl_jax authors"
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build", "*_conclusions.md"]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
default_role = "code"
nb_execution_mode = "off"
copybutton_prompt_text = r"\$ "
copybutton_prompt_is_regexp = True
autodoc_default_options = {"members": True, "ignore-module-all": True}
napoleon_use_ivar = True  # The fields of a NamedTuple are members already.
suppress_warnings = ["ref.python"]  # Two modules may each have a `Settings`.
autodoc_typehints = "description"
autodoc_member_order = "bysource"
html_theme = "furo"
html_title = "crl_jax"
html_static_path: list[str] = []


def _plain(_app: Any, _what: str, _name: str, _of: Any, _options: Any, lines: list[str]) -> None:
    """Docstrings are plain text: tables and drawings are shown as they are, and | and * stand for themselves."""
    paragraphs = "\n".join(lines).split("\n\n")
    told = []
    for paragraph in paragraphs:
        rows = paragraph.split("\n")
        drawn = any(row.startswith("  ") for row in rows) and not rows[0].lstrip("\n").startswith((":", "..", "* "))
        if drawn:
            told.append("::\n\n" + "\n".join(f"    {row}" for row in rows))
        else:
            told.append(re.sub(r"(?<![\w`\\*])([|*])(?=\w)|(?<=[\w)])\|", lambda found: f"\\{found[0]}", paragraph))
    lines[:] = "\n\n".join(told).split("\n")


def setup(app: Any) -> None:
    """Read docstrings as plain text, after napoleon."""
    app.connect("autodoc-process-docstring", _plain, priority=900)
