"""N residual MLPs of equal width and depth as one network with a leading axis, for few, large GPU kernels.

The networks of `residual.py` keep their parameters; `packed` stacks them, padding stems and heads of different sizes
with zeros, which inputs of zero leave unused. `forward` computes what they compute.

Axis letters: N networks, F largest input, O largest output, L blocks, H width, B batch.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from crl_jax.networks.fused import VECTORS, norm_swish, residual_block
from crl_jax.networks.residual import LAYERS_PER_BLOCK

Params = Any
LAST = VECTORS - 1


class Stack(struct.PyTreeNode):
    """Parameters. `vectors` hold each layer's bias, LayerNorm's scale and bias, see `fused`; O is at most H.

    Attributes:
        stem: (N, F, H). stem_vectors: (N, 4, H), whose fourth row is the bias of the head.
        blocks: (L, 4, N, H, H). block_vectors: (L, 4, N, 4, H); the first 4 counts a block's layers.
        head: (N, H, O).
    """

    stem: jax.Array
    stem_vectors: jax.Array
    blocks: jax.Array
    block_vectors: jax.Array
    head: jax.Array

    @property
    def inputs(self) -> int:
        return self.stem.shape[1]

    def squares(self) -> jax.Array:
        """(N,) sum of the squares of each network's numbers."""
        axes = {"stem": 0, "stem_vectors": 0, "head": 0, "blocks": 2, "block_vectors": 2}

        def summed(leaf: jax.Array, axis: int) -> jax.Array:
            return jnp.sum(jnp.square(leaf), axis=[other for other in range(leaf.ndim) if other != axis])

        return functools.reduce(jnp.add, (summed(getattr(self, name), axis) for name, axis in axes.items()))


def packed(networks: Sequence[Params]) -> Stack:
    """The parameters of `Encoder`s and `Actor`s with LayerNorm, of equal width and depth, as one stack."""
    bodies = [network["params"]["mlp"] for network in networks]

    def padded(leaves: Sequence[jax.Array]) -> jax.Array:
        sizes = [max(leaf.shape[axis] for leaf in leaves) for axis in (0, 1)]
        gaps = [[(0, most - size) for most, size in zip(sizes, leaf.shape, strict=True)] for leaf in leaves]
        return jnp.stack([jnp.pad(leaf, gap) for leaf, gap in zip(leaves, gaps, strict=True)])

    def vectors(layers: Params, index: int) -> jax.Array:
        norm, bias = layers[f"norm_{index}"], layers[f"dense_{index}"]["bias"]
        return jnp.stack([bias, norm["scale"], norm["bias"], jnp.zeros_like(bias)], axis=-2)

    def of_stem(body: Params) -> jax.Array:
        bias = body["head"]["bias"]
        return vectors(body["stem"], 0).at[LAST, : bias.shape[0]].set(bias)

    def layers(make: Any, axis: int) -> jax.Array:
        """One array for each layer of a block, stacked over networks; then over the layers."""
        inside = [body["blocks"]["layers"] for body in bodies]
        return jnp.stack(
            [jnp.stack([make(one, index) for one in inside], axis) for index in range(LAYERS_PER_BLOCK)], axis
        )

    return Stack(
        stem=padded([body["stem"]["dense_0"]["kernel"] for body in bodies]),
        stem_vectors=jnp.stack([of_stem(body) for body in bodies]),
        blocks=layers(lambda one, index: one[f"dense_{index}"]["kernel"], 1),
        block_vectors=layers(vectors, 1),
        head=padded([body["head"]["kernel"] for body in bodies]),
    )


def unpacked(stack: Stack, likes: Sequence[Params]) -> list[Params]:
    """The networks of a stack, with the sizes of `likes`; the inverse of `packed`."""

    def layer(kernel: jax.Array, vectors: jax.Array) -> tuple[Params, Params]:
        bias, scale, shift, _ = (vectors[..., row, :] for row in range(VECTORS))
        return {"kernel": kernel, "bias": bias}, {"scale": scale, "bias": shift}

    def network(number: int, like: Params) -> Params:
        stem, head = like["params"]["mlp"]["stem"]["dense_0"]["kernel"], like["params"]["mlp"]["head"]["kernel"]
        dense, norm = layer(stack.stem[number, : stem.shape[0]], stack.stem_vectors[number])
        inside: dict[str, Params] = {}
        for index in range(LAYERS_PER_BLOCK):
            both = layer(stack.blocks[:, index, number], stack.block_vectors[:, index, number])
            inside |= dict(zip((f"dense_{index}", f"norm_{index}"), both, strict=True))
        size = head.shape[1]
        body = {
            "stem": {"dense_0": dense, "norm_0": norm},
            "blocks": {"layers": inside},
            "head": {"kernel": stack.head[number, :, :size], "bias": stack.stem_vectors[number, LAST, :size]},
        }
        return {"params": {"mlp": body}}

    return [network(number, like) for number, like in enumerate(likes)]


def rows(stack: Stack, *inputs: Sequence[jax.Array]) -> jax.Array:
    """The input of each network, given as arrays (B, F1), (B, F2), ...: (N, B, F), padded with zeros."""
    joined = [jnp.concatenate(parts, axis=-1) for parts in inputs]
    return jnp.stack([jnp.pad(one, ((0, 0), (0, stack.inputs - one.shape[1]))) for one in joined])


def forward(stack: Stack, x: jax.Array, scale: float = 1.0, remat: bool = False, unroll: int = 1) -> jax.Array:
    """(N, B, F) -> (N, B, O). `scale`, `remat` and `unroll` as `ResidualMLP` has them."""

    blocks = len(stack.blocks)

    def block(x: jax.Array, layers: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        return residual_block(x, *layers, scale, blocks > 1), None

    x = norm_swish(x @ stack.stem, stack.stem_vectors[None])
    body = jax.checkpoint(block, prevent_cse=False) if remat else block
    x, _ = jax.lax.scan(body, x, (stack.blocks, stack.block_vectors), unroll=unroll)
    return x @ stack.head + stack.stem_vectors[:, LAST, None, : stack.head.shape[2]]
