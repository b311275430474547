"""The command line: `commands.py` dispatches. `train.py`, `play.py`, `tables.py` and `doctor.py` hold the commands;
`options.py` parses their options."""

from crl_jax.cli.commands import USER_ERRORS, fail, main

__all__ = ["USER_ERRORS", "fail", "main"]
