"""Data parallelism: one program over a mesh of devices with an axis `data` (SPMD by `jax.shard_map`).

Environments, ring, sampling and batches are split over the axis, parameters are replicated, gradients are averaged.
Mapped functions take the axis name as the argument `axis`. On a single device it is None: every helper does nothing.

Axis letters: N devices, E environments, B batch.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from crl_jax.config import Config, ConfigError
from envs_mjx.physics.cores import cores

AXIS = "data"


def make_mesh(config: Config) -> Mesh | None:
    """The mesh of `config.train.devices` devices; None for one device.

    Raises:
        ConfigError: fewer devices than asked for; or CPU devices with callbacks that would wait for each other forever.
    """
    wanted, there = config.train.devices, jax.devices()
    if wanted > len(there):
        hint = f"XLA_FLAGS=--xla_force_host_platform_device_count={wanted} PJRT_NPROC={max(16, 2 * wanted)}"
        more = f"; several on one CPU: {hint}" if there[0].platform == "cpu" else ""
        raise ConfigError(f"devices={wanted}: JAX sees {len(there)} ({there[0].device_kind}){more}")
    if wanted == 1:
        return None
    pool, here = int(os.environ.get("PJRT_NPROC") or cores()), jax.local_device_count()
    if there[0].platform == "cpu" and config.env.physics == "c" and pool <= here and here > 1:
        raise ConfigError(
            f"devices={wanted}: physics='c' on CPU devices needs a thread pool larger than their number, or it hangs;"
            f" set PJRT_NPROC={max(16, 2 * here)} in the environment"
        )
    return Mesh(np.array(there[:wanted]), (AXIS,))


def axis_of(mesh: Mesh | None) -> str | None:
    """Name of the mesh's axis for the functions below; None for a single device."""
    return None if mesh is None else AXIS


def size(axis: str | None) -> int:
    """N, a Python int."""
    return 1 if axis is None else int(jax.lax.axis_size(axis))


def index(axis: str | None) -> jax.Array | int:
    """Number of this device, 0 ... N - 1."""
    return 0 if axis is None else jax.lax.axis_index(axis)


def own(key: jax.Array, axis: str | None) -> jax.Array:
    """A key for this device, derived from a key that all devices share."""
    return key if axis is None else jax.random.fold_in(key, jax.lax.axis_index(axis))


def copied(value: jax.Array, mesh: Mesh | None) -> jax.Array:
    """`value`, the same in every process, as one array on all devices of the mesh."""
    if mesh is None:
        return value
    return jax.make_array_from_process_local_data(NamedSharding(mesh, P()), np.asarray(value))


def mean(tree: Any, axis: str | None) -> Any:
    """Mean over the devices, as one message: with a message per leaf, hosts would wait for the network each time."""
    if axis is None:
        return tree
    message, unravel = ravel_pytree(tree)
    return unravel(jax.lax.pmean(message, axis))


def total(tree: Any, axis: str | None) -> Any:
    """Sum over the devices, leaf by leaf."""
    return tree if axis is None else jax.lax.psum(tree, axis)


def largest(tree: Any, axis: str | None) -> Any:
    """Maximum over the devices, leaf by leaf."""
    return tree if axis is None else jax.lax.pmax(tree, axis)


def gathered(axis: str | None, *parts: jax.Array) -> tuple[jax.Array, ...]:
    """(B, F) arrays of this device -> (N * B, F) of all devices, in their order, as one message; differentiable."""
    if axis is None:
        return parts
    message = jax.lax.all_gather(jnp.concatenate(parts, axis=-1), axis, tiled=True)
    return tuple(jnp.split(message, np.cumsum([part.shape[-1] for part in parts])[:-1], axis=-1))


def shifted(rows: jax.Array, axis: str | None) -> jax.Array:
    """For each row of this device's (B, ...), the next row in the (N * B, ...) of all devices; the last takes row 0."""
    following = jnp.roll(gathered(axis, rows)[0], -1, axis=0)
    return jax.lax.dynamic_slice_in_dim(following, index(axis) * rows.shape[0], rows.shape[0])


def normal(key: jax.Array, shape: tuple[int, ...], axis: str | None) -> jax.Array:
    """This device's rows of the (N * B, ...) standard normals that a single device would draw from the shared `key`."""
    if axis is None:
        return jax.random.normal(key, shape)
    everything = jax.random.normal(key, (size(axis) * shape[0], *shape[1:]))
    return jax.lax.dynamic_slice_in_dim(everything, jax.lax.axis_index(axis) * shape[0], shape[0])


def jitted(
    function: Callable[..., Any], mesh: Mesh | None, in_specs: Any, out_specs: Any, donate: tuple[int, ...] = ()
) -> Any:
    """`function`, jitted, on every device of the mesh; each device has its part of the arrays that the specs split."""
    if mesh is None:
        return jax.jit(function, donate_argnums=donate)
    # jit gets the shardings too: for empty arrays (a scene without joints) XLA would otherwise choose its own.
    there, back = shardings(in_specs, mesh), shardings(out_specs, mesh)
    mapped = jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)
    return jax.jit(mapped, in_shardings=there, out_shardings=back, donate_argnums=donate)


def shardings(specs: Any, mesh: Mesh) -> Any:
    """The specs of a tree as shardings on the mesh."""
    return jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs, is_leaf=lambda node: isinstance(node, P))


def shaped(template: Any, specs: Any, mesh: Mesh | None) -> Any:
    """`template` (shapes) with the shardings of `specs`, a prefix of its tree."""
    if mesh is None:
        return template

    def sharded(sharding: NamedSharding, part: Any) -> Any:
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), part)

    return jax.tree.map(sharded, shardings(specs, mesh), template)
