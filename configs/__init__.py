"""Named presets. `PRESETS[name]` is a complete `Config`; `crl train TASK --preset NAME` starts from this config."""

from __future__ import annotations

import dataclasses

from crl_jax.config import (
    AgentConfig,
    Config,
    EnvConfig,
    EvalConfig,
    ExploreConfig,
    NetworkConfig,
    RunConfig,
    TrainConfig,
    with_overrides,
)

from .ablations import ablations_of
from .baselines import BASELINES
from .published import PUBLISHED

_SMALL = NetworkConfig(width=256, critic_depth=2, actor_depth=2)
_AGENT = AgentConfig(discount=0.98, actor_average=0.999, actor_goals="half_commanded", critic_goal_noise=0.03)
_TOUCH = ExploreConfig(
    behaviour_goals="touch_then_near", explore_share=0.5, touch_radius=0.03, near_radius=0.05, near_steps=25
)

PRESETS: dict[str, Config] = {
    # Reach on 2 CPU cores: about a minute on a laptop.
    "reach_cpu": Config(
        env=EnvConfig(task="reach", num_envs=128),
        network=_SMALL,
        agent=AgentConfig(alpha_lr=3e-3, actor_average=0.998),
        train=TrainConfig(total_env_steps=250_000),
        evaluation=EvalConfig(eval_every=30_000),
    ),
    # Point mazes on a CPU: a small network and 1 update per 9.9 transitions. The action noise is correlated in time.
    # Half of the goals in the actor's loss are commanded goals.
    "point_cpu": Config(
        env=EnvConfig(task="point_Spiral11x11", num_envs=128),
        network=NetworkConfig(width=128, critic_depth=2, actor_depth=2),
        agent=AgentConfig(
            critic_lr=1e-3, actor_lr=1e-3, alpha_lr=3e-3, actor_goals="half_commanded", actor_average=0.999
        ),
        explore=ExploreConfig(action_noise="ou", action_noise_scale=0.7),
        train=TrainConfig(total_env_steps=500_000, min_replay=63_488, updates_per_iteration=800),
        evaluation=EvalConfig(eval_every=30_000),
    ),
    # Manipulation on a few CPU cores, one preset for all 50 tasks. The policy decides every five env steps; unroll,
    # ring, near_steps and discount count decisions (0.904 is 0.98 ^ 5). 1 update per 38.4 env steps, and higher
    # learning rates than on a GPU. Behaviour goals make the hand touch the object first. An object that the hand holds
    # is then asked for up to 15 cm above its way. If the object is free, goals give the hand's position relative to it.
    # Half of the goals in the actor's loss are commanded goals. Noise on its goals limits the critic's resolution to
    # about 5 mm. The ring holds three million env steps. Actions are held; for basketball and lever-pull they name a
    # place (`TaskSpec.control`).
    "metaworld_cpu": Config(
        env=EnvConfig(task="push", num_envs=128, goal="auto", action_repeat=5, control="auto"),
        network=NetworkConfig(width=128, critic_depth=4, actor_depth=4),
        agent=dataclasses.replace(_AGENT, discount=0.904, critic_lr=1e-3, actor_lr=1e-3, alpha_lr=3e-3),
        explore=dataclasses.replace(_TOUCH, near_steps=5, near_height=0.15),
        train=TrainConfig(total_env_steps=3_000_000, unroll_length=12, replay_capacity=600_576, min_replay=3_072),
        evaluation=EvalConfig(eval_every=100_000),
    ),
    # Ant without a maze on a few CPU cores, MuJoCo's C engine: JaxGCRL's learner, with the schedule, the networks and
    # the higher learning rates of metaworld_cpu. Evaluations are rare because episodes of 1,000 env steps are slow.
    "ant_cpu": Config(
        env=EnvConfig(task="ant", num_envs=128, physics="c"),
        network=NetworkConfig(width=128, critic_depth=4, actor_depth=4),
        agent=AgentConfig(critic_lr=1e-3, actor_lr=1e-3, alpha_lr=3e-3, actor_average=0.999),
        train=TrainConfig(total_env_steps=8_000_000, replay_capacity=2_999_808, min_replay=126_976),
        evaluation=EvalConfig(eval_every=250_000, eval_episodes=64),
    ),
    # The schedule of JaxGCRL and of the scaling paper (512 envs, 800 updates of 512 transitions per 31,744 env steps),
    # with the decisions and goals of metaworld_cpu: 12 decisions, 60 env steps. Not yet run on a GPU.
    "metaworld_gpu": Config(
        env=EnvConfig(task="push", num_envs=512, goal="auto", action_repeat=5, control="auto", allow_cpu=False),
        network=NetworkConfig(width=256, critic_depth=4, actor_depth=4),
        agent=dataclasses.replace(_AGENT, discount=0.904),
        explore=dataclasses.replace(_TOUCH, near_steps=5, near_height=0.15),
        train=TrainConfig(
            total_env_steps=20_000_000,
            unroll_length=12,
            updates_per_iteration=774,
            batch_size=512,
            replay_capacity=1_996_800,
            min_replay=24_576,
            iterations_per_round=8,
        ),
        evaluation=EvalConfig(eval_every=1_000_000, eval_episodes=512),
        run=RunConfig(checkpoint_every=5_000_000),
    ),
}

# metaworld_cpu with actions that name the place where the hand shall go, for every task: a comparison
# (docs/experiments/presets.md).
PRESETS["metaworld_cpu_waypoint"] = with_overrides(PRESETS["metaworld_cpu"], control="waypoint")

# One policy for the ten tasks of MT10, 16 environments each; wider networks, as many updates for an env step. Also for
# any other tasks at once (`crl train mt50`): 160 environments become the next multiple of their number.
PRESETS["mt10_cpu"] = with_overrides(
    PRESETS["metaworld_cpu"],
    task="mt10",
    num_envs=160,
    width=256,
    total_env_steps=5_000_000,
    updates_per_iteration=250,
    replay_capacity=768_000,
    min_replay=3_840,
    eval_episodes=160,
    eval_every=200_000,
)

# Fetch on a few CPU cores: metaworld_cpu with a decision every two env steps, 80 ms, and a preset of its own because
# an episode has 25 decisions. The ring holds 1.2 million env steps.
PRESETS["fetch_cpu"] = with_overrides(
    PRESETS["metaworld_cpu"],
    task="FetchPush",
    action_repeat=2,
    near_steps=4,
    total_env_steps=1_000_000,
    eval_every=50_000,
)

# The point mazes of Gymnasium-Robotics on a few CPU cores: point_cpu with a decision every five env steps of 10 ms.
PRESETS["pointmaze_cpu"] = with_overrides(
    PRESETS["point_cpu"],
    task="PointMaze_UMaze",
    action_repeat=5,
    discount=0.96,
    unroll_length=12,
    updates_per_iteration=200,
    replay_capacity=600_576,
    min_replay=12_288,
    total_env_steps=1_000_000,
    eval_every=50_000,
)

# From pictures alone, on a few CPU cores, with small networks and batches. Random crop and cold start, which
# "Stabilizing Contrastive RL" (preset stable_crl_pixels) found to matter in long trainings, are left out: within 25,600
# env steps the crop gains nothing, and with cold start the critic does not begin (docs/experiments/robotics.md).
PRESETS["pixels_cpu"] = Config(
    env=EnvConfig(task="FetchReach", num_envs=64, obs="pixels"),
    network=NetworkConfig(width=128, critic_depth=2, actor_depth=2, channels=32),
    agent=AgentConfig(discount=0.9, alpha_lr=1e-2, actor_goals="mixed", actor_average=0.997),
    train=TrainConfig(
        total_env_steps=100_000,
        unroll_length=5,
        updates_per_iteration=24,
        batch_size=128,
        replay_capacity=40_000,
        min_replay=3_200,
        iterations_per_round=10,
    ),
    evaluation=EvalConfig(eval_every=6_400, eval_episodes=64, until=0.9),
    run=RunConfig(checkpoint_every=50_000, keep=1),
)

PRESETS |= BASELINES | PUBLISHED

PRESETS |= ablations_of(PRESETS["metaworld_cpu"])

# Tasks one after another on a CPU (`crl continual`): metaworld_cpu, but evaluated with the last parameters instead of
# their running mean. The ring holds the env steps of one task.
_ONE_TASK = {
    "actor_average": 0.0,
    "total_env_steps": 400_000,
    "eval_every": 50_000,
    "eval_episodes": 64,
    "checkpoint_every": 100_000,
}
PRESETS["continual_cpu"] = with_overrides(PRESETS["metaworld_cpu"], **_ONE_TASK, replay_capacity=81_408)
PRESETS["continual_cpu_steps"] = with_overrides(PRESETS["metaworld_cpu_steps"], **_ONE_TASK, replay_capacity=404_736)
