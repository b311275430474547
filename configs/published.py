"""Presets of published methods. Each states its source, and where the preset departs from it.

Departures that all presets share: networks are initialised as in JaxGCRL (except with `cold_init`); the policy is
JaxGCRL's tanh-Gaussian with log_std in [-5, 2]; inputs are normalised by fixed scales; Adam's epsilon is 1e-8;
environments, episodes and goal contracts are those of this package; evaluation takes deterministic actions.
"""

from __future__ import annotations

from crl_jax.config import (
    AgentConfig,
    Config,
    EnvConfig,
    EvalConfig,
    NetworkConfig,
    RunConfig,
    TrainConfig,
    with_overrides,
)

# "Accelerating Goal-Conditioned RL Algorithms and Research" (arXiv:2408.11052), defaults of its code
# (agents/crl/crl.py, utils/config.py): 2 x 256 swish without LayerNorm, forward InfoNCE + .1 logsumexp^2, norm, 256
# envs x 62 steps, then 256 * 1000 / 256 = 1,000 updates of batch 256 (1 update per 15.9 transitions), 10,000 rows of
# replay per environment.
# Departures: 9,982 rows, a multiple of 62; transitions are drawn uniformly with replacement, where JaxGCRL makes a
# shuffled pass over 1,000 rows of every environment; ant's episodes have this package's length, not 1,001 steps.
JAXGCRL = Config(
    env=EnvConfig(task="ant", num_envs=256),
    network=NetworkConfig(width=256, critic_depth=2, actor_depth=2, layer_norm=False),
    train=TrainConfig(
        total_env_steps=50_000_000,
        updates_per_iteration=1_000,
        replay_capacity=2_555_392,
        min_replay=256_000,
        iterations_per_round=8,
    ),
    evaluation=EvalConfig(eval_every=250_000, eval_episodes=256),
    run=RunConfig(checkpoint_every=5_000_000),
)

# "1000 Layer Networks for Self-Supervised RL" (arXiv:2503.14858), the command of its README and the defaults of its
# train.py: depth 16 (or more), width 256, LayerNorm, swish, 512 envs x 62 steps, 800 updates of batch 512, 100 M env
# steps. Departures: the default task is ant, where the README trains humanoid; 9,982 rows of replay per environment,
# not 10,000; transitions are drawn uniformly with replacement, as in the preset jaxgcrl.
SCALING_CRL = Config(
    env=EnvConfig(task="ant", num_envs=512, allow_cpu=False),
    network=NetworkConfig(width=256, critic_depth=16, actor_depth=16),
    train=TrainConfig(
        total_env_steps=100_000_000,
        updates_per_iteration=800,
        batch_size=512,
        replay_capacity=5_110_784,
        min_replay=512_000,
        iterations_per_round=8,
    ),
    evaluation=EvalConfig(eval_every=1_000_000),
    run=RunConfig(checkpoint_every=5_000_000),
)

# The deepest networks of the same paper: phi and psi of 1,024 layers, the actor of 512 (the paper's deeper actors did
# not train). Departures: the output of every block is scaled by 1 / sqrt(blocks), because without this factor phi
# learns nothing in its first 100 updates (benchmarks/gradient_norms.py); the backward pass recomputes the blocks.
SCALING_1024 = with_overrides(SCALING_CRL, critic_depth=1024, actor_depth=512, residual_scale="depth", remat=True)

# "A Single Goal is All You Need" (arXiv:2408.05804), contrastive_cpc of its code (contrastive/config.py, learning.py):
# dot product of ReLU 256-256-64, InfoNCE + .01 logsumexp^2, the actor's goals half future and half another
# trajectory's, no entropy bonus, one update of batch 256 per env step, a million transitions of replay.
# Departures: 16 environments step at once, not 4 processes; the trajectories of a batch are strictly distinct (SGCRL
# draws them with replacement), which needs 39,680 random transitions before the first update, not 10,000; the actor's
# loss takes 128 goals of each kind, not 256. Not copied: SGCRL's Glorot-uniform initialisers, and its policy's std, a
# softplus with minimum 1e-6.
SGCRL = Config(
    env=EnvConfig(task="sawyer_bin", num_envs=16),
    network=NetworkConfig(width=256, critic_depth=2, actor_depth=2, embedding=64, layer_norm=False, activation="relu"),
    agent=AgentConfig(energy="dot", logsumexp_penalty=0.01, actor_goals="mixed", entropy="none"),
    train=TrainConfig(
        total_env_steps=8_000_000, updates_per_iteration=992, min_replay=39_680, distinct_trajectories=True
    ),
    evaluation=EvalConfig(eval_every=100_000),
)

# "Contrastive Learning as Goal-Conditioned RL" (arXiv:2206.07568), contrastive_nce of google-research's contrastive_rl
# (lp_contrastive.py, contrastive/config.py), on which SGCRL's code builds: binary NCE, a new goal in each episode, 1 M
# env steps. Departures: those of SGCRL; its task sawyer_window is Meta-World's window-close here, and a goal holds the
# positions of hand and handle.
CONTRASTIVE_NCE = with_overrides(SGCRL, task="window-close", loss="binary_nce", total_env_steps=1_000_000)

# C-Learning (arXiv:2011.08909) as google-research's contrastive_rl trains it (use_td, twin_q; tau .005, weights clipped
# at 20).
# Departures: those of contrastive_nce.
C_LEARNING = with_overrides(CONTRASTIVE_NCE, loss="c_learning", twin=True)

# "Stabilizing Contrastive RL" (arXiv:2306.03346), train_eval_stable_contrastive_rl.py of its code: dot product of ReLU
# 4 x 1024 with LayerNorm except after the last hidden layer, embeddings of 64 numbers, cold start, batch 2,048, the
# smaller of two critics, no entropy bonus, .05 behavioural cloning, C-learning with tau .005.
# Departures: learning is online and from states, one update per env step, where the source learns from images of an
# offline set of a million transitions (`--data DATA --offline` learns so here; pictures: stable_crl_pixels); embeddings
# have 64 numbers as in the user's table of settings, 16 in that code; its 4 hidden layers become a stem and
# a residual block of four layers; the policy's std is learned, not fixed at .15; the task is push, in place of the
# source's scene of a drawer and boxes.
STABLE_CRL_C = Config(
    env=EnvConfig(task="push", num_envs=32),
    network=NetworkConfig(
        width=1024,
        critic_depth=4,
        actor_depth=4,
        embedding=64,
        skip_last_norm=True,
        cold_init=True,
        activation="relu",
    ),
    agent=AgentConfig(energy="dot", loss="c_learning", twin=True, bc_weight=0.05, entropy="none"),
    train=TrainConfig(updates_per_iteration=1_984, batch_size=2_048, min_replay=4_000),
)

# The same with the Monte Carlo loss (use_td=False): binary NCE. Departure: in the source, all negatives of a row
# together weigh as much as its positive. `--loss fwd_infonce` gives the InfoNCE variant.
STABLE_CRL_NCE = with_overrides(STABLE_CRL_C, loss="binary_nce")

# The same from pictures: 64 x 64, convolutions of 32, 64 and 64 channels, random crop by 4 pixels.
# Departures: as above; phi and psi have convolutions of their own, and the actor reads state and goal as six channels
# (the source shares one encoder); borders of the convolutions are padded. Not yet run: made for a GPU.
STABLE_CRL_PIXELS = with_overrides(STABLE_CRL_NCE, obs="pixels", crop=4, replay_capacity=249_984, allow_cpu=False)

PUBLISHED: dict[str, Config] = {
    "jaxgcrl": JAXGCRL,
    "scaling_crl": SCALING_CRL,
    "scaling_1024": SCALING_1024,
    "sgcrl": SGCRL,
    "contrastive_nce": CONTRASTIVE_NCE,
    "c_learning": C_LEARNING,
    "stable_crl_nce": STABLE_CRL_NCE,
    "stable_crl_c": STABLE_CRL_C,
    "stable_crl_pixels": STABLE_CRL_PIXELS,
}
