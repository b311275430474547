"""Contrastive RL: a critic f(s,a,g) = energy(phi(s,a), psi(g)) trained with InfoNCE, an actor that climbs it.

"Contrastive Learning as Goal-Conditioned RL" (arXiv:2206.07568) with the entropy-regularised actor, the logsumexp
penalty and the order of updates of JaxGCRL (arXiv:2408.11052).

Axis letters: B batch, E environments, D obs, G goal, A action, F embedding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from crl_jax import parallel
from crl_jax.agents.common import Params, adam, alpha_loss
from crl_jax.chunked import Critic, chunked
from crl_jax.config import AgentConfig, ConfigError, NetworkConfig, nearest
from crl_jax.distributions import mode, sample_and_log_prob
from crl_jax.energies import ENERGIES, Energy
from crl_jax.losses import LOSSES, diagnostics, participation_ratio
from crl_jax.networks import Actor, Encoder
from crl_jax.relabel import distinct_goal_share
from crl_jax.types import Agent, Batch, Metrics
from envs_mjx.base import EnvSpec


class CRLState(struct.PyTreeNode):
    """All that learns.

    Attributes:
        phi, psi, actor: parameters. average: running mean of `actor`, which deterministic acting uses.
        log_alpha: () log of the entropy coefficient.
        critic_opt (of (phi, psi)), actor_opt, alpha_opt: Adam states; optax saturates their int32 counts.
    """

    phi: Params
    psi: Params
    actor: Params
    average: Params
    log_alpha: jax.Array
    critic_opt: optax.OptState
    actor_opt: optax.OptState
    alpha_opt: optax.OptState


def _pick(table: dict[str, Any], name: str, field: str) -> Any:
    if name not in table:
        raise ConfigError(f"{field}={name!r}: unknown {field}; nearest: {nearest(name, table)}")
    return table[name]


def _half(first: jax.Array, second: jax.Array) -> jax.Array:
    """(B, ...): the first half of the rows from `first`, the others from `second`."""
    half = first.shape[0] // 2
    return jnp.concatenate([first[:half], second[half:]])


ACTOR_GOALS: dict[str, Callable[[Batch], jax.Array]] = {
    "future": lambda batch: batch.goal,
    "commanded": lambda batch: batch.commanded,
    "mixed": lambda batch: _half(batch.goal, jnp.roll(batch.goal, 1, axis=0)),
    "half_commanded": lambda batch: _half(batch.goal, batch.commanded),
}
"""Goals of the actor's loss, (B, G)."""


def _contrast(config: AgentConfig, energy: Energy) -> Critic:
    """Loss and diagnostics from the embeddings, of the whole matrix of logits or a few rows at a time."""
    loss = _pick(LOSSES, config.loss, "loss")
    if config.logits_chunk:
        return chunked(energy.pairwise, config.loss, config.logits_chunk)

    def whole(phi: jax.Array, psi: jax.Array, penalty: float) -> tuple[jax.Array, Metrics]:
        logits = energy.pairwise(phi, psi)
        return loss(logits, penalty), diagnostics(jax.lax.stop_gradient(logits))

    return whole


class CRL:
    """The losses and the update of one configuration; immutable, every method is pure.

    With an `axis` (see `parallel`) a batch is this device's part: negatives and gradients are those of all devices.

    Raises:
        ConfigError: an energy or a loss that is in no table, or a loss that cannot be chunked.
    """

    def __init__(self, config: AgentConfig, network: NetworkConfig, spec: EnvSpec, axis: str | None = None) -> None:
        self.config, self.spec, self.axis = config, spec, axis
        self.energy = _pick(ENERGIES, config.energy, "energy")
        self.contrast = _contrast(config, self.energy)
        self.phi, self.psi = Encoder(network), Encoder(network)
        self.actor = Actor(network, spec.action_size)
        self.critic_adam = adam(config.critic_lr, config.max_grad_norm)
        self.actor_adam = adam(config.actor_lr, config.max_grad_norm)
        self.alpha_adam = optax.adam(config.alpha_lr)
        self.target_entropy = config.target_entropy * spec.action_size

    def _obs(self, obs: jax.Array) -> jax.Array:
        return (obs - self.spec.obs_shift) / self.spec.obs_scale

    def _goal(self, goal: jax.Array) -> jax.Array:
        return (goal - self.spec.goal_shift) / self.spec.goal_scale

    def _policy(self, actor: Params, obs: jax.Array, goal: jax.Array) -> tuple[jax.Array, jax.Array]:
        output: Any = self.actor.apply(actor, self._obs(obs), self._goal(goal))
        return output

    def _embed(self, encoder: Encoder, params: Params, *inputs: jax.Array) -> jax.Array:
        embedding: Any = encoder.apply(params, *inputs)
        return embedding

    def init(self, key: jax.Array) -> CRLState:
        """Fresh parameters and optimisers; alpha starts at 1."""
        phi_key, psi_key, actor_key = jax.random.split(key, 3)
        obs, goal = jnp.zeros((1, self.spec.obs_size)), jnp.zeros((1, self.spec.goal_size))
        phi = self.phi.init(phi_key, obs, jnp.zeros((1, self.spec.action_size)))
        psi = self.psi.init(psi_key, goal)
        actor = self.actor.init(actor_key, obs, goal)
        log_alpha = jnp.zeros(())
        return CRLState(
            phi=phi,
            psi=psi,
            actor=actor,
            average=jax.tree.map(jnp.copy, actor),  # its own buffers: both are donated
            log_alpha=log_alpha,
            critic_opt=self.critic_adam.init((phi, psi)),
            actor_opt=self.actor_adam.init(actor),
            alpha_opt=self.alpha_adam.init(log_alpha),
        )

    def act(self, state: CRLState, obs: jax.Array, goal: jax.Array, key: jax.Array, deterministic: bool) -> jax.Array:
        """obs (E, D), goal (E, G) in SI units -> actions (E, A): the mode, or a sample."""
        if deterministic:
            return mode(self._policy(state.average, obs, goal)[0])
        mean, log_std = self._policy(state.actor, obs, goal)
        return sample_and_log_prob(jax.random.normal(key, mean.shape), mean, log_std)[0]

    def blurred(self, batch: Batch, key: jax.Array) -> Batch:
        """The batch with `critic_goal_noise` on its goals: no episode can be told from another by less than that."""
        if self.config.critic_goal_noise == 0:
            return batch
        noise = self.config.critic_goal_noise * parallel.normal(key, batch.goal.shape, self.axis)
        return batch.replace(goal=batch.goal + noise * self.spec.goal_scale)

    def critic_loss(self, critic: tuple[Params, Params], batch: Batch) -> tuple[jax.Array, tuple[Metrics, jax.Array]]:
        """Contrastive loss of (phi, psi) on the batch, every other goal a negative.

        Returns:
            () loss, and (diagnostics, phi(s,a) (B, F)); B counts the rows of all devices.
        """
        phi = self._embed(self.phi, critic[0], self._obs(batch.obs), batch.action)
        psi = self._embed(self.psi, critic[1], self._goal(batch.goal))
        phi, psi = parallel.gathered(self.axis, phi, psi)
        loss, told = self.contrast(phi, psi, self.config.logsumexp_penalty)
        return loss, (told, phi)

    def actor_loss(
        self, actor: Params, critic: tuple[Params, Params], alpha: jax.Array, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """mean(alpha log pi(a|s,g) - f(s,a,g)), a ~ pi(.|s,g): the gradient reaches the actor THROUGH phi and a.

        Differentiated by `actor` alone, so the critic does not move.

        Returns:
            () loss, and () mean log-probability.
        """
        goal = ACTOR_GOALS[self.config.actor_goals](batch)
        mean, log_std = self._policy(actor, batch.obs, goal)
        action, log_prob = sample_and_log_prob(parallel.normal(key, mean.shape, self.axis), mean, log_std)
        phi = self._embed(self.phi, critic[0], self._obs(batch.obs), action)
        value = self.energy.diagonal(phi, self._embed(self.psi, critic[1], self._goal(goal)))
        return jnp.mean(alpha * log_prob - value), jnp.mean(log_prob)

    def alpha_loss(self, log_alpha: jax.Array, log_prob: jax.Array) -> jax.Array:
        """alpha (entropy - target entropy): alpha falls while the policy is more random than the target (SAC)."""
        return alpha_loss(log_alpha, log_prob, self.target_entropy)

    def update(self, state: CRLState, batch: Batch, key: jax.Array) -> tuple[CRLState, Metrics]:
        """One step of alpha, actor and critic from one batch (B,), each gradient taken at the OLD parameters."""
        alpha, critic = jnp.exp(state.log_alpha), (state.phi, state.psi)
        noise_key, actor_key = jax.random.split(key)
        (critic_loss, (told, phi)), critic_grad = jax.value_and_grad(self.critic_loss, has_aux=True)(
            critic, self.blurred(batch, noise_key)
        )
        (actor_loss, log_prob), actor_grad = jax.value_and_grad(self.actor_loss, has_aux=True)(
            state.actor, critic, alpha, batch, actor_key
        )
        actor_loss, log_prob, critic_grad, actor_grad = parallel.mean(
            (actor_loss, log_prob, critic_grad, actor_grad), self.axis
        )
        alpha_grad = jax.grad(self.alpha_loss)(state.log_alpha, log_prob)

        alpha_step, alpha_opt = self.alpha_adam.update(alpha_grad, state.alpha_opt)
        actor_step, actor_opt = self.actor_adam.update(actor_grad, state.actor_opt)
        critic_step, critic_opt = self.critic_adam.update(critic_grad, state.critic_opt)
        new_phi, new_psi = optax.apply_updates(critic, critic_step)
        actor, decay = optax.apply_updates(state.actor, actor_step), self.config.actor_average
        new = CRLState(
            phi=new_phi,
            psi=new_psi,
            actor=actor,
            average=optax.incremental_update(actor, state.average, 1 - decay),
            log_alpha=optax.apply_updates(state.log_alpha, alpha_step),
            critic_opt=critic_opt,
            actor_opt=actor_opt,
            alpha_opt=alpha_opt,
        )
        metrics = {
            "critic_loss": critic_loss,
            "actor_loss": actor_loss,
            "alpha": alpha,
            "entropy": -log_prob,
            "critic_grad_norm": optax.global_norm(critic_grad),
            "actor_grad_norm": optax.global_norm(actor_grad),
            "participation_ratio": participation_ratio(phi),
            "distinct_goals": distinct_goal_share(*parallel.gathered(self.axis, batch.goal)),
        }
        return new, metrics | told


def make(config: AgentConfig, network: NetworkConfig, spec: EnvSpec, axis: str | None = None) -> Agent:
    """Contrastive RL as the three functions the loop needs; raises ConfigError for an unknown energy or loss."""
    crl = CRL(config, network, spec, axis)
    return Agent(init=crl.init, act=crl.act, update=crl.update)
