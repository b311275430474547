"""The official dense V2 reward of every Meta-World task, as pure functions of batched readouts.

    spec = REWARDS["push"]
    memory = spec.remember(Start(...))       # at every reset
    reward, memory = spec(Step(...))         # after every env step; reward (E,) in [0, 10]

Ported from the official package (metaworld/envs/sawyer_*_v3.py), quirks included.

How exact: to 1e-5 but where the official formula is ill-conditioned. Positions reach a reward in float32, up to 3e-8 m
off, and some formulas divide by a margin that can be near zero: `_gripper_caging_reward` by
||pad_y - obj_init_y| - 0.05|, beside which its value jumps from 0.1 to 1. On 7 of 30,000 recorded steps (push 4; sweep,
door-open and dial-turn 1 each) the float32 value is 1e-5 to 9e-5 off; there the official float64 formula moves by
3e-5 to 1.6e-3 when the positions that it reads move by one float32 ulp (6e-8 m), by 600 to 27,000 per metre
(tests/test_rewards.py). To be nearer, positions finer than float32 would have to go through every formula.
"""

from __future__ import annotations

from envs_mjx.metaworld.rewards.base import Memory, Reading, RewardSpec, Start, Step
from envs_mjx.metaworld.rewards.mechanisms import MECHANISMS
from envs_mjx.metaworld.rewards.objects import OBJECTS
from envs_mjx.metaworld.rewards.tools import TOOLS

__all__ = ["REWARDS", "Memory", "Reading", "RewardSpec", "Start", "Step"]

REWARDS: dict[str, RewardSpec] = OBJECTS | MECHANISMS | TOOLS
"""Task name -> its reward."""
