"""Presets of docs/experiments/presets.md: `metaworld_cpu` without one ingredient after another."""

from __future__ import annotations

from crl_jax.config import Config, with_overrides


def ablations_of(full: Config) -> dict[str, Config]:
    """Name -> preset; each takes something away from the one before, the first from `full`."""
    # A decision at every env step, and exploratory places on the straight way to the target.
    steps = with_overrides(
        full,
        action_repeat=1,
        control="hold",
        discount=0.98,
        near_steps=25,
        near_height=0.0,
        unroll_length=62,
        replay_capacity=2_999_808,
        min_replay=15_872,
    )
    # Goals state the hand's place in the room; two layers of 256 instead of four of 128.
    hand = with_overrides(steps, goal="hand_object", width=256, critic_depth=2, actor_depth=2)
    # Goals lie further ahead, an episode asks for one place of the object, the ring holds a million steps.
    far = with_overrides(
        hand, discount=0.99, near_steps=0, total_env_steps=1_500_000, replay_capacity=999_936, eval_every=50_000
    )
    # No noise on the critic's goals, so that the critic tells episodes apart to the millimetre.
    sharp = with_overrides(far, critic_goal_noise=0.0)
    return {
        "metaworld_cpu_steps": steps,
        "metaworld_cpu_hand": hand,
        "metaworld_cpu_99": far,
        "metaworld_cpu_sharp": sharp,
    }
