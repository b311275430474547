"""Contrastive RL: InfoNCE trains the critic f(s,a,g) = energy(phi(s,a), psi(g)), and the actor maximises it.

"Contrastive Learning as Goal-Conditioned RL" (arXiv:2206.07568) with the entropy-regularised actor, the logsumexp
penalty and the order of updates of JaxGCRL (arXiv:2408.11052).

Axis letters: N devices, B batch, E environments, D obs, G goal, A action, K marks of a mask.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from crl_jax.agents.common import Params, PolicyActor, adam, alpha_loss, normalised_goal, normalised_obs
from crl_jax.config import AgentConfig, NetworkConfig
from crl_jax.continual.method import Memory, Method, Stepped
from crl_jax.contrastive import bootstrap
from crl_jax.contrastive.bootstrap import TD_LOSSES
from crl_jax.contrastive.contrast import Extras, contrast, pick
from crl_jax.contrastive.energies import ENERGIES, Energy
from crl_jax.contrastive.losses import participation_ratio
from crl_jax.contrastive.masks import MASKS
from crl_jax.experience.relabel import distinct_goal_share
from crl_jax.networks.distributions import log_prob, mode, sample_and_log_prob
from crl_jax.networks.pictures import random_crop
from crl_jax.networks.residual import Encoder
from crl_jax.scale import parallel
from crl_jax.types import Agent, Batch, Metrics
from envs_mjx.base import EnvSpec

PICTURES = ("obs", "next_obs", "goal", "next_goal", "commanded")
"""Fields of a batch that are pictures where observations are."""
TEMPERATURE = "log_temperature"
"""Name of an energy's learned temperature (its log) among phi's parameters."""


class CRLState(struct.PyTreeNode):
    """Parameters and optimiser states of CRL.

    Attributes:
        phi, psi: parameters of the critic; twin critics have a leading axis of 2. actor: parameters.
        average: running mean of `actor`; deterministic acting uses it.
        log_alpha: () log of the learned entropy coefficient.
        critic_opt: Adam state of (phi, psi). actor_opt, alpha_opt: Adam states. int32 counts saturate, never overflow.
        target: target copy of (phi, psi), which a bootstrapped loss needs; None for other losses.
        memory: memory of the continual method; None without one.
    """

    phi: Params
    psi: Params
    actor: Params
    average: Params
    log_alpha: jax.Array
    critic_opt: optax.OptState
    actor_opt: optax.OptState
    alpha_opt: optax.OptState
    target: Any = None
    memory: Memory = None


def _half(first: jax.Array, second: jax.Array) -> jax.Array:
    """(B, ...): the first half of the rows is from `first`, the second half from `second`."""
    half = first.shape[0] // 2
    return jnp.concatenate([first[:half], second[half:]])


ACTOR_GOALS: dict[str, Callable[[Batch], jax.Array]] = {
    "future": lambda batch: batch.goal,
    "commanded": lambda batch: batch.asked,
    "mixed": lambda batch: _half(batch.goal, jnp.roll(batch.goal, 1, axis=0)),
    "half_commanded": lambda batch: _half(batch.goal, batch.asked),
}
"""Goals of the actor's loss, (B, G)."""


class CRL:
    """The losses and the update of one configuration. Immutable; every method is pure.

    With an `axis` (see `parallel`), a batch holds this device's rows. Negatives come from all devices, and gradients
    are averaged over all devices.

    Raises:
        ConfigError: an unknown energy or loss, a loss that cannot be chunked, or a loss that needs twin critics.
    """

    def __init__(
        self,
        config: AgentConfig,
        network: NetworkConfig,
        spec: EnvSpec,
        axis: str | None = None,
        method: Method | None = None,
    ) -> None:
        self.config, self.spec, self.axis = config, spec, axis
        self.energy = pick(ENERGIES, config.energy, "energy")
        self.mask = MASKS.get(config.mask)
        self.td = TD_LOSSES[config.loss](config.discount) if config.loss in TD_LOSSES else None
        contrast(config, self.energy)  # raises ConfigError for settings that cannot be combined
        self.phi, self.psi = Encoder(network, spec.picture), Encoder(network, spec.picture)
        self.actor = PolicyActor(network, spec, method)
        self.critic_adam = adam(config.critic_lr, config)
        self.actor_adam = adam(config.actor_lr, config)
        self.alpha_adam = optax.adam(config.alpha_lr)
        self.target_entropy = config.target_entropy * spec.action_size

    def _embed(self, encoder: Encoder, params: Params, *inputs: jax.Array) -> jax.Array:
        embedding: Any = encoder.apply(params, *inputs)
        return embedding

    def _each(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function` of one critic's parameters, mapped over the leading axis of 2 with twin critics."""
        return jax.vmap(function) if self.config.twin else function

    def _scaled(self, phi: Params) -> Energy:
        """The energy of one critic, divided by the temperature if the temperature is learned."""
        if not self.energy.learned_temperature:
            return self.energy
        cold = jnp.exp(-phi["params"][TEMPERATURE])
        pairwise, diagonal, _ = self.energy
        return Energy(lambda phi, psi: cold * pairwise(phi, psi), lambda phi, psi: cold * diagonal(phi, psi))

    def value(self, critic: tuple[Params, Params], obs: jax.Array, action: jax.Array, goal: jax.Array) -> jax.Array:
        """obs (B, D), goal (B, G) in SI units, action (B, A) -> f(s, a, g) (B,); (2, B) with twin critics."""

        def one(phi: Params, psi: Params) -> jax.Array:
            embedded = self._embed(self.phi, phi, normalised_obs(self.spec, obs), action)
            return self._scaled(phi).diagonal(embedded, self._embed(self.psi, psi, normalised_goal(self.spec, goal)))

        values: jax.Array = self._each(one)(*critic)
        return values

    def init(self, key: jax.Array) -> CRLState:
        """Fresh parameters and optimiser states; alpha starts at 1."""
        phi_key, psi_key, actor_key = jax.random.split(key, 3)
        obs, goal = jnp.zeros((1, self.spec.obs_size)), jnp.zeros((1, self.spec.goal_size))
        action = jnp.zeros((1, self.spec.action_size))

        def fresh_phi(key: jax.Array) -> Params:
            phi: Any = self.phi.init(key, obs, action)
            return {"params": phi["params"] | {TEMPERATURE: jnp.zeros(())}} if self.energy.learned_temperature else phi

        def heads(key: jax.Array) -> jax.Array:
            return jax.random.split(key) if self.config.twin else key

        phi = self._each(fresh_phi)(heads(phi_key))
        psi = self._each(lambda key: self.psi.init(key, goal))(heads(psi_key))
        actor, memory = self.actor.init(actor_key)
        log_alpha = jnp.zeros(())
        return CRLState(
            phi=phi,
            psi=psi,
            actor=actor,
            average=jax.tree.map(jnp.copy, actor),  # a copy: donated arrays must not share a buffer
            log_alpha=log_alpha,
            critic_opt=self.critic_adam.init((phi, psi)),
            actor_opt=self.actor_adam.init(actor),
            alpha_opt=self.alpha_adam.init(log_alpha),
            target=jax.tree.map(jnp.copy, (phi, psi)) if self.td else None,
            memory=memory,
        )

    def act(self, state: CRLState, obs: jax.Array, goal: jax.Array, key: jax.Array, deterministic: bool) -> jax.Array:
        """obs (E, D), goal (E, G) in SI units -> actions (E, A): the mode if `deterministic`, else a sample."""
        if deterministic:
            return mode(self.actor(state.average, obs, goal, state.memory)[0])
        mean, log_std = self.actor(state.actor, obs, goal, state.memory)
        return sample_and_log_prob(jax.random.normal(key, mean.shape), mean, log_std)[0]

    def cropped(self, batch: Batch, key: jax.Array) -> Batch:
        """The batch with each of its pictures cropped at random, see `AgentConfig.crop`."""
        if self.config.crop == 0:
            return batch
        key = parallel.own(key, self.axis)
        pictures = {
            name: random_crop(jax.random.fold_in(key, index), getattr(batch, name), self.spec.picture, self.config.crop)
            for index, name in enumerate(PICTURES)
            if getattr(batch, name) is not None
        }
        return batch.replace(**pictures)

    def blurred(self, batch: Batch, key: jax.Array) -> Batch:
        """The batch with `critic_goal_noise` on its goals, which hides smaller differences between episodes' goals."""
        if self.config.critic_goal_noise == 0:
            return batch
        noise = self.config.critic_goal_noise * parallel.normal(key, batch.goal.shape, self.axis)
        return batch.replace(goal=batch.goal + noise * self.spec.goal_scale)

    def marks(self, batch: Batch) -> jax.Array | None:
        """(N * B, K) marks by which the mask compares the rows of all N devices; None without a mask."""
        if self.mask is None:
            return None
        mine = self.mask.marks(batch, self.spec, self.config.mask_radius, self.axis)
        return parallel.gathered(self.axis, mine)[0]

    def contrasted(self, state: CRLState, batch: Batch, key: jax.Array) -> tuple[Batch, Extras]:
        """The batch with the goals that the critic's loss contrasts, and the loss's further inputs (`Extras`).

        A bootstrapped loss takes some or all positives from the next states. It also evaluates the target critics at
        the next state, the goal of the following row, and an action of the current actor.
        """
        if self.td is None:
            return self.blurred(batch, key), Extras(marks=self.marks(batch))
        assert batch.next_goal is not None
        blur_key, action_key = jax.random.split(key)
        here, everywhere = batch.env.shape[0], batch.env.shape[0] * parallel.size(self.axis)
        row = parallel.index(self.axis) * here + jnp.arange(here)
        batch = batch.replace(goal=bootstrap.positives(self.td, batch.next_goal, batch.goal, row, everywhere))
        marks, batch = self.marks(batch), self.blurred(batch, blur_key)
        random_goal = parallel.shifted(batch.goal, self.axis)
        mean, log_std = self.actor(state.actor, batch.next_obs, random_goal, state.memory)
        noise = parallel.normal(action_key, mean.shape, self.axis)
        next_action = sample_and_log_prob(noise, mean, log_std)[0]
        weight = bootstrap.ratio(self.value(state.target, batch.next_obs, next_action, random_goal))
        (weight,) = parallel.gathered(self.axis, weight[:, None])
        return batch, Extras(marks=marks, weight=jax.lax.stop_gradient(weight[:, 0]))

    def critic_loss(
        self, critic: tuple[Params, Params], batch: Batch, extras: Extras | None = None
    ) -> tuple[jax.Array, tuple[Metrics, jax.Array]]:
        """Contrastive loss of (phi, psi) on the batch: a row's negatives are the goals of all other rows.

        Rows and goals of all devices enter. With twin critics every result is the mean over both.

        Returns:
            () loss, and (diagnostics, () participation ratio of phi(s,a)).
        """
        given = Extras(marks=self.marks(batch)) if extras is None else extras

        def one(phi: Params, psi: Params) -> tuple[jax.Array, tuple[Metrics, jax.Array]]:
            left = self._embed(self.phi, phi, normalised_obs(self.spec, batch.obs), batch.action)
            right = self._embed(self.psi, psi, normalised_goal(self.spec, batch.goal))
            loss, (told, rank) = self.contrast(self._scaled(phi), left, right, given)
            if self.energy.learned_temperature:
                told[TEMPERATURE.removeprefix("log_")] = jnp.exp(phi["params"][TEMPERATURE])
            return loss, (told, rank)

        result: Any = self._each(one)(*critic)
        return jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), result) if self.config.twin else result

    def contrast(
        self, energy: Energy, left: jax.Array, right: jax.Array, given: Extras
    ) -> tuple[jax.Array, tuple[Metrics, jax.Array]]:
        """`critic_loss` of one critic from its embeddings of this device's batch, phi and psi (B, F)."""
        left, right = parallel.gathered(self.axis, left, right)
        loss, told = contrast(self.config, energy)(left, right, given)
        return loss, (told, participation_ratio(left))

    def actor_loss(
        self,
        actor: Params,
        critic: tuple[Params, Params],
        alpha: jax.Array,
        batch: Batch,
        key: jax.Array,
        memory: Memory = None,
    ) -> tuple[jax.Array, jax.Array]:
        """mean(alpha log pi(a|s,g) - f(s,a,g)), a ~ pi(.|s,g): the gradient reaches the actor THROUGH phi and a.

        With twin critics, f is the smaller value. With `bc_weight` w, the loss is (1 - w) times this term plus w times
        -log pi of the replayed action. Only `actor` gets a gradient. A continual method adds its own term.

        Returns:
            () loss, and () mean log-probability.
        """
        goal = ACTOR_GOALS[self.config.actor_goals](batch)
        policy = self.actor(actor, batch.obs, goal, memory)
        loss, log_density = self.policy_loss(
            policy, lambda action: self.value(critic, batch.obs, action, goal), alpha, batch.action, key
        )
        return loss + self.actor.added_loss(actor, memory, batch.obs, goal, key), log_density

    def policy_loss(
        self,
        policy: tuple[jax.Array, jax.Array],
        value_of: Callable[[jax.Array], jax.Array],
        alpha: jax.Array,
        replayed: jax.Array,
        key: jax.Array,
    ) -> tuple[jax.Array, jax.Array]:
        """`actor_loss` from the policy's mean and log_std (B, A), the value of actions, and the replayed actions."""
        mean, log_std = policy
        action, log_density = sample_and_log_prob(parallel.normal(key, mean.shape, self.axis), mean, log_std)
        value = value_of(action)
        value = jnp.min(value, axis=0) if self.config.twin else value
        loss, share = jnp.mean(alpha * log_density - value), self.config.bc_weight
        if share > 0:
            loss = (1 - share) * loss - share * jnp.mean(log_prob(replayed, mean, log_std))
        return loss, jnp.mean(log_density)

    def alpha(self, log_alpha: jax.Array) -> jax.Array:
        """() entropy coefficient."""
        fixed = {"none": 0.0, "fixed": self.config.alpha}.get(self.config.entropy)
        return jnp.exp(log_alpha) if fixed is None else jnp.full((), fixed)

    def update(self, state: CRLState, batch: Batch, key: jax.Array) -> tuple[CRLState, Metrics]:
        """Update alpha, actor and critic with one batch (B,). Every gradient is taken at the OLD parameters."""
        alpha, critic = self.alpha(state.log_alpha), (state.phi, state.psi)
        critic_key, actor_key = jax.random.split(key)
        batch = self.cropped(batch, jax.random.fold_in(key, 1))
        (critic_loss, (told, rank)), critic_grad = jax.value_and_grad(self.critic_loss, has_aux=True)(
            critic, *self.contrasted(state, batch, critic_key)
        )
        (actor_loss, log_density), actor_grad = jax.value_and_grad(self.actor_loss, has_aux=True)(
            state.actor, critic, alpha, batch, actor_key, state.memory
        )
        actor_loss, log_density, critic_grad, actor_grad = parallel.mean(
            (actor_loss, log_density, critic_grad, actor_grad), self.axis
        )
        metrics = {
            "critic_loss": critic_loss,
            "actor_loss": actor_loss,
            "alpha": alpha,
            "entropy": -log_density,
            "critic_grad_norm": optax.global_norm(critic_grad),
            "actor_grad_norm": optax.global_norm(actor_grad),
            "participation_ratio": rank,
        }
        if not self.spec.picture:
            metrics["distinct_goals"] = self.distinct_goals(batch)
        new = self._stepped(state, critic_grad, actor_grad, log_density)
        taken, goal = Stepped(state.actor, new.actor, new.actor_opt), ACTOR_GOALS[self.config.actor_goals](batch)
        actor, actor_opt, memory = self.actor.after(taken, state.memory, batch.obs, goal, actor_key)
        average = optax.incremental_update(actor, state.average, 1 - self.config.actor_average)
        return new.replace(actor=actor, actor_opt=actor_opt, memory=memory, average=average), metrics | told

    def _stepped(self, state: CRLState, critic_grad: Any, actor_grad: Any, log_density: jax.Array) -> CRLState:
        """The state after one optimiser step. `update` sets the actor's running mean `average`."""
        actor_step, actor_opt = self.actor_adam.update(actor_grad, state.actor_opt)
        critic_step, critic_opt = self.critic_adam.update(critic_grad, state.critic_opt)
        phi, psi = optax.apply_updates((state.phi, state.psi), critic_step)
        actor = optax.apply_updates(state.actor, actor_step)
        new = state.replace(
            phi=phi,
            psi=psi,
            actor=actor,
            critic_opt=critic_opt,
            actor_opt=actor_opt,
        )
        log_alpha, alpha_opt = self.alpha_stepped(state.log_alpha, state.alpha_opt, log_density)
        new = new.replace(log_alpha=log_alpha, alpha_opt=alpha_opt)
        if state.target is not None:
            new = new.replace(target=optax.incremental_update((phi, psi), state.target, self.config.target_tau))
        return new

    def alpha_stepped(
        self, log_alpha: jax.Array, opt: optax.OptState, log_density: jax.Array
    ) -> tuple[jax.Array, optax.OptState]:
        """log alpha () and its optimiser state after one step, where alpha is learned."""
        if self.config.entropy != "auto":
            return log_alpha, opt
        grad = jax.grad(alpha_loss)(log_alpha, log_density, self.target_entropy)
        step, opt = self.alpha_adam.update(grad, opt)
        stepped: Any = optax.apply_updates(log_alpha, step)
        return stepped, opt

    def distinct_goals(self, batch: Batch) -> jax.Array:
        """() share of the batch's goals, of all devices, that differ."""
        return distinct_goal_share(*parallel.gathered(self.axis, batch.goal))


def make(
    config: AgentConfig, network: NetworkConfig, spec: EnvSpec, axis: str | None = None, method: Method | None = None
) -> Agent:
    """Contrastive RL as an `Agent`. `method`: a continual method whose actor CRL trains.

    Raises:
        ConfigError: as `CRL`.
    """
    crl = CRL(config, network, spec, axis, method)
    reads = config.actor_goals in ("commanded", "half_commanded")
    return Agent(init=crl.init, act=crl.act, update=crl.update, commanded=reads)
