"""What the agents share: optimiser, normalised inputs, the policy network, the twin Q network.

Axis letters: B batch, D obs, G goal, A action.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from crl_jax.config import AgentConfig, NetworkConfig
from crl_jax.continual.method import Inputs, Memory, Method, Stepped
from crl_jax.experience.rewards import paid
from crl_jax.networks.residual import Actor, Encoder
from crl_jax.types import Batch, Metrics
from envs_mjx.base import EnvSpec

Params = Any


def adam(learning_rate: float, config: AgentConfig) -> optax.GradientTransformation:
    """Adam with the config's step size decay. Gradients are first clipped by their global norm, if configured."""
    step_size: optax.ScalarOrSchedule = learning_rate
    if config.lr_half_life:
        step_size = optax.exponential_decay(learning_rate, config.lr_half_life, 0.5)
    if config.max_grad_norm > 0:
        return optax.chain(optax.clip_by_global_norm(config.max_grad_norm), optax.adam(step_size))
    return optax.adam(step_size)


def alpha_loss(log_alpha: jax.Array, log_prob: jax.Array, target_entropy: float) -> jax.Array:
    """alpha (entropy - target entropy) (SAC): alpha decreases while the entropy is above the target.

    Args:
        log_alpha: (). log_prob: () mean log-probability of the policy's actions. target_entropy: nats, over all A.
    """
    return jnp.exp(log_alpha) * jax.lax.stop_gradient(-log_prob - target_entropy)


def normalised_obs(spec: EnvSpec, obs: jax.Array) -> jax.Array:
    """obs (B, D) in SI units -> obs (B, D) shifted and scaled for the networks."""
    return (obs - spec.obs_shift) / spec.obs_scale


def normalised_goal(spec: EnvSpec, goal: jax.Array) -> jax.Array:
    """goal (B, G) in SI units -> goal (B, G) shifted and scaled for the networks."""
    return (goal - spec.goal_shift) / spec.goal_scale


def policy(actor: Actor, params: Params, spec: EnvSpec, obs: jax.Array, goal: jax.Array) -> tuple[jax.Array, jax.Array]:
    """obs (B, D), goal (B, G) in SI units -> mean and log_std (B, A) of the Gaussian before the tanh."""
    output: Any = actor.apply(params, normalised_obs(spec, obs), normalised_goal(spec, goal))
    return output


class PolicyActor:
    """The actor of an agent: the plain network, or the actor of a continual method with the method's memory.

    For the plain network the memory is None, `added_loss` is 0, and `after` returns the optimiser's step unchanged.
    """

    def __init__(self, network: NetworkConfig, spec: EnvSpec, method: Method | None = None) -> None:
        self.spec, self.method = spec, method
        self.network = Actor(network, spec.action_size, spec.picture)

    def init(self, key: jax.Array) -> tuple[Params, Memory]:
        """Fresh parameters and memory."""
        if self.method is not None:
            return self.method.init(key)
        obs, goal = jnp.zeros((1, self.spec.obs_size)), jnp.zeros((1, self.spec.goal_size))
        return self.network.init(key, obs, goal), None

    def __call__(
        self, params: Params, obs: jax.Array, goal: jax.Array, memory: Memory = None
    ) -> tuple[jax.Array, jax.Array]:
        """obs (B, D), goal (B, G) in SI units -> mean and log_std (B, A) of the Gaussian before the tanh."""
        if self.method is None:
            return policy(self.network, params, self.spec, obs, goal)
        return self.method.apply(params, memory, self._inputs(obs, goal))

    def added_loss(
        self, params: Params, memory: Memory, obs: jax.Array, goal: jax.Array, key: jax.Array
    ) -> jax.Array | float:
        """The continual method's term of the actor's loss."""
        if self.method is None or self.method.added_loss is None:
            return 0.0
        return self.method.added_loss(params, memory, self._inputs(obs, goal), jax.random.fold_in(key, 1))

    def after(
        self, step: Stepped, memory: Memory, obs: jax.Array, goal: jax.Array, key: jax.Array
    ) -> tuple[Params, optax.OptState, Memory]:
        """Parameters, optimiser state and memory, after the continual method has processed an optimiser step."""
        if self.method is None or self.method.after is None:
            return step.after, step.opt_state, memory
        return self.method.after(step, memory, self._inputs(obs, goal), jax.random.fold_in(key, 2))

    def _inputs(self, obs: jax.Array, goal: jax.Array) -> Inputs:
        return Inputs(normalised_obs(self.spec, obs), normalised_goal(self.spec, goal))


class TwinQ:
    """Q1(s,a,g) and Q2(s,a,g) (TD3, arXiv:1802.09477). Each has the architecture of phi with one output."""

    def __init__(self, network: NetworkConfig, spec: EnvSpec) -> None:
        self.spec, self.body = spec, Encoder(dataclasses.replace(network, embedding=1))

    def init(self, key: jax.Array) -> tuple[Params, Params]:
        """Fresh parameters of Q1 and Q2."""
        spec = self.spec
        inputs = (jnp.zeros((1, size)) for size in (spec.obs_size, spec.goal_size, spec.action_size))
        obs, goal, action = inputs
        first, second = (self.body.init(one, obs, goal, action) for one in jax.random.split(key))
        return first, second

    def __call__(self, params: tuple[Params, ...], obs: jax.Array, goal: jax.Array, action: jax.Array) -> jax.Array:
        """obs (B, D), goal (B, G) in SI units, action (B, A) -> values (2, B); (1, B) if `params` holds one network."""
        inputs = (normalised_obs(self.spec, obs), normalised_goal(self.spec, goal), action)
        values: Any = [self.body.apply(one, *inputs) for one in params]
        return jnp.stack(values)[..., 0]


def regression(values: jax.Array, target: jax.Array, batch: Batch) -> tuple[jax.Array, Metrics]:
    """Squared error of both Q, values (2, B), against the target (B,): summed over Q1 and Q2, mean over the batch.

    Returns:
        () loss, and the means of Q, target and reward.
    """
    told = {"q": jnp.mean(values), "q_target": jnp.mean(target), "reward": jnp.mean(paid(batch))}
    return jnp.mean(jnp.sum(jnp.square(values - target), axis=0)), told
