"""Our loop against a JaxGCRL checkout: the same ant, networks, batch and updates (`crl bench peers --path CHECKOUT`).

There are three sides: `jaxgcrl`; `ours`, also on Brax's spring; and `ours_c`, on MuJoCo's C engine. The physics of
`ours_c` differ, so it compares speed only. Each side runs in a process of its own and compiles first. Then the sides
take turns: each runs one iteration, then each runs the env steps of an iteration only, and so on. Time outside physics
is a side's iteration minus its env steps. All sides use this interpreter's JAX and Brax; `--python` names another
interpreter for the checkout. The checkout needs no installation, and is neither vendored nor a dependency.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from rich.console import Console

from benchmarks import common
from benchmarks._peer_sides import Sizes
from crl_jax.cli.options import script
from crl_jax.cli.progress import doing

ROOT = Path(__file__).parent.parent
MODULE = "jaxgcrl/agents/crl/crl.py"


@dataclass(frozen=True)
class Settings:
    """What is measured, and the checkout."""

    path: Path
    """Folder of a JaxGCRL checkout (the one that holds `jaxgcrl/`)."""
    python: Path = Path(sys.executable)
    """Interpreter for the checkout."""
    num_envs: int = 512
    """Environments."""
    unroll_length: int = 62
    """Env steps of every environment per iteration."""
    batch_size: int = 256
    """Transitions of an update."""
    episode_length: int = 1001
    """Env steps of an episode. Updates per iteration are num_envs * (episode_length - 1) / batch_size."""
    replay_rows: int = 2046
    """Env steps per environment that the replay buffer holds."""
    warm_up_rows: int = 1054
    """Env steps per environment before the first update."""
    width: int = 256
    """Units of every hidden layer."""
    depth: int = 2
    """Hidden layers of phi, psi and the actor, without LayerNorm: 1, 2 or 3, where all sides build equal networks."""
    repeats: int = 7
    """Rounds of all sides; medians are reported."""

    def validate(self) -> Sizes:
        """The sizes for all sides.

        Raises:
            SystemExit: a bad setting; the message is one line.
        """
        sizes = Sizes(**{name: getattr(self, name) for name in Sizes.__dataclass_fields__})
        windows = self.num_envs * (self.episode_length - 1)
        wanted = {
            "path": (self.path, (self.path / MODULE).is_file(), f"no {MODULE} there; name a checkout of JaxGCRL"),
            "depth": (self.depth, 1 <= self.depth <= 3, "1, 2 or 3, where both sides build the same network"),
            "repeats": (self.repeats, self.repeats >= 1, "must be at least 1"),
            "batch_size": (
                self.batch_size,
                windows % self.batch_size == 0,
                f"must divide num_envs * (episode_length - 1) = {windows}",
            ),
            "replay_rows": (
                self.replay_rows,
                self.replay_rows % self.unroll_length == 0 and self.replay_rows >= self.warm_up_rows,
                f"must be a multiple of unroll_length = {self.unroll_length} and at least warm_up_rows",
            ),
            "warm_up_rows": (
                self.warm_up_rows,
                self.warm_up_rows % self.unroll_length == 0 and self.warm_up_rows >= self.episode_length,
                f"must be a multiple of unroll_length = {self.unroll_length} and at least episode_length",
            ),
        }
        for name, (value, ok, cure) in wanted.items():
            if not ok:
                raise SystemExit(f"peers: error: {name}={str(value)!r}: {cure}")
        return sizes


class Side:
    """The process of one side, see `_peer_sides`. Its first answer tells that the side is built and compiled.

    Raises:
        SystemExit: the process ended instead of answering.
    """

    def __init__(self, name: str, sizes: Sizes, python: Path, paths: Sequence[Path], log: IO[str]):
        # -P keeps the working directory off the path, so that no module hides another of the same name
        command = [str(python), "-P", "-m", "benchmarks._peer_sides", name, json.dumps(asdict(sizes))]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(str(path.resolve()) for path in paths)}
        self.name, self.log = name, log
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        )

    def answer(self) -> dict[str, float]:
        """The next answer."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            told = Path(self.log.name).read_text().strip().splitlines() or ["nothing said"]
            raise SystemExit(f"peers: error: {self.name} ended: {told[-1]} (all of it: {self.log.name})")
        answer: dict[str, float] = json.loads(line)
        return answer

    def ask(self, what: str) -> float:
        """Run the command `loop` or `physics`; returns its seconds."""
        assert self.process.stdin is not None
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return self.answer()[what]

    def end(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()


def measure(settings: Settings, console: Console) -> dict[str, dict[str, list[float]]]:
    """side -> "loop" or "physics" -> seconds of every round."""
    sizes, logs = settings.validate(), Path("runs") / "peers"
    logs.mkdir(parents=True, exist_ok=True)
    own = (Path(sys.executable), (ROOT,))
    places = {"jaxgcrl": (settings.python, (settings.path, ROOT)), "ours": own, "ours_c": own}
    sides: list[Side] = []
    try:
        for name, (python, paths) in places.items():
            with doing(f"{name}: building, compiling, filling the replay, a first iteration (minutes) ...", console):
                sides.append(Side(name, sizes, python, paths, (logs / f"{name}.log").open("w")))
                sides[-1].answer()
        measured = {side.name: {"loop": [], "physics": []} for side in sides}  # type: ignore[var-annotated]
        for repeat in range(settings.repeats):
            for what in ("loop", "physics"):
                for side in sides:
                    with doing(f"round {repeat + 1} of {settings.repeats}: {what} of {side.name}", console):
                        measured[side.name][what].append(side.ask(what))
    finally:
        for side in sides:
            side.end()
    return measured


def rows_of(measured: Mapping[str, Mapping[str, Sequence[float]]], env_steps: int) -> list[dict[str, Any]]:
    """One row per side: microseconds per env step of the whole, of physics, of the rest; each also over JaxGCRL's."""
    rows: list[dict[str, Any]] = []
    for name, took in measured.items():
        loop, physics = (1e6 * common.median(took[what]) / env_steps for what in ("loop", "physics"))
        rows.append({"side": name, "whole_us": loop, "physics_us": physics, "outside_us": loop - physics, **took})
    base = next(row for row in rows if row["side"] == "jaxgcrl")
    for row in rows:
        row |= {f"{what}_ratio": row[f"{what}_us"] / base[f"{what}_us"] for what in ("whole", "physics", "outside")}
    return rows


def main(settings: Settings) -> None:
    """Measure, print, write results/peers.json."""
    sizes = settings.validate()
    measured = measure(settings, Console(stderr=True))
    rows = rows_of(measured, settings.num_envs * settings.unroll_length)
    table = [
        [row["side"]]
        + [f"{row[f'{what}_us']:.1f} ({row[f'{what}_ratio']:.2f})" for what in ("whole", "physics", "outside")]
        + [f"{1e6 / row['whole_us']:,.0f}"]
        for row in rows
    ]
    parts = [f"{what}, us per env step (x JaxGCRL)" for what in ("whole", "physics alone", "outside physics")]
    said = {name: value for name, value in asdict(settings).items() if name not in ("path", "python")}
    common.publish("peers", ["side", *parts, "env steps/s"], table, rows, said | {"updates": sizes.updates})


if __name__ == "__main__":
    script(main, Settings, __doc__)
