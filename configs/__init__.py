"""Named presets: values only. `PRESETS[name]` is a whole `Config`; `crl train TASK --preset NAME` starts from it."""

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
    # A laptop's minute: reach on 2 CPU cores.
    "reach_cpu": Config(
        env=EnvConfig(task="reach", num_envs=128),
        network=_SMALL,
        agent=AgentConfig(alpha_lr=3e-3, actor_average=0.998),
        train=TrainConfig(total_env_steps=250_000),
        evaluation=EvalConfig(eval_every=30_000),
    ),
    # Point mazes on a CPU: a small network, 1 update per 9.9 transitions, noise that keeps its direction for some
    # steps, half of the actor's goals those that the episodes were asked for.
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
    # Manipulation on a few CPU cores: 1 update per 39.7 transitions, larger steps than on a GPU, goals that make the
    # hand touch the object first, and say where it is as seen from an object that can be put anywhere, half of the
    # actor's goals those that the episodes were asked for, a critic that resolves no finer than 5 mm, and a ring that
    # keeps every step.
    "metaworld_cpu": Config(
        env=EnvConfig(task="push", num_envs=128, goal="auto"),
        network=NetworkConfig(width=128, critic_depth=4, actor_depth=4),
        agent=dataclasses.replace(_AGENT, critic_lr=1e-3, actor_lr=1e-3, alpha_lr=3e-3),
        explore=_TOUCH,
        train=TrainConfig(total_env_steps=3_000_000, replay_capacity=2_999_808),
        evaluation=EvalConfig(eval_every=100_000),
    ),
    # Ant in the open on a few CPU cores, MuJoCo's C engine: the schedule of metaworld_cpu and JaxGCRL's learner, with
    # larger steps and the networks of metaworld_cpu. Episodes of 1,000 steps make evaluations dear.
    "ant_cpu": Config(
        env=EnvConfig(task="ant", num_envs=128, physics="c"),
        network=NetworkConfig(width=128, critic_depth=4, actor_depth=4),
        agent=AgentConfig(critic_lr=1e-3, actor_lr=1e-3, alpha_lr=3e-3, actor_average=0.999),
        train=TrainConfig(total_env_steps=8_000_000, replay_capacity=2_999_808, min_replay=126_976),
        evaluation=EvalConfig(eval_every=250_000, eval_episodes=64),
    ),
    # The schedule of JaxGCRL and of the scaling paper (512 envs x 62 steps, 800 updates of 512) with the goals of
    # metaworld_cpu. Not yet run on a GPU.
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

# Tasks one after another on a CPU (`crl continual`): metaworld_cpu scored with the last parameters, with a ring for one
# task's steps.
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
