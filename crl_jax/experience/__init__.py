"""Collection, storage and sampling of training data.

In the order of data flow: `rollout.py` (act and step), with the goals of `explore.py` and the noise of `noise.py`;
`buffer.py` (the replay ring on the device); `relabel.py` (future goals); `rewards.py` (for the methods that need one).
"""

from crl_jax.experience import buffer, rewards
from crl_jax.experience.explore import behaviour_goal
from crl_jax.experience.noise import noisy
from crl_jax.experience.relabel import truncated_geometric
from crl_jax.experience.rollout import agent_policy, random_policy

__all__ = [
    "agent_policy",
    "behaviour_goal",
    "buffer",
    "noisy",
    "random_policy",
    "rewards",
    "truncated_geometric",
]
