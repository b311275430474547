"""The convolutions that read pictures, and the random crop that makes them robust.

Axis letters: B batch, H height, W width, P = H * W * 3 numbers of a picture, F features.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

LAYERS = ((0.5, 8, 4), (1, 4, 2), (1, 3, 1))
"""(share of the channels, side of the kernel, stride) of each convolution (DQN, doi:10.1038/nature14236)."""


class Convolutions(nn.Module):
    """Three convolutions with ReLU: (B, H, W, C) -> (B, F), the last maps flattened. Borders are padded ("SAME")."""

    channels: int = 64
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = x.astype(self.dtype)
        for index, (share, side, stride) in enumerate(LAYERS):
            channels = int(share * self.channels)
            shape = (side, side, x.shape[-1], channels)
            kernel = self.param(f"kernel_{index}", nn.initializers.lecun_normal(), shape)
            bias = self.param(f"bias_{index}", nn.initializers.zeros, (channels,))
            x = nn.relu(convolve(x, kernel.astype(self.dtype), stride) + bias.astype(self.dtype))
        return x.reshape(x.shape[0], -1).astype(jnp.float32)


def convolve(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """(B, H, W, C) with a kernel (side, side, C, N) -> (B, ceil(H / stride), ceil(W / stride), N), padded "SAME".

    The same numbers as `jax.lax.conv`, by one matrix product: pictures are cut into blocks of stride x stride pixels,
    and side / stride neighbours in each direction put beside each other. On a CPU, XLA's own convolution inside a scan
    (as all SGD updates are) is 40 times slower than outside of it.

    Raises:
        ValueError: the stride does not divide the side.
    """
    side = kernel.shape[0]
    if side % stride:
        raise ValueError(f"stride={stride}: must divide the side {side} of the kernel")
    near = side // stride
    rows, columns = (-(-size // stride) for size in x.shape[1:3])
    missing = [(count - 1) * stride + side - size for count, size in zip((rows, columns), x.shape[1:3], strict=True)]
    x = jnp.pad(x, ((0, 0), *((max(m, 0) // 2, max(m, 0) - max(m, 0) // 2) for m in missing), (0, 0)))
    batch, height, width, channels = x.shape
    blocks = x.reshape(batch, height // stride, stride, width // stride, stride, channels).swapaxes(2, 3)
    blocks = blocks.reshape(batch, height // stride, width // stride, -1)
    shifts = [blocks[:, i : i + rows, j : j + columns] for i in range(near) for j in range(near)]
    weights = kernel.reshape(near, stride, near, stride, channels, -1).swapaxes(1, 2)
    return jnp.concatenate(shifts, axis=-1) @ weights.reshape(side * side * channels, -1)


def unflattened(pictures: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """(B, P) -> (B, H, W, 3)."""
    return pictures.reshape(pictures.shape[0], *shape)


def random_crop(key: jax.Array, pictures: jax.Array, shape: tuple[int, ...], pad: int) -> jax.Array:
    """(B, P) pictures, each moved by an offset of its own, uniform in -pad ... pad pixels along both axes (DrQ).

    The picture is padded by its border pixels and cut out at its old size (arXiv:2004.13649).
    """
    height, width, channels = shape
    border = ((0, 0), (pad, pad), (pad, pad), (0, 0))
    padded = jnp.pad(unflattened(pictures, shape), border, mode="edge")
    corners = jax.random.randint(key, (len(pictures), 2), 0, 2 * pad + 1)

    def cut(picture: jax.Array, corner: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(picture, (corner[0], corner[1], 0), (height, width, channels))

    return jax.vmap(cut)(padded, corners).reshape(pictures.shape)
