"""The official dense V2 reward of every Meta-World task, as pure functions of batched readouts.

    spec = REWARDS["push"]
    memory = spec.remember(Start(...))       # at every reset
    reward, memory = spec(Step(...))         # after every env step; reward (E,) in [0, 10]

Ported from the official package (metaworld/envs/sawyer_*_v3.py), quirks included.
"""

from __future__ import annotations

from envs_mjx.rewards.base import Memory, Reading, RewardSpec, Start, Step
from envs_mjx.rewards.mechanisms import MECHANISMS
from envs_mjx.rewards.objects import OBJECTS
from envs_mjx.rewards.tools import TOOLS

__all__ = ["REWARDS", "Memory", "Reading", "RewardSpec", "Start", "Step"]

REWARDS: dict[str, RewardSpec] = OBJECTS | MECHANISMS | TOOLS
"""Task name -> its reward."""
