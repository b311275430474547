"""The autoreset modes are those of Gymnasium's own `SyncVectorEnv` around single environments."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import envs_mjx
from envs_mjx.base import EnvError

NAME, HORIZON, COUNT, STEPS = f"crl_jax/point_Small-v{envs_mjx.registry.version('point_Small')}", 4, 3, 14


def both(mode: AutoresetMode) -> tuple[gymnasium.vector.VectorEnv, gymnasium.vector.VectorEnv]:
    """Our vector environment, and Gymnasium's around ours for one."""
    ours = gymnasium.make_vec(
        NAME, COUNT, vectorization_mode="vector_entry_point", horizon=HORIZON, autoreset_mode=mode
    )
    one = lambda: gymnasium.make(NAME, horizon=HORIZON)  # noqa: E731
    return ours, SyncVectorEnv([one] * COUNT, autoreset_mode=mode)


def assert_same_info(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    for name in ("goal", "success", "distance", "episode_number", "final_obs", "final_info"):
        mask, wanted = (np.asarray(info.get(f"_{name}", np.zeros(COUNT, bool))) for info in (ours, theirs))
        np.testing.assert_array_equal(mask, wanted, err_msg=name)
        if mask.any() and not name.startswith("final"):
            np.testing.assert_array_equal(ours[name][mask], np.asarray(theirs[name])[mask], err_msg=name)
    for index in np.flatnonzero(ours.get("_final_obs", np.zeros(COUNT, bool))):
        np.testing.assert_array_equal(ours["final_obs"][index], theirs["final_obs"][index])
        np.testing.assert_array_equal(ours["final_info"]["goal"][index], theirs["final_info"]["goal"][index])


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_every_mode_is_gymnasiums(mode: AutoresetMode) -> None:
    ours, theirs = both(mode)
    assert ours.metadata["autoreset_mode"] == mode == theirs.metadata["autoreset_mode"]
    (obs, info), (wanted, wanted_info) = ours.reset(seed=5), theirs.reset(seed=5)
    np.testing.assert_array_equal(obs, wanted)
    assert_same_info(info, wanted_info)
    ours.action_space.seed(1)
    ended = np.zeros(COUNT, bool)
    for _ in range(STEPS):
        if mode == AutoresetMode.DISABLED and ended.any():
            with pytest.raises(gymnasium.error.ResetNeeded, match=r"environments \[0, 1, 2\] have ended"):
                ours.step(ours.action_space.sample())
            options = {"reset_mask": ended}
            (obs, info), (wanted, wanted_info) = ours.reset(options=dict(options)), theirs.reset(options=dict(options))
            np.testing.assert_array_equal(obs, wanted)
            assert_same_info(info, wanted_info)
        action = ours.action_space.sample()
        told, expected = ours.step(action), theirs.step(action)
        for got, want in zip(told[:4], expected[:4], strict=True):
            np.testing.assert_array_equal(got, want)
        assert_same_info(told[4], expected[4])
        ended = told[3]


def test_environments_that_end_apart_restart_apart() -> None:
    """One environment is reset in the middle, so that its episodes end at other steps than the others'."""
    ours, theirs = both(AutoresetMode.NEXT_STEP)
    ours.reset(seed=1), theirs.reset(seed=1)
    ours.step(ours.action_space.sample())
    ours.reset(options={"reset_mask": np.array([False, True, False])})
    ended = [ours.step(ours.action_space.sample())[3].tolist() for _ in range(5)]
    assert ended == [[False] * 3, [False] * 3, [True, False, True], [False, True, False], [False] * 3]


def test_a_mode_that_is_none_is_refused() -> None:
    with pytest.raises(EnvError, match="autoreset_mode='later': one of NEXT_STEP, SAME_STEP, DISABLED wanted"):
        gymnasium.make_vec(NAME, 2, vectorization_mode="vector_entry_point", autoreset_mode="later")


@pytest.mark.parametrize("settings", [{}, {"goal_dict": True}])
def test_one_environment_passes_gymnasiums_checks(settings: dict[str, Any]) -> None:
    env = gymnasium.make(NAME, horizon=HORIZON, **settings).unwrapped
    check_env(env, skip_render_check=True)
    assert env.metadata["render_fps"] == 80 and "autoreset_mode" not in env.metadata
    env.close()
