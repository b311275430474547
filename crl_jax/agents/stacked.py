"""The update of `crl.py` with phi, psi and the actor as one stack: the same numbers in a third of the GPU's kernels.

At these sizes a GPU's time is its number of launches. Here one product multiplies three networks, one kernel computes
bias, LayerNorm and swish of all three (`networks/fused.py`), and Adam has 6 arrays where the plain update has 60.

Axis letters: B batch, A action.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import optax
from flax import struct

from crl_jax.agents import crl
from crl_jax.agents.common import normalised_goal, normalised_obs
from crl_jax.agents.crl import ACTOR_GOALS, CRL, CRLState
from crl_jax.config import AgentConfig, NetworkConfig, require
from crl_jax.continual.method import Method
from crl_jax.contrastive.bootstrap import TD_LOSSES
from crl_jax.contrastive.contrast import Extras
from crl_jax.contrastive.energies import ENERGIES
from crl_jax.networks.residual import LAYERS_PER_BLOCK, gaussian
from crl_jax.networks.stack import Stack, forward, packed, rows, unpacked
from crl_jax.scale import parallel
from crl_jax.types import Agent, Batch, Metrics, Packed
from envs_mjx.base import EnvSpec

PHI, PSI, ACTOR = range(3)
"""Places in the stack."""


class StackedState(struct.PyTreeNode):
    """What `Stacked.update` changes.

    Attributes:
        networks: phi, psi, actor. average: of which only the actor's running mean is used.
        adam: Adam's state of all three.
        log_alpha, alpha_opt: as in `CRLState`.
    """

    networks: Stack
    average: Stack
    adam: optax.ScaleByAdamState
    log_alpha: jax.Array
    alpha_opt: optax.OptState


def make(
    config: AgentConfig, network: NetworkConfig, spec: EnvSpec, axis: str | None = None, method: Method | None = None
) -> Agent:
    """Contrastive RL as an `Agent`, as `crl.make`; its updates are packed where `network.fused` says so.

    Raises:
        ConfigError: as `CRL`; or fused=on, and these settings cannot be trained as one stack.
    """
    agent = crl.make(config, network, spec, axis, method)
    wanted = network.fused == "on" or (network.fused == "auto" and jax.default_backend() == "gpu")
    reason = refusal(config, network, bool(spec.picture), method is not None)
    require(not reason or network.fused != "on", "fused", network.fused, f"not with {reason}; take auto")
    if not wanted or reason:
        return agent
    stacked = Stacked(CRL(config, network, spec, axis), config, network)
    return agent._replace(packed=Packed(stacked.pack, stacked.update, stacked.unpack))


def refusal(agent: AgentConfig, network: NetworkConfig, picture: bool, continual: bool) -> str:
    """Why these settings cannot be trained as one stack; "" if they can."""
    depth = network.critic_depth
    reasons = {
        "different depths": depth != network.actor_depth,
        f"a depth below {LAYERS_PER_BLOCK}": depth < LAYERS_PER_BLOCK,
        "no LayerNorm": not network.layer_norm or network.skip_last_norm,
        f"activation={network.activation}": network.activation != "swish",
        f"dtype={network.dtype}": network.dtype != "float32",
        "a width that is no power of two": network.width & (network.width - 1) != 0,
        "an embedding wider than the layers": network.embedding > network.width,
        "pictures": picture,
        "twin critics": agent.twin,
        f"loss={agent.loss}": agent.loss in TD_LOSSES,
        f"energy={agent.energy}": agent.energy in ENERGIES and ENERGIES[agent.energy].learned_temperature,
        "clipped gradients": agent.max_grad_norm > 0,
        "falling step sizes": agent.lr_half_life > 0,
        "a continual method": continual,
    }
    return ", ".join(reason for reason, holds in reasons.items() if holds)


class Stacked:
    """`CRL.update` on a `StackedState`; `pack` and `unpack` convert the state. Every method is pure."""

    def __init__(self, crl: CRL, agent: AgentConfig, network: NetworkConfig) -> None:
        self.crl, self.config, self.network = crl, agent, network
        self.scale_by_adam = optax.scale_by_adam()
        self.scale = (network.critic_depth // LAYERS_PER_BLOCK) ** -0.5 if network.residual_scale == "depth" else 1.0

    def pack(self, state: CRLState) -> StackedState:
        """The state of `CRL` as one stack."""
        (count, (mu_phi, mu_psi), (nu_phi, nu_psi)), (_, mu_actor, nu_actor) = state.critic_opt[0], state.actor_opt[0]
        moments = (packed([mu_phi, mu_psi, mu_actor]), packed([nu_phi, nu_psi, nu_actor]))
        return StackedState(
            networks=packed([state.phi, state.psi, state.actor]),
            average=packed([state.phi, state.psi, state.average]),
            adam=optax.ScaleByAdamState(count, *moments),
            log_alpha=state.log_alpha,
            alpha_opt=state.alpha_opt,
        )

    def unpack(self, stacked: StackedState, state: CRLState) -> CRLState:
        """The state of `CRL`; `state`, from which `stacked` was packed, gives the sizes."""
        likes = [state.phi, state.psi, state.actor]
        phi, psi, actor = unpacked(stacked.networks, likes)
        (mu_phi, mu_psi, mu_actor), (nu_phi, nu_psi, nu_actor) = (
            unpacked(moments, likes) for moments in (stacked.adam.mu, stacked.adam.nu)
        )
        count = stacked.adam.count
        return state.replace(
            phi=phi,
            psi=psi,
            actor=actor,
            average=unpacked(stacked.average, likes)[ACTOR],
            critic_opt=(optax.ScaleByAdamState(count, (mu_phi, mu_psi), (nu_phi, nu_psi)), *state.critic_opt[1:]),
            actor_opt=(optax.ScaleByAdamState(count, mu_actor, nu_actor), *state.actor_opt[1:]),
            log_alpha=stacked.log_alpha,
            alpha_opt=stacked.alpha_opt,
        )

    def forward(self, networks: Stack, x: jax.Array) -> jax.Array:
        """`stack.forward` with the settings of the networks."""
        blocks = self.network.critic_depth // LAYERS_PER_BLOCK
        return forward(networks, x, self.scale, self.network.remat, min(self.network.unroll, blocks))

    def update(self, state: StackedState, batch: Batch, key: jax.Array) -> tuple[StackedState, Metrics]:
        """As `CRL.update`: every gradient is taken at the OLD parameters."""
        plain, spec, networks, size = self.crl, self.crl.spec, state.networks, self.network.embedding
        alpha, (critic_key, actor_key) = plain.alpha(state.log_alpha), jax.random.split(key)
        blurred, extras = plain.blurred(batch, critic_key), Extras(marks=plain.marks(batch))
        asked = ACTOR_GOALS[self.config.actor_goals](batch)
        obs, wanted = normalised_obs(spec, batch.obs), normalised_goal(spec, asked)
        inputs = rows(networks, (obs, batch.action), (normalised_goal(spec, blurred.goal),), (obs, wanted))
        outputs, pull = jax.vjp(lambda networks: self.forward(networks, inputs), networks)

        def value(action: jax.Array) -> jax.Array:
            # The actor comes along, on zeros: to take phi and psi out of the stack would be a kernel for each part.
            embedded = self.forward(networks, rows(networks, (obs, action), (wanted,), (jnp.zeros_like(obs),)))
            return plain.energy.diagonal(embedded[PHI, :, :size], embedded[PSI, :, :size])

        def critic_loss(embedded: jax.Array) -> tuple[jax.Array, tuple[Metrics, jax.Array]]:
            return plain.contrast(plain.energy, embedded[PHI, :, :size], embedded[PSI, :, :size], extras)

        def actor_loss(output: jax.Array) -> tuple[jax.Array, jax.Array]:
            policy = gaussian(output[:, : 2 * spec.action_size])
            return plain.policy_loss(policy, value, alpha, batch.action, actor_key)

        grad_of = functools.partial(jax.value_and_grad, has_aux=True)
        (loss, (told, rank)), grad_critic = grad_of(critic_loss)(outputs[:ACTOR])
        (actor_loss_, log_density), grad_actor = grad_of(actor_loss)(outputs[ACTOR])
        (grad,) = pull(jnp.concatenate([grad_critic, grad_actor[None]]))
        actor_loss_, log_density, grad = parallel.mean((actor_loss_, log_density, grad), plain.axis)
        squares = grad.squares()
        metrics = {
            "critic_loss": loss,
            "actor_loss": actor_loss_,
            "alpha": alpha,
            "entropy": -log_density,
            "critic_grad_norm": jnp.sqrt(squares[PHI] + squares[PSI]),
            "actor_grad_norm": jnp.sqrt(squares[ACTOR]),
            "participation_ratio": rank,
            "distinct_goals": plain.distinct_goals(batch),
        }
        return self._stepped(state, grad, log_density), metrics | told

    def _stepped(self, state: StackedState, grad: Stack, log_density: jax.Array) -> StackedState:
        """The state after one step of Adam and of alpha."""
        step, adam = self.scale_by_adam.update(grad, state.adam)
        sizes = jnp.array([self.config.critic_lr, self.config.critic_lr, self.config.actor_lr])[:, None, None]
        networks = jax.tree.map(lambda old, step: old - sizes * step, state.networks, step)
        average = optax.incremental_update(networks, state.average, 1 - self.config.actor_average)
        log_alpha, alpha_opt = self.crl.alpha_stepped(state.log_alpha, state.alpha_opt, log_density)
        return StackedState(networks, average, adam, log_alpha, alpha_opt)
