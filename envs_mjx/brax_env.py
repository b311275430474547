"""Alias of `envs_mjx.adaptors.brax` at its import path of version 0.1, so that old scripts keep working."""

from envs_mjx.adaptors.brax import AGENTS, BraxEnv, train, wrap

__all__ = ["AGENTS", "BraxEnv", "train", "wrap"]
