"""The command line: `commands.py` dispatches and holds the short commands; `train.py` holds train and continual."""

from crl_jax.cli.commands import USER_ERRORS, fail, main

__all__ = ["USER_ERRORS", "fail", "main"]
