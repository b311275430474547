"""Tests, in folders that mirror the packages. `support/` holds shared probe environments, recordings and settings."""

from pathlib import Path

ROOT = Path(__file__).parent.parent
"""Root of the checkout."""
