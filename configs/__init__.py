"""Named presets. `PRESETS[name]` is a complete `Config`; `crl train TASK --preset NAME` starts from this config."""

from __future__ import annotations

import dataclasses

from configs.ablations import ablations_of
from configs.baselines import BASELINES
from configs.published import PUBLISHED
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
    # Manipulation on a few CPU cores: 1 update per 39.7 transitions, and higher learning rates than on a GPU. Behaviour
    # goals make the hand touch the object first. If the object is free, goals give the hand's position relative to it.
    # Half of the goals in the actor's loss are commanded goals. Noise on its goals limits the critic's resolution to
    # about 5 mm. The ring keeps every env step.
    "metaworld_cpu": Config(
        env=EnvConfig(task="push", num_envs=128, goal="auto"),
        network=NetworkConfig(width=128, critic_depth=4, actor_depth=4),
        agent=dataclasses.replace(_AGENT, critic_lr=1e-3, actor_lr=1e-3, alpha_lr=3e-3),
        explore=_TOUCH,
        train=TrainConfig(total_env_steps=3_000_000, replay_capacity=2_999_808),
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
    # The schedule of JaxGCRL and of the scaling paper (512 envs x 62 steps, then 800 updates of 512 transitions), with
    # the goals of metaworld_cpu. Not yet run on a GPU.
    "metaworld_gpu": Config(
        env=EnvConfig(task="push", num_envs=512, goal="auto"),
        network=NetworkConfig(width=256, critic_depth=4, actor_depth=4),
        agent=_AGENT,
        explore=_TOUCH,
        train=TrainConfig(
            total_env_steps=20_000_000,
            updates_per_iteration=800,
            batch_size=512,
            replay_capacity=9_999_360,
            min_replay=126_976,
            iterations_per_round=8,
        ),
        evaluation=EvalConfig(eval_every=1_000_000, eval_episodes=512),
        run=RunConfig(checkpoint_every=5_000_000),
    ),
}

PRESETS |= BASELINES | PUBLISHED

# Tasks one after another on a CPU (`crl continual`): metaworld_cpu, but evaluated with the last parameters instead of
# their running mean. The ring holds the env steps of one task.
PRESETS["continual_cpu"] = with_overrides(
    PRESETS["metaworld_cpu"],
    actor_average=0.0,
    total_env_steps=400_000,
    replay_capacity=404_736,
    eval_every=50_000,
    eval_episodes=64,
    checkpoint_every=100_000,
)

PRESETS |= ablations_of(PRESETS["metaworld_cpu"])
