"""Entry point of the `crl` command: the command line of crl_jax with the presets of `configs`."""

from __future__ import annotations

import sys

from configs import PRESETS
from crl_jax import cli


def main() -> None:
    """Run the command and exit with its code."""
    sys.exit(cli.main(PRESETS))


if __name__ == "__main__":
    main()
