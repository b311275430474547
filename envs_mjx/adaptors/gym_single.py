"""One environment for `gymnasium.make("crl_jax/push-v3")`."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium
import jax
import numpy as np
from gymnasium.vector import AutoresetMode

from envs_mjx.adaptors.gym import GoalVectorEnv


class GoalGymEnv(gymnasium.Env):
    """`GoalVectorEnv` with one environment, without its leading axis. Arguments as there, but `num_envs`.

    Many environments step faster together: `gymnasium.make_vec`.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 80}

    def __init__(self, task: str, **settings: Any) -> None:
        self.batch = GoalVectorEnv(task, 1, autoreset_mode=AutoresetMode.DISABLED, **settings)
        self.render_mode = self.batch.render_mode
        self.metadata = self.metadata | {"render_fps": self.batch.metadata["render_fps"]}  # type: ignore[misc]
        self.observation_space = self.batch.single_observation_space
        self.action_space = self.batch.single_action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; `seed` and `options["vector"]` (R,) as in `GoalVectorEnv.reset`."""
        super().reset(seed=seed)
        if options and "vector" in options:
            options = options | {"vector": np.asarray(options["vector"])[None]}
        obs, info = self.batch.reset(seed=seed, options=options)
        return _only(obs), _info(info)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One step by `action` (A,). After a truncation `reset` must come first."""
        obs, reward, terminated, truncated, info = self.batch.step(np.asarray(action)[None])
        return _only(obs), float(reward[0]), bool(terminated[0]), bool(truncated[0]), _info(info)

    def render(self) -> np.ndarray | None:
        """(H, W, 3) uint8 picture; None without a render mode."""
        pictures = self.batch.render()
        return None if pictures is None else pictures[0]

    def compute_reward(self, achieved_goal: Any, desired_goal: Any, info: Any = None) -> Any:
        """See `GoalVectorEnv.compute_reward`."""
        return self.batch.compute_reward(achieved_goal, desired_goal, info)

    def close(self) -> None:
        """Release the state of the simulation."""
        self.batch.close()


def _only(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[0], tree)


def _info(info: dict[str, Any]) -> dict[str, Any]:
    """The entries that hold for the environment, without their masks."""
    return {name: value[0] for name, value in info.items() if not name.startswith("_") and info[f"_{name}"][0]}
