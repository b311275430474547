"""How long a training takes on 1, 8 and 64 GPUs, by a model of launches, products and messages (no GPU is needed).

The launches of an update and the bytes of its messages are those that `crl bench kernels` counted. All other constants
are settings, so that a run on a GPU (`crl bench gpu`) can correct them; none has been measured here.

An env step of all environments takes its launches, or its worlds' work if that is more. An update takes its launches
or its products, whichever is more, and its messages. Environments are split over the GPUs, and so is each batch.

Writes results/scaling_model.json.
"""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks import common
from crl_jax.cli.options import script
from crl_jax.config import ConfigError


@dataclass(frozen=True)
class Settings:
    """Constants of the model, and what is computed."""

    num_envs: tuple[int, ...] = (512, 4096, 65_536)
    """Environments of all GPUs together."""
    gpus: tuple[int, ...] = (1, 8, 64)
    """GPUs."""
    depth: int = 4
    """Depth of the networks, one that `crl bench kernels` has counted."""
    env_steps_per_update: float = 40.0
    """Env steps for each update."""
    batch_size: int = 512
    """Rows of a batch, of all GPUs together."""
    launch_us: float = 2.0
    """A launch. 1.8 to 2.1 fit the hours published for an A100 (arXiv:2503.14858)."""
    env_step_launches: int = 696
    """Launches of an env step of push on engine warp, with one Newton iteration (results/kernels_run.json)."""
    world_us: float = 0.8
    """Work of one world's env step of 5 substeps: 0.16 us each. mujoco_warp reports 2.5 M substeps/s for a two-armed
    robot at 8,192 worlds, which would be 0.4 us each; an arm with one puck is taken for less than half."""
    tflops: float = 200.0
    """Speed of the products, TF32."""
    message_us: float = 15.0
    """A collective's latency within a machine."""
    far_us: float = 40.0
    """The same between machines of 8 GPUs."""
    link_gb_s: float = 300.0
    """Bytes/s of a collective within a machine, in 1e9."""
    far_gb_s: float = 40.0
    """The same between machines."""


BYTES = 16
"""Bytes of an update's arguments for each parameter: the parameter, its running mean, two moments, in float32."""


PRODUCTS = 10
"""Operations for each parameter and row: 6 forward and backward, 4 for the value and its gradient by actions."""


def update_us(settings: Settings, gpus: int, counted: dict[str, Any]) -> float:
    """Microseconds of one update; `counted`: a row of `crl bench kernels`."""
    products = PRODUCTS * counted["parameters"] * settings.batch_size / gpus / (1e6 * settings.tflops)
    alone = max(settings.launch_us * counted["launches"], products)
    if gpus == 1:
        return alone
    within = gpus <= 8
    latency, speed = (settings.message_us, settings.link_gb_s) if within else (settings.far_us, settings.far_gb_s)
    return alone + sum(latency + size / (1e3 * speed) for _, size in counted["collectives"])


def row(settings: Settings, num_envs: int, gpus: int, counted: dict[str, Any]) -> dict[str, Any]:
    """Env steps/s, and the updates' share of the time."""
    physics = max(settings.launch_us * settings.env_step_launches, settings.world_us * num_envs / gpus)
    updates = update_us(settings, gpus, counted) * num_envs / settings.env_steps_per_update
    rate = 1e6 * num_envs / (physics + updates)
    return {
        "num_envs": num_envs,
        "gpus": gpus,
        "env_steps_per_s": rate,
        "updates_share": updates / (physics + updates),
        "hours_per_100m": 1e8 / rate / 3600,
    }


def counts(depth: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """A depth's row of `crl bench kernels`, as one stack: for one GPU, and with the messages of several.

    The gradient's message grows with the parameters.

    Raises:
        ConfigError: that depth has not been counted.
    """
    rows = [one for one in common.read_rows("kernels") if one.get("fused") == "on" and "launches" in one]
    alone = [one for one in rows if one["depth"] == depth and one["devices"] == 1]
    several = [one for one in rows if one["devices"] > 1]
    if not alone or not several:
        raise ConfigError(f"depth={depth}: not counted yet; crl bench kernels --depths {depth} (results/kernels.json)")
    known, shared = alone[0] | {"parameters": alone[0]["arguments_bytes"] / BYTES}, several[-1]
    grown = known["arguments_bytes"] / shared["arguments_bytes"]
    sizes = [(name, size * grown if name == "all-reduce" else size) for name, size in shared["collectives"]]
    return known | {"collectives": []}, known | {"collectives": sizes}


def main(settings: Settings) -> None:
    """Compute, print, write results/scaling_model.json."""
    alone, several = counts(settings.depth)
    rows = [
        row(settings, num_envs, gpus, alone if gpus == 1 else several)
        for num_envs, gpus in itertools.product(settings.num_envs, settings.gpus)
        if num_envs >= gpus
    ]
    titles = ["environments", "GPUs", "env steps/s", "updates' share", "hours for 100 M"]
    table = [
        [
            f"{one['num_envs']:,}",
            str(one["gpus"]),
            f"{one['env_steps_per_s']:,.0f}",
            f"{one['updates_share']:.0%}",
            f"{one['hours_per_100m']:.2f}",
        ]
        for one in rows
    ]
    common.publish("scaling_model", titles, table, rows, asdict(settings))


if __name__ == "__main__":
    script(main, Settings, __doc__)
