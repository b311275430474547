"""`envs_mjx.adaptors.brax` under its first name, so that scripts written for version 0.1 keep working."""

from envs_mjx.adaptors.brax import AGENTS, BraxEnv, train, wrap

__all__ = ["AGENTS", "BraxEnv", "train", "wrap"]
