"""TD3: twin Q(s,a,g) regress on their targets' minimum at a smoothed action; the actor is updated less often.

"Addressing Function Approximation Error in Actor-Critic Methods" (arXiv:1802.09477) with goals as inputs. Episodes are
truncated, never terminated, so every target bootstraps. `rewards.hindsight` does hindsight relabelling (HER).

Axis letters: B batch, E environments, D obs, G goal, A action.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
from flax import struct

from crl_jax.agents.common import Params, TwinQ, adam, policy, regression
from crl_jax.config import Config
from crl_jax.experience import rewards
from crl_jax.networks.distributions import mode
from crl_jax.networks.residual import Actor
from crl_jax.scale import parallel
from crl_jax.types import Agent, Batch, Metrics
from envs_mjx.base import EnvSpec


class Follower(struct.PyTreeNode):
    """The part of the state that changes only every `policy_delay` critic updates: actor and targets.

    Attributes:
        actor: parameters. target_actor, target_critic: running means of the parameters of actor and critic.
        actor_opt: Adam's state.
        told: loss and gradient norm of the actor's last update.
    """

    actor: Params
    target_actor: Params
    target_critic: tuple[Params, Params]
    actor_opt: optax.OptState
    told: Metrics


class TD3State(struct.PyTreeNode):
    """Parameters and optimiser states of TD3.

    Attributes:
        critic: parameters of Q1 and Q2. critic_opt: Adam's state. follower: actor and targets.
        wait: () int32 critic updates until the follower's next one.
    """

    critic: tuple[Params, Params]
    critic_opt: optax.OptState
    follower: Follower
    wait: jax.Array


class TD3:
    """The losses and the update of one configuration. Immutable; every method is pure.

    With an `axis` (see `parallel`), a batch holds this device's rows and gradients are averaged over all devices.
    """

    def __init__(self, config: Config, spec: EnvSpec, axis: str | None = None) -> None:
        self.config, self.agent = config.baseline, config.agent
        self.spec, self.axis = spec, axis
        self.q = TwinQ(config.network, spec)
        self.actor = Actor(config.network, spec.action_size)
        self.critic_adam = adam(config.agent.critic_lr, config.agent)
        self.actor_adam = adam(config.agent.actor_lr, config.agent)

    def _policy(self, actor: Params, obs: jax.Array, goal: jax.Array) -> jax.Array:
        """The action (B, A) in [-1, 1]: the mode of the tanh-Gaussian. Its standard deviation is not used."""
        return mode(policy(self.actor, actor, self.spec, obs, goal)[0])

    def init(self, key: jax.Array) -> TD3State:
        """Fresh parameters and optimiser states. Targets equal actor and critic. The first update moves the actor."""
        critic_key, actor_key = jax.random.split(key)
        critic = self.q.init(critic_key)
        actor = self.actor.init(actor_key, jnp.zeros((1, self.spec.obs_size)), jnp.zeros((1, self.spec.goal_size)))
        follower = Follower(
            actor=actor,
            target_actor=jax.tree.map(jnp.copy, actor),  # a copy: donated arrays must not share a buffer
            target_critic=jax.tree.map(jnp.copy, critic),
            actor_opt=self.actor_adam.init(actor),
            told={"actor_loss": jnp.zeros(()), "actor_grad_norm": jnp.zeros(())},
        )
        return TD3State(critic, self.critic_adam.init(critic), follower, jnp.zeros((), jnp.int32))

    def act(self, state: TD3State, obs: jax.Array, goal: jax.Array, key: jax.Array, deterministic: bool) -> jax.Array:
        """obs (E, D), goal (E, G) in SI units -> actions (E, A), with `exploration_noise` unless `deterministic`."""
        action = self._policy(state.follower.actor, obs, goal)
        if deterministic:
            return action
        noise = self.config.exploration_noise * jax.random.normal(key, action.shape)
        return jnp.clip(action + noise, -1, 1)

    def targets(self, follower: Follower, batch: Batch, key: jax.Array) -> jax.Array:
        """Targets (B,): r + gamma min_i Q'_i(s', clip(pi'(s',g) + clip(noise)), g), lines 12 and 13 of algorithm 1."""
        action = self._policy(follower.target_actor, batch.next_obs, batch.goal)
        noise = self.config.target_noise * parallel.normal(key, action.shape, self.axis)
        action = jnp.clip(action + jnp.clip(noise, -self.config.noise_clip, self.config.noise_clip), -1, 1)
        following = self.q(follower.target_critic, batch.next_obs, batch.goal, action)
        return rewards.paid(batch) + self.agent.discount * jnp.min(following, axis=0)

    def critic_loss(self, critic: tuple[Params, Params], batch: Batch, target: jax.Array) -> tuple[jax.Array, Metrics]:
        """() loss mean((Q1 - y)^2 + (Q2 - y)^2) with the targets y (B,); and the means of Q, y and the reward."""
        return regression(self.q(critic, batch.obs, batch.goal, batch.action), target, batch)

    def actor_loss(self, actor: Params, critic: tuple[Params, Params], batch: Batch) -> jax.Array:
        """-mean(Q1(s, pi(s,g), g)): the deterministic policy gradient."""
        action = self._policy(actor, batch.obs, batch.goal)
        return -jnp.mean(self.q(critic[:1], batch.obs, batch.goal, action))

    def follow(self, follower: Follower, critic: tuple[Params, Params], batch: Batch) -> Follower:
        """Update the actor to increase Q1 of `critic`, then move the targets towards actor and critic."""
        loss, grad = jax.value_and_grad(self.actor_loss)(follower.actor, critic, batch)
        loss, grad = parallel.mean((loss, grad), self.axis)
        step, actor_opt = self.actor_adam.update(grad, follower.actor_opt)
        actor = optax.apply_updates(follower.actor, step)
        return Follower(
            actor=actor,
            target_actor=optax.incremental_update(actor, follower.target_actor, self.agent.target_tau),
            target_critic=optax.incremental_update(critic, follower.target_critic, self.agent.target_tau),
            actor_opt=actor_opt,
            told={"actor_loss": loss, "actor_grad_norm": optax.global_norm(grad)},
        )

    def update(self, state: TD3State, batch: Batch, key: jax.Array) -> tuple[TD3State, Metrics]:
        """Update the critic with one batch (B,); every `policy_delay` updates, also the actor and the targets."""
        target = self.targets(state.follower, batch, key)
        (loss, told), grad = jax.value_and_grad(self.critic_loss, has_aux=True)(state.critic, batch, target)
        loss, told, grad = parallel.mean((loss, told, grad), self.axis)
        step, critic_opt = self.critic_adam.update(grad, state.critic_opt)
        critic = optax.apply_updates(state.critic, step)
        follower = jax.lax.cond(
            state.wait == 0, lambda old: self.follow(old, critic, batch), lambda old: old, state.follower
        )
        wait = (state.wait - 1) % self.config.policy_delay
        metrics = {"critic_loss": loss, "critic_grad_norm": optax.global_norm(grad)}
        return TD3State(critic, critic_opt, follower, wait), metrics | told | follower.told


def make(config: Config, spec: EnvSpec, axis: str | None = None) -> Agent:
    """TD3 as an `Agent`, with reward and hindsight."""
    td3 = TD3(config, spec, axis)
    return Agent(td3.init, td3.act, td3.update, *rewards.functions(config.baseline))
