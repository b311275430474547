"""Residual MLPs for phi(s,a), psi(g) and the actor.  Axis letters: B batch, F features, H width, L blocks.

Depth is counted as in "1000 Layer Networks for Self-Supervised RL" (arXiv:2503.14858, fig. 2): each block counts 4, the
stem and the linear head count 0. The caller normalises the inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct

from crl_jax.config import ConfigError, NetworkConfig
from crl_jax.networks.pictures import Convolutions, unflattened


def crelu(x: jax.Array) -> jax.Array:
    """[relu(x), relu(-x)]: (B, H) -> (B, 2 H); a unit passes its gradient whatever its sign (arXiv:1603.05201)."""
    return jnp.concatenate([nn.relu(x), nn.relu(-x)], axis=-1)


ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "swish": nn.swish,
    "relu": nn.relu,
    "gelu": nn.gelu,
    "tanh": nn.tanh,
    "crelu": crelu,
}
OUTPUTS_PER_UNIT = {"crelu": 2}
"""Outputs per unit where there are several. A layer has that many times fewer units, and the same output width."""
LAYERS_PER_BLOCK = 4
LAYER_NORM_EPSILON = 1e-6
COLD = 1e-12
"""Largest weight of a cold head."""
LOG_STD_MIN, LOG_STD_MAX = -5.0, 2.0


def _dense(features: int, name: str, dtype: str = "float32", cold: bool = False) -> nn.Dense:
    """Dense layer with the initialiser of JaxGCRL: U[-1/sqrt(fan_in), 1/sqrt(fan_in)] weights, zero bias.

    Parameters are float32; the product is computed in `dtype`. `cold`: U[-1e-12, 1e-12] weights (Stable CRL).
    """
    init: Any = _cold_init if cold else nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
    return nn.Dense(features, kernel_init=init, dtype=jnp.dtype(dtype), name=name)


def _cold_init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    return jax.random.uniform(key, shape, dtype, -COLD, COLD)


@jax.custom_vjp
def layer_norm(x: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
    """(B, H) normalised over H, times scale (H,), plus bias (H,); epsilon 1e-6, as flax.linen.LayerNorm.

    The gradient is written by hand, with its sums as products with a vector of ones. On a CPU, XLA's reductions are
    three times slower, and automatic differentiation of LayerNorm would take a quarter of an SGD update.
    """
    return _layer_norm_forward(x, scale, bias)[0]


def _layer_norm_forward(x: jax.Array, scale: jax.Array, bias: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    ones = jnp.full(x.shape[1], 1 / x.shape[1], x.dtype)
    mean = _dot(x, ones)[:, None]
    centred = x - mean
    inverse_std = jax.lax.rsqrt(_dot(centred * centred, ones)[:, None] + LAYER_NORM_EPSILON)
    normal = centred * inverse_std
    return normal * scale + bias, (normal, inverse_std, scale)


def _layer_norm_backward(saved: tuple[jax.Array, ...], grad: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    normal, inverse_std, scale = saved
    # four products read both arrays: without the barrier XLA recomputes `grad` inside each product
    grad, normal = jax.lax.optimization_barrier((grad, normal))
    product = grad * normal
    weights, ones = scale / scale.shape[0], jnp.ones(grad.shape[0], grad.dtype)
    grad_x = grad * scale - _dot(grad, weights)[:, None] - normal * _dot(product, weights)[:, None]
    return grad_x * inverse_std, _dot(ones, product), _dot(ones, grad)


layer_norm.defvjp(_layer_norm_forward, _layer_norm_backward)


def _dot(x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.matmul(x, y, precision=jax.lax.Precision.HIGHEST)


class LayerNorm(nn.Module):
    """`layer_norm` with its learned scale and bias: (B, H) -> (B, H) of the same dtype, computed in float32."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:])
        return layer_norm(x.astype(jnp.float32), scale, bias).astype(x.dtype)


class Laterals(struct.PyTreeNode):
    """Terms from other networks, added before a network's activations (progressive networks); zeros change nothing.

    Attributes:
        hidden: (S, B, H) for each hidden layer but the first, S = depth - 1; or for each block's first layer, S = L.
        head: (B, output) for the output.
    """

    hidden: jax.Array
    head: jax.Array


class Layers(nn.Module):
    """`count` times Dense -> LayerNorm (optional) -> activation: (B, F) -> (B, H) of `dtype`.

    `bare_last`: the last layer has no LayerNorm. Flax's `intermediates` hold the activations as active_0, active_1, ...
    """

    width: int
    count: int
    layer_norm: bool
    activation: str
    dtype: str = "float32"
    bare_last: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, laterals: jax.Array | None = None) -> jax.Array:
        """`laterals` (count or fewer, B, units) are added to the Dense outputs of the first layers."""
        units = self.width // OUTPUTS_PER_UNIT.get(self.activation, 1)
        for index in range(self.count):
            x = _dense(units, f"dense_{index}", self.dtype)(x)
            if laterals is not None and index < laterals.shape[0]:
                x = x + laterals[index].astype(x.dtype)
            if self.layer_norm and not (self.bare_last and index == self.count - 1):
                x = LayerNorm(name=f"norm_{index}")(x)
            x = ACTIVATIONS[self.activation](x)
            self.sow("intermediates", f"active_{index}", x)
        return x


class Block(nn.Module):
    """x + scale * (4 layers)(x): (B, H) float32 -> ((B, H) float32, None), the form that nn.scan needs.

    The sum stays in float32 whatever `dtype` is: in bfloat16 a term below 1/256 of the sum would be lost.
    """

    width: int
    layer_norm: bool
    activation: str
    dtype: str = "float32"
    scale: float = 1.0
    bare_last: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, lateral: jax.Array | None) -> tuple[jax.Array, None]:
        self.sow("intermediates", "stream", x)
        settings = (self.width, LAYERS_PER_BLOCK, self.layer_norm, self.activation, self.dtype, self.bare_last)
        layers = Layers(*settings, name="layers")
        inside = layers(x, None if lateral is None else lateral[None])
        return x + self.scale * inside.astype(jnp.float32), None


class ResidualMLP(nn.Module):
    """MLP with a linear head: (B, F) -> (B, output).

    Depths 1, 2, 3 mean that many plain hidden layers. A multiple of 4 means a stem layer and L = depth / 4 residual
    blocks. The blocks are scanned, so that compile time does not grow with depth; parameters are stacked as (L, ...).

    Attributes:
        dtype: of the products and activations, float32 or bfloat16. Parameters, LayerNorm's statistics, the sum over
            blocks and the head are always float32.
        remat: keep only the input of each block for the gradient, and recompute the block in the backward pass.
        residual_scale: "one", or "depth": each block's output times 1 / sqrt(L).
        unroll: blocks per step of the scan; 1 compiles a single block.
        skip_last_norm: no LayerNorm after the last hidden layer; the last block is then compiled separately.
        cold: the head's weights start at U[-1e-12, 1e-12].

    Raises:
        ConfigError: any other depth, or an unknown activation.
    """

    output: int
    width: int
    depth: int
    layer_norm: bool = True
    activation: str = "swish"
    dtype: str = "float32"
    remat: bool = False
    residual_scale: str = "one"
    unroll: int = 1
    skip_last_norm: bool = False
    cold: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, laterals: Laterals | None = None) -> jax.Array:
        if self.activation not in ACTIVATIONS:
            raise ConfigError(f"activation={self.activation!r}: must be one of {', '.join(ACTIVATIONS)}")
        NetworkConfig(critic_depth=self.depth).validate()
        if self.depth < LAYERS_PER_BLOCK:
            return self._head(self._plain(x, laterals), laterals)
        blocks = self.depth // LAYERS_PER_BLOCK
        hidden = None if laterals is None else laterals.hidden
        scale = blocks**-0.5 if self.residual_scale == "depth" else 1.0
        x = Layers(self.width, 1, *self._layers(), name="stem")(x).astype(jnp.float32)
        block = nn.remat(Block, prevent_cse=False) if self.remat else Block
        alike = blocks - 1 if self.skip_last_norm else blocks
        if alike:
            scanned = nn.scan(
                block,
                variable_axes={"params": 0, "intermediates": 0},
                split_rngs={"params": True},
                length=alike,
                unroll=min(self.unroll, alike),
            )
            x, _ = scanned(self.width, *self._layers(), scale, name="blocks")(
                x, None if hidden is None else hidden[:alike]
            )
        if self.skip_last_norm:
            x, _ = block(self.width, *self._layers(), scale, True, name="last")(
                x, None if hidden is None else hidden[-1]
            )
        self.sow("intermediates", "stream", x)
        return self._head(x, laterals)

    def _plain(self, x: jax.Array, laterals: Laterals | None) -> jax.Array:
        layers = Layers(self.width, self.depth, *self._layers(), self.skip_last_norm, name="hidden")
        if laterals is None:
            return layers(x)
        return layers(x, jnp.pad(laterals.hidden, ((1, 0), (0, 0), (0, 0))))

    def _layers(self) -> tuple[bool, str, str]:
        return self.layer_norm, self.activation, self.dtype

    def _head(self, x: jax.Array, laterals: Laterals | None) -> jax.Array:
        output: jax.Array = _dense(self.output, "head", cold=self.cold)(x.astype(jnp.float32))
        return output if laterals is None else output + laterals.head


def _mlp(config: NetworkConfig, output: int, depth: int, cold: bool = False) -> ResidualMLP:
    """The body that `config` describes."""
    return ResidualMLP(
        output,
        config.width,
        depth,
        config.layer_norm,
        config.activation,
        config.dtype,
        config.remat,
        config.residual_scale,
        config.unroll,
        config.skip_last_norm,
        cold,
        name="mlp",
    )


class Encoder(nn.Module):
    """phi or psi: inputs (B, F1), (B, F2), ... concatenated -> embedding (B, config.embedding).

    With a `picture` (H, W, 3), the first input is a flattened picture, which convolutions read before.
    """

    config: NetworkConfig
    picture: tuple[int, ...] = ()

    @nn.compact
    def __call__(self, *inputs: jax.Array) -> jax.Array:
        if self.picture:
            first = Convolutions(self.config.channels, self.config.dtype, name="eyes")(
                unflattened(inputs[0], self.picture)
            )
            inputs = (first, *inputs[1:])
        x = jnp.concatenate(inputs, axis=-1)
        return _mlp(self.config, self.config.embedding, self.config.critic_depth, self.config.cold_init)(x)


class Actor(nn.Module):
    """pi(a | s, g): obs (B, D), goal (B, G) -> mean (B, A), log_std (B, A) of the Gaussian before the tanh.

    log_std lies in [-5, 2] through a tanh, as in JaxGCRL: its gradient never vanishes entirely, unlike a clip's. With a
    `picture` (H, W, 3), obs and goal are flattened pictures; convolutions read both as six channels.
    """

    config: NetworkConfig
    action_size: int
    picture: tuple[int, ...] = ()

    @nn.compact
    def __call__(
        self, obs: jax.Array, goal: jax.Array, laterals: Laterals | None = None
    ) -> tuple[jax.Array, jax.Array]:
        if self.picture:
            both = jnp.concatenate([unflattened(one, self.picture) for one in (obs, goal)], axis=-1)
            x = Convolutions(self.config.channels, self.config.dtype, name="eyes")(both)
        else:
            x = jnp.concatenate([obs, goal], axis=-1)
        x = _mlp(self.config, 2 * self.action_size, self.config.actor_depth)(x, laterals)
        return gaussian(x)


def gaussian(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The actor's output (B, 2 A) -> mean (B, A), log_std (B, A) in [-5, 2]."""
    mean, raw = jnp.split(x, 2, axis=-1)
    return mean, LOG_STD_MIN + 0.5 * (LOG_STD_MAX - LOG_STD_MIN) * (jnp.tanh(raw) + 1)
