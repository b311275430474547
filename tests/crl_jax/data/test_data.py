"""Recorded data: written and read back bit by bit, laid out in a ring, learned from without collecting."""

from __future__ import annotations

import contextlib
import json
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import minari
import numpy as np
import pytest

from configs import PRESETS
from crl_jax import cli, data, runs
from crl_jax.config import Config, ConfigError, with_overrides
from crl_jax.data import fill
from crl_jax.experience import buffer
from crl_jax.runs import checkpoint
from crl_jax.runs.loggers import read_metrics
from crl_jax.train import train
from crl_jax.trainer import build, make_env

TASK, HORIZON = "point_U", 12
SMALL = {
    "task": TASK,
    "num_envs": 4,
    "horizon": HORIZON,
    "width": 16,
    "critic_depth": 1,
    "actor_depth": 1,
    "unroll_length": 5,
    "updates_per_iteration": 3,
    "batch_size": 16,
    "replay_capacity": 400,
    "min_replay": 20,
    "iterations_per_round": 2,
    "eval_every": 80,
    "eval_episodes": 4,
    "checkpoint_every": 80,
    "total_env_steps": 200,
    "video": False,
    "behaviour_goals": "commanded",
    "action_noise": "none",
}


def small(folder: Path, **changes: object) -> Config:
    return with_overrides(PRESETS["point_cpu"], **{**SMALL, "runs": str(folder), **changes})


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten episodes of random actions, recorded under a relative path."""
    folder = tmp_path_factory.mktemp("recorded")
    command = ["record", TASK, "--policy", "random", "--episodes", "10", "--horizon", str(HORIZON), "--out", "a/point"]
    with contextlib.chdir(folder):
        assert cli.main(PRESETS, command) == 0
    return folder / "a" / "point"


def test_a_folder_that_is_taken_is_refused_before_anything_is_played(recording: Path, capsys) -> None:
    command = ["record", TASK, "--policy", "random", "--out", str(recording)]
    assert cli.main(PRESETS, command) == 2
    assert "exists already; name a new folder" in capsys.readouterr().err


def test_minari_reads_what_is_recorded(recording: Path) -> None:
    theirs = minari.MinariDataset(recording)
    ours = data.read(recording)
    assert theirs.total_episodes == len(ours.episodes) == 10 and theirs.total_steps == 10 * HORIZON
    for one, other in zip(theirs.iterate_episodes(), ours.episodes, strict=True):
        np.testing.assert_array_equal(one.observations["observation"], other.obs)
        np.testing.assert_array_equal(one.actions, other.action)
        np.testing.assert_array_equal(one.observations["desired_goal"][-1], other.goal)
        assert one.truncations[-1] and not one.truncations[:-1].any() and not one.terminations.any()
    about = json.loads((recording / "metadata.json").read_text())
    assert about["task"] == TASK and about["action_repeat"] == 1 and about["algorithm_name"] == "random"


@pytest.mark.parametrize("picture", [(), (2, 3, 3)])
def test_what_is_written_is_read_back_bit_by_bit(tmp_path: Path, picture: tuple[int, ...]) -> None:
    rng, spec = np.random.default_rng(0), build(small(tmp_path)).env.spec
    spec = spec.replace(picture=picture, obs_size=18 if picture else 5, goal_size=18 if picture else 2)

    def drawn(*shape: int) -> np.ndarray:
        return rng.integers(0, 256, shape).astype(np.uint8) if picture else rng.normal(size=shape).astype(np.float32)

    episodes = [
        data.Episode(
            drawn(steps + 1, spec.obs_size),
            rng.uniform(-1, 1, (steps, spec.action_size)).astype(np.float32),
            drawn(spec.goal_size),
            rng.random(steps) < 0.5,
        )
        for steps in (1, 4, 2)
    ]
    data.write(tmp_path / "out", episodes, spec, {"noise": 0.5})
    found = data.read(tmp_path / "out")
    assert found.about["noise"] == 0.5
    for one, other in zip(episodes, found.episodes, strict=True):
        for name in ("obs", "action", "goal"):
            ours, theirs = getattr(one, name), getattr(other, name)
            assert ours.dtype == theirs.dtype
            np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(ConfigError, match="exists already"):
        data.write(tmp_path / "out", episodes, spec, {})


def test_an_archive_is_cut_where_episodes_end(tmp_path: Path) -> None:
    obs, action = np.arange(14.0).reshape(7, 2), np.zeros((7, 2))
    ends, timed = np.array([0, 0, 1, 0, 0, 0, 0]), np.array([0, 0, 0, 0, 1, 0, 0])
    np.savez(tmp_path / "a.npz", observations=obs, actions=action, terminals=ends, timeouts=timed)
    found = data.read(tmp_path / "a.npz").episodes
    assert [len(one.obs) for one in found] == [3, 2, 2] and [len(one.action) for one in found] == [2, 1, 1]
    np.testing.assert_array_equal(found[1].obs, obs[3:5])
    assert found[0].goal is None and found[0].obs.dtype == np.float32


GOOD = {"observations": np.zeros((6, 5)), "actions": np.zeros((6, 2)), "terminals": np.zeros(6)}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"observations": np.full((6, 5), np.nan)}, "episode 0 has obs that are not finite"),
        ({"actions": np.zeros((5, 2))}, r"actions \(5, 2\)"),
        ({"terminals": np.ones(6)}, "no episode with at least one action"),
        ({"terminals": None}, "no terminals in it; found observations, actions"),
        ({"terminals": np.full(6, np.nan)}, "its terminals or timeouts are not finite"),
        ({"timeouts": np.zeros(7)}, r"timeouts \(7,\): "),
        ({"actions": np.full((6, 2), 1.5)}, r"episode 0 has actions up to 1.5; scale them to \[-1, 1\]"),
        ({"actions": np.full((6, 2), "left")}, "its actions are <U4; numbers wanted"),
        ({"observations": np.full((6, 5), "seen")}, "its observations are <U4; numbers wanted"),
        ({"observations": np.full((6, 5), 1j)}, "its observations are complex128; numbers wanted"),
        ({"observations": np.zeros((6, 5), "datetime64[s]")}, "its observations are datetime64"),
        ({"observations": np.full((6, 5), 1e300)}, "episode 0 has obs that are not finite"),
        ({"terminals": np.full(6, "end")}, "its terminals are <U3; numbers wanted"),
    ],
)
def test_a_bad_archive_is_refused_in_one_line(tmp_path: Path, changes: dict, told: str) -> None:
    kept = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    np.savez(tmp_path / "a.npz", **kept)
    with pytest.raises(ConfigError, match=told) as caught:
        data.read(tmp_path / "a.npz")
    assert "\n" not in str(caught.value)


def test_a_foreign_file_is_refused_in_one_line(tmp_path: Path, recording: Path) -> None:
    (tmp_path / "a.npz").write_text("no archive")
    (tmp_path / "empty").mkdir()
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "metadata.json").write_text((recording / "metadata.json").read_text())
    (tmp_path / "cut" / "main_data.hdf5").write_bytes(b"\x00" * 100)
    np.save(tmp_path / "array.npy", np.zeros(3))
    np.savez_compressed(tmp_path / "damaged.npz", **{**GOOD, "observations": np.random.default_rng(0).random((60, 5))})
    bytes_ = bytearray((tmp_path / "damaged.npz").read_bytes())
    bytes_[200:400] = bytes(200)
    (tmp_path / "damaged.npz").write_bytes(bytes_)
    with zipfile.ZipFile(tmp_path / "members.npz", "w") as archive:
        for name in GOOD:
            archive.writestr(name, "no array")
    found = {name: "no NumPy archive" for name in ("a.npz", "array.npy", "damaged.npz")}
    found |= {"members.npz": "(no NumPy archive|numbers wanted)"}
    found |= {"empty": "no dataset", "cut": "cannot be read", "none": "no such file"}
    for name, told in found.items():
        with pytest.raises(ConfigError, match=told) as caught:
            data.read(tmp_path / name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"task": "reach", "physics": "c"}, "recorded with task='point_U', the run has 'reach'"),
        ({"action_repeat": 2}, "recorded with action_repeat=1, the run has 2"),
        (
            {"num_envs": 128, "unroll_length": 100, "replay_capacity": 25_600},
            r"120 transitions are lost among 12,800",
        ),
        (
            {"replay_capacity": 100},
            r"data take 160 transitions of room \(\d+ episodes, .*, the longest episode \d+\); nearest: 160",
        ),
        ({"data": "", "offline": True}, "offline=True: needs recorded trajectories"),
        ({"method": "sac", "actor_goals": "future", "actor_average": 0.0}, "method='sac'"),
    ],
)
def test_a_run_that_does_not_fit_its_data_is_refused(tmp_path: Path, recording: Path, changes: dict, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        train(small(tmp_path, **{"data": str(recording), **changes}), console=False)
    assert not any(tmp_path.glob("*/checkpoints/*"))


def test_a_run_tells_what_it_read_and_what_it_takes_a_row_of_an_archive_for() -> None:
    config = with_overrides(PRESETS["pointmaze_cpu"], physics="c", data="maze.npz")
    episodes = [data.Episode(np.zeros((rows + 1, 4)), np.zeros((rows, 2))) for rows in (1500, 20)]
    told = "data=maze.npz: 2 episodes, 1,520 transitions, the longest episode 1,500"
    assert data.described(config, data.Recorded(episodes)) == (
        f"{told}; each is taken for a decision of action_repeat=5 env steps"
    )
    assert data.described(config, data.Recorded(episodes, {"task": "PointMaze_UMaze"})) == told


def test_data_of_another_goal_contract_or_camera_are_refused(tmp_path: Path) -> None:
    """Both may have the same sizes, so that only what the data say of themselves tells them apart."""
    recorded = [data.Episode(np.zeros((3, 25), np.float32), np.zeros((2, 4), np.float32), np.zeros(6, np.float32))]
    config = with_overrides(PRESETS["fetch_cpu"], physics="c", data=str(tmp_path), num_envs=1, unroll_length=3)
    env = make_env(config.env, 1)
    fill.check(config, env, data.Recorded(recorded, data.settings(config.env)))
    seen = with_overrides(PRESETS["pixels_cpu"], physics="c", data=str(tmp_path))
    for run, name, value in (
        (config, "goal", "hand_object"),
        (config, "control", "waypoint"),
        (seen, "camera", "external_camera_0"),
    ):
        with pytest.raises(ConfigError, match=f"recorded with {name}='{value}', the run has"):
            fill.check(run, env, data.Recorded(recorded, {**data.settings(run.env), name: value}))


def test_a_recording_leaves_the_folders_of_others_alone_and_needs_a_place_that_can_be_written(
    tmp_path: Path, capsys
) -> None:
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("")
    command = ["record", TASK, "--policy", "random", "--episodes", "1", "--horizon", "4", "--out"]
    assert cli.main(PRESETS, [*command, str(tmp_path / "out")]) == 0
    assert sorted(one.name for one in tmp_path.iterdir()) == ["file", "out", "out.partial"]
    assert (tmp_path / "out.partial" / "notes.txt").read_text() == "mine"
    capsys.readouterr()
    assert cli.main(PRESETS, [*command, str(tmp_path / "file" / "x")]) == 2
    assert f"{tmp_path / 'file'} is no folder that can be written to" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--camera", "topview"], "camera=topview: does not apply: it is for --obs pixels alone"),
        (["--episodes", "5000000000000"], "free; nearest: "),
    ],
)
def test_a_recording_that_cannot_be_is_refused_before_anything_is_played(
    tmp_path: Path, capsys, options: list[str], told: str
) -> None:
    assert cli.main(PRESETS, ["record", TASK, "--policy", "random", "--out", str(tmp_path / "out"), *options]) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1 and not any(tmp_path.iterdir())


def ring_of(config: Config, recorded: data.Recorded) -> buffer.Ring:
    setup = build(config)
    return data.filled(setup.init(setup.key()), config, setup.env, recorded).ring


def test_every_recorded_transition_is_drawn_equally_often_and_meets_its_own_future(tmp_path: Path) -> None:
    """Oracle: anchors are uniform over all transitions of all episodes; goals lie later in the same episode."""
    lengths = (3, 7, 1, 5, 4, 2, 6)
    episodes = [
        data.Episode(
            np.stack([np.full(2, 100.0 * number + step, np.float32) for step in range(steps + 1)]),
            np.zeros((steps, 2), np.float32),
        )
        for number, steps in enumerate(lengths)
    ]
    config = small(tmp_path)
    ring = ring_of(config, data.Recorded(episodes))
    batch = jax.jit(lambda key: buffer.sample(ring, key, (28_000,), 0.9, lambda obs: obs[..., :2]))(
        jax.random.PRNGKey(0)
    )
    anchor, goal = np.asarray(batch.obs[:, 0]).astype(int), np.asarray(batch.goal[:, 0]).astype(int)
    wanted = {100 * number + step for number, steps in enumerate(lengths) for step in range(steps)}
    found, counts = np.unique(anchor, return_counts=True)
    assert set(found.tolist()) == wanted
    each = len(anchor) / len(wanted)
    assert np.abs(counts - each).max() < 5 * np.sqrt(each)
    assert (goal // 100 == anchor // 100).all() and (goal > anchor).all()
    last = np.asarray(batch.commanded[:, 0]).astype(int)
    assert (last == anchor // 100 * 100 + np.array(lengths)[anchor // 100]).all(), "the last achieved goal is commanded"


def test_columns_hold_each_episode_once_and_are_balanced() -> None:
    episodes = [data.Episode(np.zeros((steps + 1, 1)), np.zeros((steps, 1))) for steps in (9, 1, 4, 4, 2, 7)]
    placed = fill.columns(episodes, 3)
    assert sorted(number for column in placed for number in column) == list(range(6))
    assert data.rows_needed(episodes, 3, 4) == 12 and data.rows_needed(episodes, 1, 5) == 35


@pytest.mark.slow
def test_offline_learning_never_collects_and_is_the_same_twice_and_resumed(tmp_path: Path, recording: Path) -> None:
    def state(folder: Path) -> object:
        return checkpoint.restore(folder / runs.CHECKPOINTS, build(runs.load(folder)).template)[0]

    def same(one: object, other: object) -> None:
        jax.tree.map(lambda a, b: np.testing.assert_array_equal(np.asarray(a), np.asarray(b)), one, other)

    wanted = {"data": str(recording), "offline": True}
    first, second = (train(small(tmp_path, name=name, **wanted), console=False).folder for name in "ab")
    same(state(first), state(second))
    fresh = build(small(tmp_path, **wanted))
    ring = ring_of(fresh.config, data.read(recording))
    same(state(first).ring, ring)  # type: ignore[attr-defined]
    assert int(ring.written) == data.rows_needed(data.read(recording).episodes, 4, 5)
    half = train(small(tmp_path, name="c", **wanted, total_env_steps=80), console=False).folder
    train(with_overrides(runs.load(half), total_env_steps=200), half, console=False)
    same(state(first), state(half))
    assert read_metrics(first)[-1]["updates"] == 30, "as many as with 200 env steps collected"


@pytest.mark.slow
def test_a_run_that_begins_with_data_goes_on_with_later_episodes(tmp_path: Path, recording: Path) -> None:
    folder = train(small(tmp_path, data=str(recording)), console=False).folder
    state = checkpoint.restore(folder / runs.CHECKPOINTS, build(runs.load(folder)).template)[0]
    rows = data.rows_needed(data.read(recording).episodes, 4, 5)
    assert int(state.ring.written) == rows + 200 // 4
    numbers = np.asarray(state.ring.episode)[: int(state.ring.written)]
    step = np.diff(numbers, axis=0)
    assert ((step == 0) | (step == 1)).all(), "episodes are numbered without gaps"
    assert (jnp.asarray(numbers[rows]) == numbers[rows - 1] + 1).all()
