"""The command line: the command `crl`: which function runs, and how errors are told.

Every error that a user can cause ends in one line on stderr and exit code 2. The caller (`configs`) passes the presets,
so that this package does not import `configs`.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from crl_jax.cli import play, tables
from crl_jax.cli import train as cli_train
from crl_jax.cli.doctor import doctor
from crl_jax.cli.options import USER_ERRORS, call, shown
from crl_jax.cli.warm import make_warm
from crl_jax.config import Config, ConfigError, nearest

_MAIN = '\nif __name__ == "__main__"'
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
MEASURED = ("fidelity", "profile")
"""Commands that run the benchmark of the same name."""
USAGE = """usage: crl COMMAND ...

  train TASK [--preset NAME] [options]   train, then draw curves and film the learned arm
  train mt10|TASK+TASK [options]         several tasks at once, one policy
  train TASK --seeds 0 1 2 [options]     a run for each seed, as one program (engines in JAX)
  train --resume RUN                     continue a run from its last checkpoint
  continual TASK TASK ... [options]      learn tasks one after another (or cw10, cw20); --resume RUN continues
  train ... --coordinator HOST:PORT --num-processes N --process-id I
                                         one of N processes that train together (under Slurm: found out)
  eval RUN [--official]                  score a run's policy on fresh episodes
  render RUN                             film a run's policy
  render TASK [--policy NAME]            film a task under its scripted or a random policy
  record TASK --out DATA                 keep trajectories of a policy, to learn from (train --data DATA)
  demo [TASK] [--list]                   play a trained policy that ships with the package
  view RUN|TASK [--policy NAME]          watch it live in the browser, and command goals by hand
  report RUN...                          curves, tables and one HTML page of runs or folders of runs
  watch RUN...                           a page that follows running jobs: progress, curves, films
  envs [PATTERN...] [--group NAME]       list the tasks
  audit [TASK...]                        the goals that tasks command, against what the scripted policy achieves
  warm TASK... [--arch 90]               compile what a run on a GPU needs before it, e.g. on a login node
  doctor                                 what this machine has, and what works on it
  bench [NAME] [options]                 list the benchmarks, or run one
  profile TASK [--preset NAME] [options] where an iteration's time goes: a table, and a trace for XProf
  fidelity [options]                     measure how near the engines are to the official physics (bench fidelity)

`crl COMMAND --help` shows every option."""


def main(presets: Mapping[str, Config], argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        exit code: 0, or 2 after an error of the user, which is printed in one line.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    return shown(lambda: _main(presets, arguments))


def _main(presets: Mapping[str, Config], arguments: list[str]) -> int:
    try:
        if not arguments or arguments[0] in ("-h", "--help"):
            print(USAGE)
            return 0
        command = arguments.pop(0)
        if command not in COMMANDS:
            raise ConfigError(f"{command}: no such command; nearest: {nearest(command, COMMANDS)}")
        if command == "train":
            return cli_train.train_command(presets, arguments)
        if command == "continual":
            return cli_train.continual_command(presets, arguments)
        if command in MEASURED:
            return _run_bench(command, arguments)
        if command == "bench" and arguments and not arguments[0].startswith("-"):
            return _run_bench(arguments[0], arguments[1:])
        handler = make_warm(presets) if command == "warm" else HANDLERS[command]
        code: int = call(handler, arguments, prog=f"crl {command}")
        return code
    except USER_ERRORS as error:
        return fail(str(error))
    except KeyboardInterrupt:  # Where a run is under way, `stop_on_signals` answers instead.
        print("\nStopped.", file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return fail(f"{error.filename or 'the disk'}: no space left; the last checkpoint is intact")
        if error.filename is None:
            raise
        return fail(f"{error.filename}: {error.strerror}")
    except MemoryError:
        return fail("out of memory; a smaller --replay-capacity or --num-envs needs less")
    except RuntimeError as error:  # JAX's own.
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return fail(
            f"the device is out of memory ({str(error)[:160]}); a smaller --replay-capacity or --num-envs needs less"
        )


def fail(message: str) -> int:
    """Print an error of the user in one line on stderr. Returns the exit code, 2."""
    print(f"crl: error: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _bench() -> int:
    """List the benchmarks: `crl bench NAME [options]` runs one, `crl bench NAME --help` shows its options."""
    print("\n".join(_benchmarks()))
    return 0


def _benchmarks() -> list[str]:
    """Names of the modules in `benchmarks/` that can be run.

    Raises:
        ConfigError: there is no such folder here.
    """
    if not BENCHMARKS.is_dir():
        raise ConfigError("bench: the benchmarks come with a checkout of the repository, not with a wheel")
    return sorted(path.stem for path in BENCHMARKS.glob("[!_]*.py") if _MAIN in path.read_text())


def _run_bench(name: str, arguments: list[str]) -> int:
    if name not in _benchmarks():
        raise ConfigError(f"bench={name!r}: no such benchmark; nearest: {nearest(name, _benchmarks())}")
    # -P and PYTHONPATH: the benchmark is found from any working directory. Paths in options stay relative to that one.
    command = [sys.executable, "-P", "-m", f"benchmarks.{name}", *arguments]
    path = os.pathsep.join(filter(None, (str(BENCHMARKS.parent), os.environ.get("PYTHONPATH"))))
    return subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, check=False).returncode


HANDLERS: dict[str, Callable[..., int]] = {
    "eval": play.eval_,
    "render": play.render,
    "record": play.record,
    "demo": play.demo,
    "view": play.view,
    "report": tables.report,
    "watch": tables.watch,
    "envs": tables.envs,
    "audit": tables.audit,
    "doctor": doctor,
    "bench": _bench,
}
"""Command -> function whose parameters are its options; the other commands parse their own."""
COMMANDS = ("train", "continual", "warm", *HANDLERS, *MEASURED)
