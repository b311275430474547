"""Tests, in the folders of what they test. `support/` holds probe environments, recordings and settings they share."""

from pathlib import Path

ROOT = Path(__file__).parent.parent
"""The checkout."""
