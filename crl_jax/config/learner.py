"""Settings of the learner: networks, the method, the rewards of SAC and TD3. Sections of `config.Config`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from crl_jax.config.checks import require
from crl_jax.config.section import Section

MethodName = Literal["crl", "sac", "td3"]


@dataclass(frozen=True)
class NetworkConfig(Section):
    """Residual MLPs for phi, psi and the actor ("1000 Layer Networks for Self-Supervised RL", fig. 2)."""

    width: int = 256
    """Units of every hidden layer."""
    critic_depth: int = 4
    """Hidden layers of phi and psi: 1, 2, 3 (plain MLP), or a multiple of 4 (residual; stem and head not counted)."""
    actor_depth: int = 4
    """Hidden layers of the actor, counted like critic_depth."""
    embedding: int = 64
    """Size of phi(s,a) and psi(g)."""
    layer_norm: bool = True
    """LayerNorm after every Dense of phi, psi and the actor."""
    skip_last_norm: bool = False
    """No LayerNorm after the last hidden layer (Stable CRL)."""
    cold_init: bool = False
    """Draw phi's and psi's last-layer weights from U[-1e-12, 1e-12] (Stable CRL): embeddings start almost equal."""
    channels: int = 64
    """Channels of the last two of three convolutions over pictures; the first has half as many (Stable CRL: 64)."""
    activation: Literal["swish", "relu", "gelu", "tanh", "crelu"] = "swish"
    """Activation of hidden layers. crelu is [relu(x), relu(-x)] of width / 2 units."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of products and activations. Parameters, losses, LayerNorm statistics and the residual sum stay float32."""
    remat: bool = False
    """Recompute each block's activations in the backward pass: less memory, one more forward pass."""
    residual_scale: Literal["one", "depth"] = "one"
    """Factor on each block's output: 1 (as published), or 1 / sqrt(number of blocks)."""
    unroll: int = 1
    """Blocks per step of the scan over blocks: more than 1 compiles longer and may run faster."""
    fused: Literal["auto", "on", "off"] = "auto"
    """Train phi, psi and the actor as one stack of networks, with a third of the GPU's kernels: on, off, or auto (on a
    GPU, where the settings allow it)."""

    def validate(self) -> None:
        for name, choices in (
            ("dtype", ("float32", "bfloat16")),
            ("residual_scale", ("one", "depth")),
            ("fused", ("auto", "on", "off")),
        ):
            require(getattr(self, name) in choices, name, getattr(self, name), f"one of {', '.join(choices)}")
        for name in ("width", "embedding", "unroll"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "must be at least 1")
        require(self.channels >= 2, "channels", self.channels, "must be at least 2; nearest: 2")
        skips = self.layer_norm or not self.skip_last_norm
        require(skips, "skip_last_norm", self.skip_last_norm, "layer_norm=False leaves none to skip; take False")
        activations = ("swish", "relu", "gelu", "tanh", "crelu")
        require(self.activation in activations, "activation", self.activation, f"one of {', '.join(activations)}")
        even = self.activation != "crelu" or self.width % 2 == 0
        require(even, "width", self.width, f"activation='crelu' takes an even one; nearest: {self.width + 1}")
        for name in ("critic_depth", "actor_depth"):
            depth = getattr(self, name)
            require(depth >= 1, name, depth, "must be at least 1; nearest: 1")
            if depth > 3 and depth % 4:
                low = depth // 4 * 4
                require(False, name, depth, f"must be 1, 2, 3 or a multiple of 4; nearest: {low} or {low + 4}")


@dataclass(frozen=True)
class AgentConfig(Section):
    """The method and its hyperparameters."""

    method: MethodName = "crl"
    """Contrastive RL, or a baseline that learns from a reward: SAC or TD3."""
    discount: float = 0.99
    """gamma: relabelled goals lie Geom(1 - gamma) steps ahead. SAC and TD3 also discount the return with it."""
    critic_lr: float = 3e-4
    """Adam step size of phi and psi, or of both Q networks."""
    actor_lr: float = 3e-4
    """Adam step size of the actor."""
    alpha_lr: float = 3e-4
    """Adam step size of the entropy coefficient."""
    logsumexp_penalty: float = 0.1
    """c in InfoNCE + c * mean(logsumexp^2). The penalty fixes the constant per (s,a) that InfoNCE leaves free."""
    energy: str = "norm"
    """Critic's energy f(phi, psi): a name of crl_jax/contrastive/energies.py."""
    loss: str = "fwd_infonce"
    """Critic's loss: a name of crl_jax/contrastive/losses.py, or c_learning or nce_c_learning (bootstrap.py there)."""
    twin: bool = False
    """Train two critics; the actor maximises the smaller of their values."""
    target_tau: float = 0.005
    """Step per update of target networks towards the learned ones, in sac, td3, loss=c_learning and nce_c_learning."""
    mask: Literal["none", "same_trajectory", "same_goal"] = "none"
    """Negatives hidden from the critic's loss: none (as published); goals of the anchor's trajectory; goals within
    mask_radius of the positive."""
    mask_radius: float = 0.1
    """Euclidean distance up to which mask=same_goal treats two goals as equal, in units of the goal's scale (0.15 m
    horizontally, 0.1 m vertically in Meta-World)."""
    logits_chunk: int = 0
    """Rows of the (batch_size, batch_size) logits computed at once, a divisor of batch_size; 0: all. Chunks need less
    memory and one more pass over the logits; loss and gradient are the same."""
    actor_goals: Literal["future", "commanded", "mixed", "half_commanded"] = "future"
    """Goals of the actor's loss: relabelled; commanded; half relabelled and half relabelled of another row (SGCRL);
    half relabelled and half commanded."""
    critic_goal_noise: float = 0.0
    """Standard deviation of Gaussian noise on the goals of the critic's loss, in units of the goal's scale (0.15 m
    horizontally, 0.1 m vertically in Meta-World). It limits how well the critic can tell episodes apart by goals."""
    crop: int = 0
    """With obs=pixels: crop each picture of a batch at random after padding it by so many pixels; 0: no crop."""
    actor_average: float = 0.0
    """Decay per update of the running mean of the actor's parameters, used by deterministic acting; 0: no mean."""
    bc_weight: float = 0.0
    """Weight w of behavioural cloning: actor loss = (1 - w) * CRL's loss + w * -log pi(a|s,g) of the replayed action
    (Stable CRL)."""
    entropy: Literal["auto", "fixed", "none"] = "auto"
    """Coefficient of the actor's entropy bonus: learned (auto), fixed at alpha, or no bonus."""
    alpha: float = 0.1
    """Entropy coefficient with entropy=fixed."""
    target_entropy: float = -0.5
    """Target entropy in nats per action dimension, for entropy=auto and SAC."""
    max_grad_norm: float = 0.0
    """Bound of gradient clipping by the global norm; 0: no clipping."""
    lr_half_life: int = 0
    """SGD updates in which the step sizes of critic and actor halve; 0: constant."""

    def validate(self) -> None:
        require(self.method in METHODS, "method", self.method, f"one of {', '.join(METHODS)}")
        require(0 < self.discount < 1, "discount", self.discount, "must lie strictly between 0 and 1")
        for name in ("critic_lr", "actor_lr", "alpha_lr", "alpha", "mask_radius"):
            require(getattr(self, name) > 0, name, getattr(self, name), "must be positive")
        require(0 < self.target_tau <= 1, "target_tau", self.target_tau, "must be above 0 and at most 1")
        require(0 <= self.bc_weight <= 1, "bc_weight", self.bc_weight, "must lie between 0 and 1")
        masks, entropies = ("none", "same_trajectory", "same_goal"), ("auto", "fixed", "none")
        require(self.mask in masks, "mask", self.mask, f"one of {', '.join(masks)}")
        require(self.entropy in entropies, "entropy", self.entropy, f"one of {', '.join(entropies)}")
        require(0 <= self.actor_average < 1, "actor_average", self.actor_average, "must be at least 0 and below 1")
        kinds = ("future", "commanded", "mixed", "half_commanded")
        require(self.actor_goals in kinds, "actor_goals", self.actor_goals, f"one of {', '.join(kinds)}")
        for name in ("logsumexp_penalty", "max_grad_norm", "critic_goal_noise", "logits_chunk", "lr_half_life", "crop"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "must be 0 or more")


@dataclass(frozen=True)
class BaselineConfig(Section):
    """The baselines SAC and TD3: reward, hindsight (HER) and TD3's noise."""

    reward: Literal["sparse", "negative", "dense"] = "sparse"
    """Reward of a step: native success as 1 or 0; as 0 or -1 (HER's choice); the official dense reward, 0 to 10."""
    reward_scale: float = 1.0
    """Factor on the reward."""
    her_share: float = 0.0
    """Share of a batch that HER relabels with a goal achieved later in the episode, and that goal's reward; 0: no
    HER."""
    policy_delay: int = 2
    """TD3: critic updates per update of the actor and the targets."""
    target_noise: float = 0.2
    """TD3: standard deviation of the noise on the target actions."""
    noise_clip: float = 0.5
    """TD3: bound on the absolute noise of the target actions."""
    exploration_noise: float = 0.1
    """TD3: standard deviation of the noise on the actions while data is collected."""

    def validate(self) -> None:
        kinds = ("sparse", "negative", "dense")
        require(self.reward in kinds, "reward", self.reward, f"one of {', '.join(kinds)}")
        require(self.reward_scale > 0, "reward_scale", self.reward_scale, "must be positive")
        require(0 <= self.her_share <= 1, "her_share", self.her_share, "must lie between 0 and 1")
        dense = self.reward == "dense" and self.her_share > 0
        require(not dense, "her_share", self.her_share, "reward='dense' is no function of goals; take 0, or 'sparse'")
        require(self.policy_delay >= 1, "policy_delay", self.policy_delay, "must be at least 1")
        for name in ("target_noise", "noise_clip", "exploration_noise"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "must be 0 or more")


METHODS: tuple[str, ...] = get_args(MethodName)
READERS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("embedding", "logsumexp_penalty", "energy", "loss", "twin", "logits_chunk"), ("crl",)),
    **dict.fromkeys(("mask", "mask_radius", "actor_goals", "critic_goal_noise", "crop", "bc_weight"), ("crl",)),
    **dict.fromkeys(("entropy", "alpha", "fused"), ("crl",)),
    **dict.fromkeys(("alpha_lr", "target_entropy", "actor_average"), ("crl", "sac")),
    **dict.fromkeys(("reward", "reward_scale", "her_share"), ("sac", "td3")),
    **dict.fromkeys(("policy_delay", "target_noise", "noise_clip", "exploration_noise"), ("td3",)),
}
"""Field -> the methods that read it. With any other method the field must keep its default."""
