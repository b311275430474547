"""Bridge to the official Meta-World package: its environments, its 39-value observation, its scripted policies.

The package is imported inside the functions, never by `import envs_mjx`.

Axis letters: E environments, N official environments stepped together, D observation, G goal, R reset vector, A action.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import jax
import mujoco
import numpy as np

from envs_mjx.base import EnvError, GoalEnv
from envs_mjx.control import HOLD, Control
from envs_mjx.metaworld.env import MetaWorld
from envs_mjx.metaworld.observation import OBS_SIZE, observation
from envs_mjx.metaworld.tasks import TASKS
from envs_mjx.physics.base import PhysicsState, read_data

__all__ = [
    "OBS_SIZE",
    "import_metaworld",
    "make_official",
    "observation",
    "scripted_actions",
    "scripted_policy",
    "set_vector",
    "zero_shot",
]

_EVERY_PATH = 10**9


def import_metaworld() -> Any:
    """The official package, patched to run on MuJoCo 3.17.

    In metaworld 3.0.0, `SawyerMocapBase.reset_mocap_welds` assigns 11 values to a row of `eq_data`. Rows have 12 values
    since MuJoCo 3.17, so the assignment raises ValueError. The patch writes the same 11 values; the 12th keeps its
    default.
    """
    import metaworld
    from metaworld.sawyer_xyz_env import SawyerMocapBase

    def reset_mocap_welds(self: Any) -> None:
        welds = self.model.eq_type == mujoco.mjtEq.mjEQ_WELD
        self.model.eq_data[welds, :11] = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 5.0)

    SawyerMocapBase.reset_mocap_welds = reset_mocap_welds
    return metaworld


def make_official(
    task_name: str, vector: np.ndarray | None = None, seed: int = 0, max_path_length: int = _EVERY_PATH
) -> Any:
    """The official environment of a task, its goal visible in the observation; call `reset` before `step`.

    Args:
        task_name: a name of `TASKS`, without "-v3".
        vector: (R,) official reset vector of every episode, metres; None draws a new vector at each reset.
        seed: seed of the drawn reset vectors and of `action_space`.
        max_path_length: env steps after which an episode is truncated and `step` raises.

    Raises:
        EnvError: unknown task.
    """
    if task_name not in TASKS:
        raise EnvError(f"task={task_name!r}: no such task; one of {', '.join(TASKS)}")
    import_metaworld()
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS

    env = ALL_V3_ENVIRONMENTS[TASKS[task_name].official]()
    env._partially_observable = False
    del env.sawyer_observation_space  # A cached property, made while the goal was still hidden.
    env.observation_space = env.sawyer_observation_space
    env._set_task_called = True
    env.max_path_length = max_path_length
    env.seed(seed)
    env.seeded_rand_vec = True
    set_vector(env, vector)
    return env


def set_vector(env: Any, vector: np.ndarray | None) -> None:
    """Fix the reset vector (R,) of an official environment; None draws a new vector at each reset."""
    env._freeze_rand_vec = vector is not None
    env._last_rand_vec = None if vector is None else np.asarray(vector, np.float64)


def scripted_policy(task_name: str) -> Any:
    """The official scripted policy: `get_action(obs (39,)) -> (4,)`, to be clipped to [-1, 1].

    Some policies (door-open) write into their argument: pass a copy if the observation is used again.
    """
    import_metaworld()
    from metaworld.policies import ENV_POLICY_MAP

    return ENV_POLICY_MAP[TASKS[task_name].official]()


def scripted_actions(policy: Any, obs: Any) -> np.ndarray:
    """(E, 39) official observations -> (E, 4) float32 actions of `scripted_policy` in [-1, 1]; copies `obs`."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Constant.s. may be too high")
        actions = [policy.get_action(row) for row in np.array(obs, np.float64)]
    return np.clip(actions, -1, 1).astype(np.float32)


def zero_shot(
    env: GoalEnv,
    act: Callable[[Any, Any], Any],
    episodes: int,
    horizon: int,
    seed: int,
    action_repeat: int = 1,
    control: Control = HOLD,
    num_envs: int = 10,
) -> dict[str, float]:
    """Success of a policy in the official package, on its own resets and by its own `info["success"]`.

    Args:
        env: our environment of the task, with any `num_envs`. It defines obs and goal; its engine is not run.
        act: (obs (N, D), goal (N, G)) -> actions (N, 4); called once per decision of N official environments.
        episodes: number of episodes that count; the last round of N may run a few more.
        horizon: env steps of an episode.
        action_repeat: env steps of a decision. control: how its action becomes theirs.
        num_envs: upper bound of N.

    Returns:
        success_any: share of episodes with success at any step; success_final: at the last step; episodes.

    Raises:
        EnvError: env is not a Meta-World task, or bad numbers.
    """
    if not isinstance(env, MetaWorld):
        raise EnvError("official: the package has the tasks of Meta-World only")
    if min(episodes, horizon, num_envs, action_repeat) < 1:
        told = f"episodes={episodes}, horizon={horizon}, num_envs={num_envs}, action_repeat={action_repeat}"
        raise EnvError(f"{told}: all must be at least 1")
    count = min(num_envs, episodes)
    officials = [make_official(env.task.name, None, seed + index, horizon) for index in range(count)]
    observe, command = jax.jit(env.observe), jax.jit(env.task_goal)
    begin, command_step = jax.jit(control.begin), jax.jit(control.act)
    ever, final = [], []
    for _ in range(-(-episodes // count)):
        goal = command(np.stack([_begin(official) for official in officials]))
        any_success = np.zeros(count, bool)
        for time in range(horizon):
            if time % action_repeat == 0 or control != HOLD:  # A held action asks for no observation.
                obs = observe(_read(env, officials))
            if time % action_repeat == 0:
                aim = begin(obs, np.asarray(act(obs, goal), np.float32))
            actions = np.asarray(command_step(obs, aim))
            now = [official.step(action)[4]["success"] for official, action in zip(officials, actions, strict=True)]
            success = np.array(now) > 0
            any_success |= success
        ever.append(any_success)
        final.append(success)
    return {
        "success_any": float(np.concatenate(ever)[:episodes].mean()),
        "success_final": float(np.concatenate(final)[:episodes].mean()),
        "episodes": float(episodes),
    }


def _begin(official: Any) -> np.ndarray:
    """Starts an episode; returns its (3,) target. Forwards, since resets may leave stale kinematics (window-close)."""
    official.reset()
    mujoco.mj_forward(official.model, official.data)
    return np.asarray(official._target_pos, np.float32)


def _read(env: MetaWorld, officials: list[Any]) -> PhysicsState:
    """Readout (N, ...) of official environments."""
    states = [read_data(env.scene, official.data) for official in officials]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *states)
