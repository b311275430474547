"""The update of `crl.py` with phi, psi and the actor as one stack: the same numbers in a third of the GPU's kernels.

At these sizes a GPU's time is its number of launches. Here one product multiplies three networks, one kernel computes
bias, LayerNorm and swish of all three (`networks/fused.py`), and Adam has 6 arrays where the plain update has 60.

Axis letters: B batch, A action.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
from flax import struct

from crl_jax.agents import crl
from crl_jax.agents.common import Params, normalised_goal, normalised_obs
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

Stacks = tuple[Stack, ...]
Inputs = tuple[jax.Array, ...]
PHI, PSI, ACTOR = range(3)


class StackedState(struct.PyTreeNode):
    """What `Stacked.update` changes.

    Attributes:
        networks: phi, psi and actor in one stack; or, where the actor's depth is another, the actor in a second one.
        average: the same, of which only the actor's running mean is used. adam: Adam's state of all three.
        log_alpha, alpha_opt: as in `CRLState`.
    """

    networks: Stacks
    average: Stacks
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
    reasons = {
        f"a depth below {LAYERS_PER_BLOCK}": min(network.critic_depth, network.actor_depth) < LAYERS_PER_BLOCK,
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
        alike = network.critic_depth == network.actor_depth
        self.groups = ((PHI, PSI, ACTOR),) if alike else ((PHI, PSI), (ACTOR,))

    def stacks(self, phi: Params, psi: Params, actor: Params) -> Stacks:
        """The networks, or their moments, as stacks."""
        return tuple(packed([(phi, psi, actor)[number] for number in group]) for group in self.groups)

    def networks(self, stacks: Stacks, state: CRLState) -> list[Params]:
        """phi, psi and actor of stacks, with the sizes of `state`."""
        likes = (state.phi, state.psi, state.actor)
        pairs = zip(stacks, self.groups, strict=True)
        return [one for stack, group in pairs for one in unpacked(stack, [likes[number] for number in group])]

    def pack(self, state: CRLState) -> StackedState:
        """The state of `CRL` as stacks."""
        (count, (mu_phi, mu_psi), (nu_phi, nu_psi)), (_, mu, nu) = state.critic_opt[0], state.actor_opt[0]
        return StackedState(
            networks=self.stacks(state.phi, state.psi, state.actor),
            average=self.stacks(state.phi, state.psi, state.average),
            adam=optax.ScaleByAdamState(count, self.stacks(mu_phi, mu_psi, mu), self.stacks(nu_phi, nu_psi, nu)),
            log_alpha=state.log_alpha,
            alpha_opt=state.alpha_opt,
        )

    def unpack(self, stacked: StackedState, state: CRLState) -> CRLState:
        """The state of `CRL`; `state`, from which `stacked` was packed, gives the sizes."""
        count, mu, nu = stacked.adam.count, *(self.networks(one, state) for one in (stacked.adam.mu, stacked.adam.nu))
        phi, psi, actor = self.networks(stacked.networks, state)
        critic_adam = optax.ScaleByAdamState(count, tuple(mu[:ACTOR]), tuple(nu[:ACTOR]))
        return state.replace(
            phi=phi,
            psi=psi,
            actor=actor,
            average=self.networks(stacked.average, state)[ACTOR],
            critic_opt=(critic_adam, *state.critic_opt[1:]),
            actor_opt=(optax.ScaleByAdamState(count, mu[ACTOR], nu[ACTOR]), *state.actor_opt[1:]),
            log_alpha=stacked.log_alpha,
            alpha_opt=stacked.alpha_opt,
        )

    def forward(self, stacks: Stacks, *inputs: Inputs) -> list[jax.Array]:
        """The output (B, O) of each network, from its inputs (B, F1), (B, F2), ..., for the first of the stacks."""
        outputs: list[jax.Array] = []
        for stack, group in zip(stacks, self.groups, strict=False):
            blocks = len(stack.blocks)
            scale = blocks**-0.5 if self.network.residual_scale == "depth" else 1.0
            given = rows(stack, *(inputs[number] for number in group))
            outputs.extend(forward(stack, given, scale, self.network.remat, min(self.network.unroll, blocks)))
        return outputs

    def update(self, state: StackedState, batch: Batch, key: jax.Array) -> tuple[StackedState, Metrics]:
        """As `CRL.update`: every gradient is taken at the OLD parameters."""
        plain, spec, size = self.crl, self.crl.spec, self.network.embedding
        alpha, (critic_key, actor_key) = plain.alpha(state.log_alpha), jax.random.split(key)
        blurred, extras = plain.blurred(batch, critic_key), Extras(marks=plain.marks(batch))
        asked = ACTOR_GOALS[self.config.actor_goals](batch)
        obs, wanted = normalised_obs(spec, batch.obs), normalised_goal(spec, asked)
        inputs: tuple[Inputs, ...] = ((obs, batch.action), (normalised_goal(spec, blurred.goal),), (obs, wanted))
        (phi, psi, policy), pull = jax.vjp(lambda stacks: self.forward(stacks, *inputs), state.networks)

        def value(action: jax.Array) -> jax.Array:
            # In a stack with the critic, the actor comes along on zeros: to leave it out would copy phi and psi.
            embedded = self.forward(state.networks[:1], (obs, action), (wanted,), (jnp.zeros_like(obs),))
            return plain.energy.diagonal(embedded[PHI][:, :size], embedded[PSI][:, :size])

        def critic_loss(phi: jax.Array, psi: jax.Array) -> tuple[jax.Array, tuple[Metrics, jax.Array]]:
            return plain.contrast(plain.energy, phi[:, :size], psi[:, :size], extras)

        def actor_loss(output: jax.Array) -> tuple[jax.Array, jax.Array]:
            given = gaussian(output[:, : 2 * spec.action_size])
            return plain.policy_loss(given, value, alpha, batch.action, actor_key)

        (loss, (told, rank)), by_critic = jax.value_and_grad(critic_loss, (0, 1), has_aux=True)(phi, psi)
        (actor_loss_, log_density), by_actor = jax.value_and_grad(actor_loss, has_aux=True)(policy)
        (grad,) = pull([*by_critic, by_actor])
        actor_loss_, log_density, grad = parallel.mean((actor_loss_, log_density, grad), plain.axis)
        squares = jnp.concatenate([stack.squares() for stack in grad])
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

    def _stepped(self, state: StackedState, grad: Stacks, log_density: jax.Array) -> StackedState:
        """The state after one step of Adam and of alpha."""
        step, adam = self.scale_by_adam.update(grad, state.adam)
        sizes = self.config.critic_lr, self.config.critic_lr, self.config.actor_lr

        def moved(old: Stack, step: Stack, group: tuple[int, ...]) -> Stack:
            size = jnp.array([sizes[number] for number in group])[:, None, None]
            stepped: Stack = jax.tree.map(lambda old, step: old - size * step, old, step)
            return stepped

        networks = tuple(map(moved, state.networks, step, self.groups))
        average = optax.incremental_update(networks, state.average, 1 - self.config.actor_average)
        log_alpha, alpha_opt = self.crl.alpha_stepped(state.log_alpha, state.alpha_opt, log_density)
        return StackedState(networks, average, adam, log_alpha, alpha_opt)
