"""The command line: `commands.py` finds the command (and holds the short ones), `train.py` is train and continual."""

from crl_jax.cli.commands import USER_ERRORS, fail, main

__all__ = ["USER_ERRORS", "fail", "main"]
