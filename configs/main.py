"""Entry point of the `crl` command: the command line of crl_jax with the presets of this package.

An installed crl-jax has this package as `crl_jax.configs`, so that site-packages gets no folder named `configs`.
"""

from __future__ import annotations

import sys

from crl_jax import cli

from . import PRESETS


def main() -> None:
    """Run the command and exit with its code."""
    sys.exit(cli.main(PRESETS))


if __name__ == "__main__":
    main()
