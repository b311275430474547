"""Every setting of a run: frozen dataclasses, one per concern. A docstring under a field is its `--help`.

`Config.validate()` refuses a bad value or combination before anything is compiled or written, in one line that names
the field, the value and the nearest values that would do.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal


class ConfigError(ValueError):
    """A bad setting, told in one line."""


def _require(ok: bool, name: str, value: object, wanted: str) -> None:
    if not ok:
        raise ConfigError(f"{name}={value!r}: {wanted}")


def nearest(name: str, choices: Iterable[str]) -> str:
    """Names close to a mistyped one, for an error message."""
    choices = list(choices)
    close = difflib.get_close_matches(name, choices, n=3, cutoff=0.4)
    return ", ".join(close or choices)


def nearest_multiples(value: int, base: int) -> str:
    """The multiples of `base` on both sides of `value`, for an error message."""
    low = max(base, value // base * base)
    return f"{low} or {low + base}" if low != value else f"{low}"


def nearest_divisors(value: int, number: int) -> str:
    """The divisors of `number` on both sides of `value`, for an error message; empty if `value` is one."""
    divisors = [divisor for divisor in range(1, number + 1) if number % divisor == 0]
    near = {
        max((d for d in divisors if d <= value), default=1),
        min((d for d in divisors if d >= value), default=number),
    }
    return "" if value in near else " or ".join(map(str, sorted(near)))


@dataclass(frozen=True)
class EnvConfig:
    """The world."""

    task: str = "reach"
    """Task: a row of `crl envs`."""
    num_envs: int = 128
    """Environments stepped at once."""
    physics: Literal["auto", "c", "warp", "jax"] = "auto"
    """Engine: c (MuJoCo on host cores), warp (MuJoCo Warp, NVIDIA GPUs), jax (MJX); auto: warp on CUDA, else c."""
    goal: Literal["object", "hand_object", "object_relative"] = "hand_object"
    """Goal contract: where the object goes; hand and object; object and hand relative to it."""
    horizon: int | None = None
    """Env steps of an episode; None: the task's own (Meta-World 150, as "A Single Goal is All You Need", not 500)."""
    threads: int = 0
    """Threads of the c engine; 0 takes every core."""
    naconmax: int = 0
    """Contacts that the warp engine has room for, all num_envs together; 0 takes 64 for each."""
    njmax: int = 0
    """Constraint rows that the warp engine has room for, of one environment; 0 takes 256."""
    allow_unfaithful: bool = False
    """Run a task also on an engine that was not measured to carry it faithfully (marked * in `crl envs`)."""

    def validate(self) -> None:
        _require(self.num_envs >= 1, "num_envs", self.num_envs, "must be at least 1")
        long_enough = self.horizon is None or self.horizon >= 2
        _require(long_enough, "horizon", self.horizon, "must be at least 2, for a step to have a future")
        _require(self.threads >= 0, "threads", self.threads, "must be 0 (every core) or more")
        for name in ("naconmax", "njmax"):
            size = getattr(self, name)
            _require(size >= 0, name, size, "must be 0 (the default) or more")
            _require(not size or self.physics in ("auto", "warp"), name, size, "only physics='warp' has such a buffer")
        _require(
            self.physics in ("auto", "c", "warp", "jax"),
            "physics",
            self.physics,
            f"unknown engine; nearest: {nearest(str(self.physics), ['auto', 'c', 'warp', 'jax'])}",
        )
        goals = ("object", "hand_object", "object_relative")
        _require(self.goal in goals, "goal", self.goal, f"unknown goal contract; one of {', '.join(goals)}")


@dataclass(frozen=True)
class NetworkConfig:
    """Residual MLPs for phi, psi and the actor ("1000 Layer Networks for Self-Supervised RL", fig. 2)."""

    width: int = 256
    """Units of every hidden layer."""
    critic_depth: int = 4
    """Hidden layers of phi and psi: 1, 2, 3 (plain MLP), or a multiple of 4 (residual; stem and head uncounted)."""
    actor_depth: int = 4
    """Hidden layers of the actor, counted likewise."""
    embedding: int = 64
    """Size of phi(s,a) and psi(g)."""
    layer_norm: bool = True
    """LayerNorm after every Dense of phi, psi and the actor."""
    skip_last_norm: bool = False
    """No LayerNorm after the last hidden layer (Stable CRL)."""
    cold_init: bool = False
    """Weights of phi's and psi's last layer start at U[-1e-12, 1e-12] (Stable CRL): all embeddings start together."""
    activation: Literal["swish", "relu", "gelu", "tanh"] = "swish"
    """Activation of hidden layers."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of products and activations; parameters, losses, LayerNorm's statistics and the residual sum stay float32."""
    remat: bool = False
    """Compute the inside of each block again for its gradient: less memory, one more forward pass."""
    residual_scale: Literal["one", "depth"] = "one"
    """What a block's output is multiplied by: 1 (as published), or 1 / sqrt(number of blocks)."""
    unroll: int = 1
    """Blocks per step of the scan over blocks: more than 1 compiles longer and may run faster."""

    def validate(self) -> None:
        for name, choices in (("dtype", ("float32", "bfloat16")), ("residual_scale", ("one", "depth"))):
            _require(getattr(self, name) in choices, name, getattr(self, name), f"one of {', '.join(choices)}")
        for name in ("width", "embedding", "unroll"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "must be at least 1")
        skips = self.layer_norm or not self.skip_last_norm
        _require(skips, "skip_last_norm", self.skip_last_norm, "layer_norm=False leaves none to skip; take False")
        activations = ("swish", "relu", "gelu", "tanh")
        _require(self.activation in activations, "activation", self.activation, f"one of {', '.join(activations)}")
        for name in ("critic_depth", "actor_depth"):
            depth = getattr(self, name)
            _require(depth >= 1, name, depth, "must be at least 1; nearest: 1")
            if depth > 3 and depth % 4:
                low = depth // 4 * 4
                _require(False, name, depth, f"must be 1, 2, 3 or a multiple of 4; nearest: {low} or {low + 4}")


@dataclass(frozen=True)
class AgentConfig:
    """The method and what it learns with."""

    method: Literal["crl", "sac", "td3"] = "crl"
    """Contrastive RL; or SAC or TD3, which learn from a reward."""
    discount: float = 0.99
    """gamma: future goals lie Geom(1 - gamma) steps ahead; of the return, where there is a reward."""
    critic_lr: float = 3e-4
    """Adam step size of phi and psi, or of both Q."""
    actor_lr: float = 3e-4
    """Adam step size of the actor."""
    alpha_lr: float = 3e-4
    """Adam step size of the entropy coefficient."""
    logsumexp_penalty: float = 0.1
    """c in InfoNCE + c * mean(logsumexp^2): pins the constant per (s,a) that InfoNCE leaves free."""
    energy: str = "norm"
    """Critic's energy f(phi, psi): a name of crl_jax/energies.py."""
    loss: str = "fwd_infonce"
    """Critic's loss: a name of crl_jax/losses.py, or c_learning or nce_c_learning of crl_jax/bootstrap.py."""
    twin: bool = False
    """Two critics, both trained; the actor climbs the smaller."""
    target_tau: float = 0.005
    """Step of target networks towards the learned ones, per update: of sac, td3, loss c_learning, nce_c_learning."""
    mask: Literal["none", "same_trajectory", "same_goal"] = "none"
    """Negatives that the critic's loss leaves out: none (as published); goals of the same trajectory; goals within
    mask_radius of the positive."""
    mask_radius: float = 0.1
    """Euclidean distance up to which mask=same_goal takes goals for the same, in units of the goal's scale (0.15 m
    across and 0.1 m up in Meta-World)."""
    logits_chunk: int = 0
    """Rows of the (batch_size, batch_size) logits held at once, a divisor of batch_size; 0: all. Less memory, one more
    pass over the logits; the loss and its gradient are the same."""
    actor_goals: Literal["future", "commanded", "mixed", "half_commanded"] = "future"
    """Goals of the actor's loss: the relabelled future; the task's own; half future and half another trajectory's
    (SGCRL); half future and half the task's own."""
    critic_goal_noise: float = 0.0
    """Standard deviation of Gaussian noise on the goals of the critic's loss, in units of the goal's scale (0.15 m
    across and 0.1 m up in Meta-World): bounds how finely the critic tells episodes apart by where an object stands."""
    actor_average: float = 0.0
    """Decay per update of the running mean of the actor's parameters, which deterministic acting uses; 0: the last."""
    bc_weight: float = 0.0
    """Weight w of behavioural cloning in the actor's loss: (1 - w) * its own + w * -log pi(a|s,g) of the replayed
    action (Stable CRL)."""
    entropy: Literal["auto", "fixed", "none"] = "auto"
    """The actor's entropy bonus: its coefficient learned, fixed at alpha, or none."""
    alpha: float = 0.1
    """Coefficient of entropy=fixed."""
    target_entropy: float = -0.5
    """Target entropy per action dimension of the automatic entropy coefficient."""
    max_grad_norm: float = 0.0
    """Global-norm gradient clipping; 0 is off."""
    lr_half_life: int = 0
    """SGD updates after which the step sizes of critic and actor are half as large; 0: constant."""

    def validate(self) -> None:
        _require(self.method in METHODS, "method", self.method, f"one of {', '.join(METHODS)}")
        _require(0 < self.discount < 1, "discount", self.discount, "must lie strictly between 0 and 1")
        for name in ("critic_lr", "actor_lr", "alpha_lr", "alpha", "mask_radius"):
            _require(getattr(self, name) > 0, name, getattr(self, name), "must be positive")
        _require(0 < self.target_tau <= 1, "target_tau", self.target_tau, "must be above 0 and at most 1")
        _require(0 <= self.bc_weight <= 1, "bc_weight", self.bc_weight, "must lie between 0 and 1")
        masks, entropies = ("none", "same_trajectory", "same_goal"), ("auto", "fixed", "none")
        _require(self.mask in masks, "mask", self.mask, f"one of {', '.join(masks)}")
        _require(self.entropy in entropies, "entropy", self.entropy, f"one of {', '.join(entropies)}")
        _require(0 <= self.actor_average < 1, "actor_average", self.actor_average, "must be at least 0 and below 1")
        kinds = ("future", "commanded", "mixed", "half_commanded")
        _require(self.actor_goals in kinds, "actor_goals", self.actor_goals, f"one of {', '.join(kinds)}")
        for name in ("logsumexp_penalty", "max_grad_norm", "critic_goal_noise", "logits_chunk", "lr_half_life"):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "must be 0 or more")


@dataclass(frozen=True)
class BaselineConfig:
    """What SAC and TD3 learn from: a reward, and hindsight (HER)."""

    reward: Literal["sparse", "negative", "dense"] = "sparse"
    """Of a step: native success as 1 or 0; as 0 or -1 (HER's choice); the official dense reward, 0 to 10."""
    reward_scale: float = 1.0
    """What the reward is multiplied by."""
    her_share: float = 0.0
    """Share of a batch that is relabelled: its goal one that its episode reached later, its reward that goal's; 0: no
    HER."""
    policy_delay: int = 2
    """Updates of TD3's critic per update of its actor and targets."""
    target_noise: float = 0.2
    """Standard deviation of the noise on the actions of TD3's targets."""
    noise_clip: float = 0.5
    """Bound of that noise."""
    exploration_noise: float = 0.1
    """Standard deviation of the noise on TD3's actions while it collects."""

    def validate(self) -> None:
        kinds = ("sparse", "negative", "dense")
        _require(self.reward in kinds, "reward", self.reward, f"one of {', '.join(kinds)}")
        _require(self.reward_scale > 0, "reward_scale", self.reward_scale, "must be positive")
        _require(0 <= self.her_share <= 1, "her_share", self.her_share, "must lie between 0 and 1")
        dense = self.reward == "dense" and self.her_share > 0
        _require(not dense, "her_share", self.her_share, "reward='dense' is no function of goals; take 0, or 'sparse'")
        _require(self.policy_delay >= 1, "policy_delay", self.policy_delay, "must be at least 1")
        for name in ("target_noise", "noise_clip", "exploration_noise"):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "must be 0 or more")


METHODS = ("crl", "sac", "td3")
READERS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("embedding", "logsumexp_penalty", "energy", "loss", "twin", "logits_chunk"), ("crl",)),
    **dict.fromkeys(("mask", "mask_radius", "actor_goals", "critic_goal_noise", "bc_weight"), ("crl",)),
    **dict.fromkeys(("entropy", "alpha"), ("crl",)),
    **dict.fromkeys(("alpha_lr", "target_entropy", "actor_average"), ("crl", "sac")),
    **dict.fromkeys(("reward", "reward_scale", "her_share"), ("sac", "td3")),
    **dict.fromkeys(("policy_delay", "target_noise", "noise_clip", "exploration_noise"), ("td3",)),
}
"""Fields that only some methods read: with another method they keep their default, or are refused."""


@dataclass(frozen=True)
class TrainConfig:
    """The schedule: how much is collected, kept and learned from."""

    total_env_steps: int = 1_000_000
    """Env steps of the run, over all environments, warm-up included; reached or passed, never undershot."""
    unroll_length: int = 62
    """Env steps of every environment per iteration."""
    updates_per_iteration: int = 200
    """SGD updates per iteration of num_envs * unroll_length transitions (128 * 62 / 200 = 1 update per 39.7)."""
    batch_size: int = 256
    """Transitions of an SGD update: one positive and batch_size - 1 negatives per row."""
    distinct_trajectories: bool = False
    """Take no two transitions of a batch from the same trajectory (SGCRL): trajectories uniformly, then a transition of
    each; else transitions uniformly."""
    replay_capacity: int = 999_936
    """Transitions that the ring holds: a multiple of num_envs * unroll_length."""
    min_replay: int = 15_872
    """Transitions of uniformly random actions before the first update; rounded up to whole unrolls."""
    iterations_per_round: int = 4
    """Iterations compiled into one host round trip."""
    devices: int = 1
    """Devices that share environments, ring and batches; each sees the negatives of all."""

    def validate(self, num_envs: int) -> None:
        for name in (f.name for f in dataclasses.fields(self) if f.name != "distinct_trajectories"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "must be at least 1")
        _require(self.unroll_length >= 2, "unroll_length", self.unroll_length, "must be at least 2; nearest: 2")
        rows = num_envs * self.unroll_length
        capacity = self.replay_capacity
        _require(
            capacity >= rows and capacity % rows == 0,
            "replay_capacity",
            capacity,
            f"must be a multiple of num_envs * unroll_length = {rows}; nearest: {nearest_multiples(capacity, rows)}",
        )
        _require(
            2 <= self.batch_size <= capacity,
            "batch_size",
            self.batch_size,
            f"must lie between 2 (a positive and a negative) and replay_capacity = {capacity}",
        )
        _require(
            self.min_replay <= capacity,
            "min_replay",
            self.min_replay,
            f"must not exceed replay_capacity = {capacity}; nearest: {capacity}",
        )
        warm_up = math.ceil(self.min_replay / rows) * rows
        _require(
            self.batch_size <= warm_up,
            "batch_size",
            self.batch_size,
            f"must not exceed the {warm_up} transitions that min_replay={self.min_replay} collects; nearest: {warm_up}",
        )

    def warm_up_unrolls(self, num_envs: int) -> int:
        """Unrolls of random actions before the first update."""
        return math.ceil(self.min_replay / (num_envs * self.unroll_length))


@dataclass(frozen=True)
class ExploreConfig:
    """What is asked of the policy while it collects."""

    behaviour_goals: Literal["commanded", "replay", "mixed", "touch_first", "touch_then_near"] = "commanded"
    """Goals to act towards: the task's; one achieved in the replay ring, new in every episode; that in explore_share of
    the episodes; the object where it lies, hand at it; that, then part of its way."""
    explore_share: float = 0.5
    """Share of episodes with exploratory goals (mixed, touch_first, touch_then_near); the others get the task's."""
    touch_radius: float = 0.05
    """Metres around the object at which the hand's exploratory goal lies."""
    near_radius: float = 0.2
    """Metres around a point of its way to the target where a free object's exploratory goal lies (touch_then_near)."""
    goal_noise: float = 0.0
    """Standard deviation of Gaussian noise on every goal to act towards, one draw for each episode, in units of the
    goal's scale."""
    action_noise: Literal["none", "white", "pink", "ou"] = "none"
    """Noise added to the policy's actions while it collects: independent from step to step; 1/f over an episode; or an
    Ornstein-Uhlenbeck process."""
    action_noise_scale: float = 0.1
    """Standard deviation of action_noise, whatever its kind; actions lie in [-1, 1]."""

    def validate(self) -> None:
        kinds = ("commanded", "replay", "mixed", "touch_first", "touch_then_near")
        _require(self.behaviour_goals in kinds, "behaviour_goals", self.behaviour_goals, f"one of {', '.join(kinds)}")
        noises = ("none", "white", "pink", "ou")
        _require(self.action_noise in noises, "action_noise", self.action_noise, f"one of {', '.join(noises)}")
        _require(0 <= self.explore_share <= 1, "explore_share", self.explore_share, "must lie between 0 and 1")
        for name in ("touch_radius", "near_radius", "goal_noise", "action_noise_scale"):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "must be 0 or more")


@dataclass(frozen=True)
class EvalConfig:
    """Evaluation: fresh starts and goals, native success."""

    eval_every: int = 50_000
    """Env steps between evaluations; rounded up to whole rounds. The last state is always evaluated."""
    eval_episodes: int = 128
    """Episodes of an evaluation, all at once."""
    stochastic_eval: bool = False
    """Sample actions in evaluations instead of taking the policy's mode."""

    def validate(self) -> None:
        for name in ("eval_every", "eval_episodes"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "must be at least 1")


@dataclass(frozen=True)
class RunConfig:
    """What a run leaves behind, and where."""

    seed: int = 0
    """Seed of everything random."""
    runs: str = "runs"
    """Folder of all runs."""
    name: str = ""
    """Folder of this run under `runs`; empty: <task>-s<seed>, numbered when taken."""
    checkpoint_every: int = 200_000
    """Env steps between checkpoints; rounded up to whole rounds. The last state is always kept."""
    keep: int = 2
    """Checkpoints kept."""
    tensorboard: bool = False
    """Write TensorBoard event files."""
    wandb: bool = False
    """Log to Weights & Biases (WANDB_MODE=offline works)."""
    video: bool = True
    """Film the learned policy at the end."""

    def validate(self) -> None:
        _require(0 <= self.seed < 2**31, "seed", self.seed, "must lie in 0 ... 2147483647")
        for name in ("checkpoint_every", "keep"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "must be at least 1")
        _require(
            "/" not in self.name and self.name not in (".", ".."), "name", self.name, "must be a plain folder name"
        )


@dataclass(frozen=True)
class Config:
    """One run."""

    env: EnvConfig = field(default_factory=EnvConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    agent: AgentConfig = field(default_factory=AgentConfig)
    baseline: BaselineConfig = field(default_factory=BaselineConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    explore: ExploreConfig = field(default_factory=ExploreConfig)
    evaluation: EvalConfig = field(default_factory=EvalConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def validate(self) -> Config:
        """This config, or ConfigError naming the first bad field. Compiles nothing, writes nothing."""
        self.env.validate()
        self.network.validate()
        self.agent.validate()
        self.baseline.validate()
        self._check_readers()
        self.train.validate(self.env.num_envs)
        self.explore.validate()
        self.evaluation.validate()
        self.run.validate()
        batch, chunk = self.train.batch_size, self.agent.logits_chunk
        near = nearest_divisors(chunk, batch) if chunk else ""
        _require(not near, "logits_chunk", chunk, f"must divide batch_size = {batch}; nearest: {near}")
        devices = self.train.devices
        shared = {
            "num_envs": self.env.num_envs,
            "batch_size": self.train.batch_size,
            "eval_episodes": self.evaluation.eval_episodes,
        }
        for name, value in shared.items():
            near = nearest_multiples(value, devices)
            _require(value % devices == 0, name, value, f"must be a multiple of devices = {devices}; nearest: {near}")
        return self

    def _check_readers(self) -> None:
        """Refuse what was set for a method that is not the chosen one."""
        method = self.agent.method
        for section in (self.network, self.agent, self.baseline):
            for leaf in dataclasses.fields(section):
                value, readers = getattr(section, leaf.name), READERS.get(leaf.name, METHODS)
                wanted = f"method={method!r} does not read it; take {leaf.default!r}, or method {' or '.join(readers)}"
                _require(method in readers or value == leaf.default, leaf.name, value, wanted)

    def env_steps_per_iteration(self) -> int:
        """Transitions that one iteration collects."""
        return self.env.num_envs * self.train.unroll_length

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values, for config.json."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Config:
        """The inverse of `to_dict`.

        Raises:
            ConfigError: an unknown or missing field (a config of another version).
        """
        try:
            parts = {part.name: part.default_factory for part in dataclasses.fields(cls)}
            return cls(**{name: parts[name](**fields) for name, fields in values.items()})  # type: ignore[operator]
        except (KeyError, TypeError) as error:
            raise ConfigError(f"config.json does not fit this version: {error}") from error


def differences(old: Config, new: Config, ignore: Iterable[str] = ()) -> list[str]:
    """`field: old -> new` of every field that differs, but for those in `ignore`."""
    ignore = set(ignore)
    found = []
    for part in dataclasses.fields(Config):
        before, after = getattr(old, part.name), getattr(new, part.name)
        for leaf in dataclasses.fields(before):
            values = getattr(before, leaf.name), getattr(after, leaf.name)
            if values[0] != values[1] and leaf.name not in ignore:
                found.append(f"{leaf.name}: {values[0]!r} -> {values[1]!r}")
    return found


def with_overrides(config: Config, **changes: Any) -> Config:
    """`config` with leaf fields replaced by name, wherever they are nested.

    Raises:
        TypeError: a name that is no field.
    """
    for part in dataclasses.fields(Config):
        section = getattr(config, part.name)
        mine = {field.name: changes.pop(field.name) for field in dataclasses.fields(section) if field.name in changes}
        config = dataclasses.replace(config, **{part.name: dataclasses.replace(section, **mine)})
    if changes:
        raise TypeError(f"no such field: {', '.join(changes)}")
    return config
