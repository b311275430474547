"""The official dense V2 reward of every Meta-World task, as pure functions of batched readouts.

    spec = REWARDS["push"]
    memory = spec.remember(Start(...))       # at every reset
    reward, memory = spec(Step(...))         # after every env step; reward (E,) in [0, 10]

Ported from the official package (metaworld/envs/sawyer_*_v3.py), quirks included.

Accuracy: within 1e-5 of the official reward, except where the official formula is ill-conditioned. Positions reach a
reward in float32, up to 3e-8 m off, and some formulas divide by a margin that can be near zero. For example,
`_gripper_caging_reward` divides by ||pad_y - obj_init_y| - 0.05|; where this margin vanishes, the value jumps from 0.1
to 1. On 7 of 30,000 recorded steps (push 4; sweep, door-open and dial-turn 1 each) the float32 value is 1e-5 to 9e-5
off. On those steps the official float64 formula itself moves by 3e-5 to 1.6e-3 when its input positions move by one
float32 ulp (6e-8 m), a slope of 600 to 27,000 per metre (tests/envs_mjx/metaworld/test_rewards.py). A smaller error
would need positions finer than float32 in every formula.
"""

from __future__ import annotations

from envs_mjx.metaworld.rewards.base import Memory, Reading, RewardSpec, Start, Step
from envs_mjx.metaworld.rewards.mechanisms import MECHANISMS
from envs_mjx.metaworld.rewards.objects import OBJECTS
from envs_mjx.metaworld.rewards.tools import TOOLS

__all__ = ["REWARDS", "Memory", "Reading", "RewardSpec", "Start", "Step"]

REWARDS: dict[str, RewardSpec] = OBJECTS | MECHANISMS | TOOLS
"""Task name -> its reward."""
