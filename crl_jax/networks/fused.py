"""Layers of N networks at once for a GPU, where few launches count more than few operations (Pallas, by Triton).

One kernel computes bias, LayerNorm and swish of all networks forward, and one backward, where XLA makes three and nine.
A residual block collects what its four layers need for the weights' gradients, and takes one product for all of them.
On other devices the same functions are plain JAX.

Axis letters: N networks, B batch, H width (a power of two), K layers, T rows of a tile.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from crl_jax.networks.residual import LAYER_NORM_EPSILON

BIAS, SCALE, SHIFT, VECTORS = 0, 1, 2, 4
"""Rows of a layer's vectors (4, H): the Dense layer's bias, LayerNorm's scale and bias, zeros (a power of two)."""
ROWS, WARPS = 8, (4, 16)
"""T; and warps of a program, at least and at most: one for each 64 columns."""


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def norm_swish(z: jax.Array, vectors: jax.Array, layer: int = 0) -> jax.Array:
    """swish(LayerNorm(z + bias) * scale + shift) of one layer: z (N, B, H), vectors (K, N, 4, H) -> (N, B, H)."""
    return forward(z, vectors, layer)


def _norm_swish_forward(z: jax.Array, vectors: jax.Array, layer: int) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return forward(z, vectors, layer), (z, vectors)


def _norm_swish_backward(layer: int, kept: tuple[jax.Array, jax.Array], grad: jax.Array) -> tuple[jax.Array, jax.Array]:
    z, vectors = kept
    grad_z, parts, _ = backward(z[None], vectors, grad, (0, layer))
    return grad_z, jnp.zeros_like(vectors).at[layer].set(jnp.sum(parts, axis=1))


norm_swish.defvjp(_norm_swish_forward, _norm_swish_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def residual_block(
    x: jax.Array, kernels: jax.Array, vectors: jax.Array, scale: float, scanned: bool = True
) -> jax.Array:
    """x + scale * (K layers)(x): x (N, B, H), kernels (K, N, H, H), vectors (K, N, 4, H) -> (N, B, H).

    For the gradient, x and the layers' products (N, B, H) are kept: as one array if `scanned`, so that a scan over
    blocks copies one.
    """
    return _block(x, kernels, vectors, scale)[0]


def _block(x: jax.Array, kernels: jax.Array, vectors: jax.Array, scale: float) -> tuple[jax.Array, list[jax.Array]]:
    inside, products = x, []
    for layer in range(len(kernels)):
        products.append(inside @ kernels[layer])
        inside = forward(products[-1], vectors, layer)
    return x + scale * inside, products


def _block_forward(
    x: jax.Array, kernels: jax.Array, vectors: jax.Array, scale: float, scanned: bool
) -> tuple[jax.Array, Any]:
    out, products = _block(x, kernels, vectors, scale)
    return out, (x, kernels, vectors, jnp.stack(products) if scanned else products)


def _block_backward(scale: float, scanned: bool, kept: Any, grad: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    x, kernels, vectors, products = kept
    inside, found = scale * grad, []
    for layer in reversed(range(len(kernels))):
        of_layer = (products, (layer, layer)) if scanned else (products[layer][None], (0, layer))
        found.append(backward(of_layer[0], vectors, inside, of_layer[1]))
        inside = found[-1][0] @ jnp.swapaxes(kernels[layer], 1, 2)
    grad_z, parts, outputs = (list(each) for each in zip(*reversed(found), strict=True))
    inputs = jnp.stack([x, *outputs[:-1]])
    by_kernels = jnp.einsum("knbi,knbj->knij", inputs, jnp.stack(grad_z))
    return grad + inside, by_kernels, jnp.sum(jnp.stack(parts), axis=2)


residual_block.defvjp(_block_forward, _block_backward)


# -- one layer, on any device ------------------------------------------------------------------------------------------


def forward(z: jax.Array, vectors: jax.Array, layer: int) -> jax.Array:
    """`norm_swish`, without a gradient of its own."""
    plain = functools.partial(forward_plain, layer=layer)
    if z.shape[1] % ROWS:
        return plain(z, vectors)
    kernel = functools.partial(forward_kernel, layer=layer)
    out: jax.Array = jax.lax.platform_dependent(z, vectors, cuda=kernel, default=plain)
    return out


def backward(
    products: jax.Array, vectors: jax.Array, grad: jax.Array, at: tuple[int, int]
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The gradient of `norm_swish` at z = products[at[0]] with vectors[at[1]], for its output's gradient (N, B, H).

    Returns:
        gradient by z (N, B, H); by the vectors, in parts (N, tiles, 4, H) to be summed; the output (N, B, H).
    """
    plain = functools.partial(backward_plain, at=at)
    if grad.shape[1] % ROWS:
        return plain(products, vectors, grad)
    kernel = functools.partial(backward_kernel, at=at)
    out: tuple[jax.Array, jax.Array, jax.Array] = jax.lax.platform_dependent(
        products, vectors, grad, cuda=kernel, default=plain
    )
    return out


def forward_plain(z: jax.Array, vectors: jax.Array, layer: int) -> jax.Array:
    """`forward` in JAX."""
    bias, scale, shift = (vectors[layer, :, row, None] for row in (BIAS, SCALE, SHIFT))
    return jax.nn.swish(_normal(z, bias, scale, shift)[2])


def backward_plain(
    products: jax.Array, vectors: jax.Array, grad: jax.Array, at: tuple[int, int]
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """`backward` in JAX; the parts have as many tiles as the kernel's, and all but the first are zero."""
    bias, scale, shift = (vectors[at[1], :, row, None] for row in (BIAS, SCALE, SHIFT))
    grad_z, along, grad_y, out = _gradients(_normal(products[at[0]], bias, scale, shift), scale, grad)
    rows = [jnp.sum(one, axis=1) for one in (grad_z, along, grad_y)]
    whole = jnp.stack([*rows, jnp.zeros_like(rows[0])], axis=1)
    tiles = max(1, grad.shape[1] // ROWS)
    return grad_z, jnp.pad(whole[:, None], ((0, 0), (0, tiles - 1), (0, 0), (0, 0))), out


def _normal(z: jax.Array, bias: jax.Array, scale: jax.Array, shift: jax.Array) -> tuple[jax.Array, ...]:
    """1 / standard deviation (..., 1), the normalised rows, and LayerNorm's output."""
    z = z + bias
    centred = z - jnp.mean(z, axis=-1, keepdims=True)
    inverse_std = jax.lax.rsqrt(jnp.mean(centred * centred, axis=-1, keepdims=True) + LAYER_NORM_EPSILON)
    normal = centred * inverse_std
    return inverse_std, normal, normal * scale + shift


def _gradients(normal_: tuple[jax.Array, ...], scale: jax.Array, grad: jax.Array) -> tuple[jax.Array, ...]:
    """Row by row: the gradients by z (and bias), by scale, by shift; and the output."""
    inverse_std, normal, y = normal_
    gate = jax.nn.sigmoid(y)
    grad_y = grad * gate * (1 + y * (1 - gate))
    inner = grad_y * scale
    mean, along = (jnp.mean(one, axis=-1, keepdims=True) for one in (inner, inner * normal))
    return (inner - mean - normal * along) * inverse_std, grad_y * normal, grad_y, y * gate


# -- kernels -----------------------------------------------------------------------------------------------------------


def _forward_tile(z: Any, vectors: Any, out: Any) -> None:
    y = _normal(z[0], vectors[0, 0, BIAS], vectors[0, 0, SCALE], vectors[0, 0, SHIFT])[2]
    out[0] = y * jax.nn.sigmoid(y)


def _backward_tile(z: Any, vectors: Any, grad: Any, grad_z: Any, parts: Any, out: Any) -> None:
    scale = vectors[0, 0, SCALE]
    normal = _normal(z[0, 0], vectors[0, 0, BIAS], scale, vectors[0, 0, SHIFT])
    grad_z[0], along, grad_y, out[0] = _gradients(normal, scale, grad[0])
    for row, values in ((BIAS, grad_z[0]), (SCALE, along), (SHIFT, grad_y)):
        parts[0, 0, row] = jnp.sum(values, axis=0)
    parts[0, 0, SHIFT + 1] = jnp.zeros_like(scale)


def forward_kernel(z: jax.Array, vectors: jax.Array, layer: int, interpret: bool = False) -> jax.Array:
    """`forward` as one kernel; B a multiple of 8. `interpret` runs it without a GPU, slowly."""
    tile, of_layer = _blocks(z.shape[2], layer)
    call = pl.pallas_call(
        _forward_tile,
        jax.ShapeDtypeStruct(z.shape, z.dtype),
        in_specs=(tile, of_layer),
        out_specs=tile,
        **_program(z.shape, interpret),
    )
    return call(z, vectors)


def backward_kernel(
    products: jax.Array, vectors: jax.Array, grad: jax.Array, at: tuple[int, int], interpret: bool = False
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """`backward` as one kernel; B a multiple of 8."""
    networks, batch, width = grad.shape
    tile, of_layer = _blocks(width, at[1])
    z = pl.BlockSpec((1, 1, ROWS, width), lambda network, row: (at[0], network, row, 0))
    parts = pl.BlockSpec((1, 1, VECTORS, width), lambda network, row: (network, row, 0, 0))
    rows = jax.ShapeDtypeStruct(grad.shape, grad.dtype)
    sums = jax.ShapeDtypeStruct((networks, batch // ROWS, VECTORS, width), grad.dtype)
    call = pl.pallas_call(
        _backward_tile,
        (rows, sums, rows),
        in_specs=(z, of_layer, tile),
        out_specs=(tile, parts, tile),
        **_program(grad.shape, interpret),
    )
    return call(products, vectors, grad)


def _blocks(width: int, layer: int) -> tuple[pl.BlockSpec, pl.BlockSpec]:
    """What a program reads of rows (N, B, H), and of vectors (K, N, 4, H)."""
    tile = pl.BlockSpec((1, ROWS, width), lambda network, row: (network, row, 0))
    return tile, pl.BlockSpec((1, 1, VECTORS, width), lambda network, row: (layer, network, 0, 0))


def _program(shape: tuple[int, ...], interpret: bool) -> dict[str, Any]:
    """A program for each network and tile of rows."""
    networks, batch, width = shape
    warps = triton.CompilerParams(num_warps=min(max(width // 64, WARPS[0]), WARPS[1]))
    return {"grid": (networks, batch // ROWS), "interpret": interpret, "compiler_params": warps}
