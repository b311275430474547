"""Soft actor-critic: twin Q(s,a,g) regress on the next state's soft value; the actor maximises their minimum.

"Soft Actor-Critic Algorithms and Applications" (arXiv:1812.05905) with goals as inputs. Episodes are truncated, never
terminated, so every target bootstraps. `rewards.hindsight` does hindsight relabelling (HER).

Axis letters: B batch, E environments, D obs, G goal, A action.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
from flax import struct

from crl_jax.agents.common import Params, PolicyActor, TwinQ, adam, alpha_loss, regression
from crl_jax.config import Config
from crl_jax.continual.method import Memory, Method, Stepped
from crl_jax.experience import rewards
from crl_jax.networks.distributions import mode, sample_and_log_prob
from crl_jax.scale import parallel
from crl_jax.types import Agent, Batch, Metrics
from envs_mjx.base import EnvSpec


class SACState(struct.PyTreeNode):
    """Parameters and optimiser states of SAC.

    Attributes:
        critic: parameters of Q1 and Q2. target: running mean of `critic`. actor: parameters.
        average: running mean of `actor`; deterministic acting uses it.
        log_alpha: () log of the entropy coefficient.
        critic_opt, actor_opt, alpha_opt: Adam states; their int32 counts saturate instead of overflowing.
        memory: memory of the continual method; None without one.
    """

    critic: tuple[Params, Params]
    target: tuple[Params, Params]
    actor: Params
    average: Params
    log_alpha: jax.Array
    critic_opt: optax.OptState
    actor_opt: optax.OptState
    alpha_opt: optax.OptState
    memory: Memory = None


class SAC:
    """The losses and the update of one configuration. Immutable; every method is pure.

    With an `axis` (see `parallel`), a batch holds this device's rows and gradients are averaged over all devices.
    """

    def __init__(self, config: Config, spec: EnvSpec, axis: str | None = None, method: Method | None = None) -> None:
        self.config = config.agent
        self.spec, self.axis = spec, axis
        self.q = TwinQ(config.network, spec)
        self.actor = PolicyActor(config.network, spec, method)
        self.critic_adam = adam(config.agent.critic_lr, config.agent)
        self.actor_adam = adam(config.agent.actor_lr, config.agent)
        self.alpha_adam = optax.adam(config.agent.alpha_lr)
        self.target_entropy = config.agent.target_entropy * spec.action_size

    def _draw(
        self, actor: Params, obs: jax.Array, goal: jax.Array, key: jax.Array, memory: Memory = None
    ) -> tuple[jax.Array, jax.Array]:
        """Sampled actions (B, A) and log-probabilities (B,). The noise does not depend on the number of devices."""
        mean, log_std = self.actor(actor, obs, goal, memory)
        return sample_and_log_prob(parallel.normal(key, mean.shape, self.axis), mean, log_std)

    def init(self, key: jax.Array) -> SACState:
        """Fresh parameters and optimiser states. The targets equal the critics; alpha starts at 1."""
        critic_key, actor_key = jax.random.split(key)
        critic = self.q.init(critic_key)
        actor, memory = self.actor.init(actor_key)
        log_alpha = jnp.zeros(())
        return SACState(
            critic=critic,
            target=jax.tree.map(jnp.copy, critic),  # a copy: donated arrays must not share a buffer
            actor=actor,
            average=jax.tree.map(jnp.copy, actor),
            log_alpha=log_alpha,
            critic_opt=self.critic_adam.init(critic),
            actor_opt=self.actor_adam.init(actor),
            alpha_opt=self.alpha_adam.init(log_alpha),
            memory=memory,
        )

    def act(self, state: SACState, obs: jax.Array, goal: jax.Array, key: jax.Array, deterministic: bool) -> jax.Array:
        """obs (E, D), goal (E, G) in SI units -> actions (E, A): the mode if `deterministic`, else a sample."""
        if deterministic:
            return mode(self.actor(state.average, obs, goal, state.memory)[0])
        mean, log_std = self.actor(state.actor, obs, goal, state.memory)
        return sample_and_log_prob(jax.random.normal(key, mean.shape), mean, log_std)[0]

    def targets(self, state: SACState, batch: Batch, key: jax.Array) -> jax.Array:
        """Targets (B,): r + gamma (min_i Q'_i(s', a', g) - alpha log pi(a'|s',g)), a' ~ pi(.|s',g), eq. 3 and 5."""
        action, log_prob = self._draw(state.actor, batch.next_obs, batch.goal, key, state.memory)
        following = jnp.min(self.q(state.target, batch.next_obs, batch.goal, action), axis=0)
        return rewards.paid(batch) + self.config.discount * (following - jnp.exp(state.log_alpha) * log_prob)

    def critic_loss(self, critic: tuple[Params, Params], batch: Batch, target: jax.Array) -> tuple[jax.Array, Metrics]:
        """() loss mean((Q1 - y)^2 + (Q2 - y)^2) with the targets y (B,); and the means of Q, y and the reward."""
        return regression(self.q(critic, batch.obs, batch.goal, batch.action), target, batch)

    def actor_loss(
        self,
        actor: Params,
        critic: tuple[Params, Params],
        alpha: jax.Array,
        batch: Batch,
        key: jax.Array,
        memory: Memory = None,
    ) -> tuple[jax.Array, jax.Array]:
        """() loss mean(alpha log pi(a|s,g) - min_i Q_i(s,a,g)), a ~ pi(.|s,g) (eq. 9); and () mean log-probability.

        A continual method adds its own term to the loss.
        """
        action, log_prob = self._draw(actor, batch.obs, batch.goal, key, memory)
        value = jnp.min(self.q(critic, batch.obs, batch.goal, action), axis=0)
        added = self.actor.added_loss(actor, memory, batch.obs, batch.goal, key)
        return jnp.mean(alpha * log_prob - value) + added, jnp.mean(log_prob)

    def update(self, state: SACState, batch: Batch, key: jax.Array) -> tuple[SACState, Metrics]:
        """Update critic, actor, alpha and targets with one batch (B,). All gradients are at the OLD parameters."""
        target_key, actor_key = jax.random.split(key)
        target = self.targets(state, batch, target_key)
        (critic_loss, told), critic_grad = jax.value_and_grad(self.critic_loss, has_aux=True)(
            state.critic, batch, target
        )
        alpha = jnp.exp(state.log_alpha)
        (actor_loss, log_prob), actor_grad = jax.value_and_grad(self.actor_loss, has_aux=True)(
            state.actor, state.critic, alpha, batch, actor_key, state.memory
        )
        critic_loss, told, critic_grad, actor_loss, log_prob, actor_grad = parallel.mean(
            (critic_loss, told, critic_grad, actor_loss, log_prob, actor_grad), self.axis
        )
        alpha_grad = jax.grad(alpha_loss)(state.log_alpha, log_prob, self.target_entropy)

        critic_step, critic_opt = self.critic_adam.update(critic_grad, state.critic_opt)
        actor_step, actor_opt = self.actor_adam.update(actor_grad, state.actor_opt)
        alpha_step, alpha_opt = self.alpha_adam.update(alpha_grad, state.alpha_opt)
        critic, actor = optax.apply_updates(state.critic, critic_step), optax.apply_updates(state.actor, actor_step)
        taken = Stepped(state.actor, actor, actor_opt)
        actor, actor_opt, memory = self.actor.after(taken, state.memory, batch.obs, batch.goal, actor_key)
        new = SACState(
            critic=critic,
            target=optax.incremental_update(critic, state.target, self.config.target_tau),
            actor=actor,
            average=optax.incremental_update(actor, state.average, 1 - self.config.actor_average),
            log_alpha=optax.apply_updates(state.log_alpha, alpha_step),
            critic_opt=critic_opt,
            actor_opt=actor_opt,
            alpha_opt=alpha_opt,
            memory=memory,
        )
        metrics = {
            "critic_loss": critic_loss,
            "actor_loss": actor_loss,
            "alpha": alpha,
            "entropy": -log_prob,
            "critic_grad_norm": optax.global_norm(critic_grad),
            "actor_grad_norm": optax.global_norm(actor_grad),
        }
        return new, metrics | told


def make(config: Config, spec: EnvSpec, axis: str | None = None, method: Method | None = None) -> Agent:
    """SAC as an `Agent`, with reward and hindsight. `method`: a continual method whose actor SAC trains."""
    sac = SAC(config, spec, axis, method)
    return Agent(sac.init, sac.act, sac.update, *rewards.functions(config.baseline))
