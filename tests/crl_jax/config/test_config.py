"""Settings: presets are valid; errors about bad values name the field and the nearest valid values."""

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs import PRESETS
from crl_jax.config import Config, ConfigError, RunConfig, check_shared, differences, shared, with_overrides

BAD = {
    "num_envs": (0, "at least 1"),
    "horizon": (1, "at least 2"),
    "threads": (-1, "0 (every core)"),
    "goal": ("objects", "object"),
    "physics": ("cpu", "unknown engine"),
    "width": (0, "at least 1"),
    "critic_depth": (5, "nearest: 4 or 8"),
    "actor_depth": (-4, "at least 1"),
    "activation": ("swiss", "swish"),
    "mask": ("same_goals", "same_goal"),
    "mask_radius": (0.0, "positive"),
    "entropy": ("off", "none"),
    "alpha": (0.0, "positive"),
    "bc_weight": (1.5, "between 0 and 1"),
    "target_tau": (0.0, "at most 1"),
    "method": ("ddpg", "one of crl, sac, td3"),
    "her_share": (-0.5, "between 0 and 1"),
    "discount": (1.0, "strictly between 0 and 1"),
    "critic_lr": (0.0, "positive"),
    "logsumexp_penalty": (-0.1, "0 or more"),
    "total_env_steps": (-5, "at least 1"),
    "unroll_length": (1, "at least 2"),
    "updates_per_iteration": (0, "at least 1"),
    "batch_size": (1, "between 2"),
    "replay_capacity": (1_000_000, "nearest: 999936 or 1001472"),
    "min_replay": (4_000_000, "nearest: 600576"),
    "eval_episodes": (0, "at least 1"),
    "checkpoint_every": (0, "at least 1"),
    "seed": (-1, "2147483647"),
    "name": ("a/b", "plain folder name"),
}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_construct_and_validate(name):
    assert PRESETS[name].validate() is PRESETS[name]
    assert Config.from_dict(PRESETS[name].to_dict()) == PRESETS[name]


@pytest.mark.parametrize("field", BAD)
def test_a_bad_value_is_refused_by_name(field):
    value, told = BAD[field]
    with pytest.raises(ConfigError) as caught:
        with_overrides(PRESETS["metaworld_cpu"], **{field: value}).validate()
    message = str(caught.value)
    assert message.startswith(f"{field}={value!r}") and told in message and "\n" not in message


def test_skipping_a_layernorm_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match=r"skip_last_norm=True: layer_norm=False leaves none to skip"):
        with_overrides(Config(), skip_last_norm=True, layer_norm=False).validate()


def test_a_config_written_before_an_option_existed_has_its_default():
    values = Config().to_dict()
    for section, name in (("agent", "mask"), ("agent", "twin"), ("network", "cold_init"), ("train", "batch_size")):
        del values[section][name]
    assert Config.from_dict(values) == Config()


@given(envs=st.integers(1, 600), unroll=st.integers(2, 200), capacity=st.integers(1, 3_000_000))
def test_the_nearest_capacities_named_are_valid(envs, unroll, capacity):
    config = with_overrides(
        Config(), num_envs=envs, unroll_length=unroll, replay_capacity=capacity, min_replay=1, batch_size=2
    )
    try:
        config.validate()
    except ConfigError as error:
        for value in str(error).split("nearest: ")[1].split(" or "):
            with_overrides(config, replay_capacity=int(value)).validate()


def test_differences_name_the_fields():
    old = Config()
    new = with_overrides(old, discount=0.9, seed=3)
    assert differences(old, new) == ["discount: 0.99 -> 0.9", "seed: 0 -> 3"]
    assert differences(old, new, ignore=("seed",)) == ["discount: 0.99 -> 0.9"]


def test_a_config_of_another_version_is_refused():
    values = Config().to_dict()
    values["agent"]["flux"] = 1
    with pytest.raises(ConfigError, match="does not fit this version"):
        Config.from_dict(values)


def test_every_field_has_help():
    import ast
    import inspect

    import crl_jax.config as module

    tree = ast.parse(inspect.getsource(module))
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name.endswith("Config") and node.name != "Config":
            for here, after in zip(node.body, [*node.body[1:], None], strict=True):
                if isinstance(here, ast.AnnAssign):
                    assert isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant), ast.unparse(here)
    assert dataclasses.is_dataclass(Config)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("a" * 300, "must be a plain folder name of at most 200 bytes; this one has 300"),
        ("a\nb", "must be a plain folder name, of printable characters"),
        ("a\0b", "must be a plain folder name, of printable characters"),
        ("a\ud800", "must be a plain folder name, of printable characters"),
        ("a ", "must be a plain folder name, without a blank at its ends and without ~ at its start"),
        ("~", "without ~ at its start"),
        ("CON", "Windows reserves this one"),
        ("a/b", "must be a plain folder name, not a path"),
        ("..", "must be a plain folder name, not a path"),
    ],
)
def test_a_name_that_is_no_folder_is_refused(name: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        RunConfig(name=name).validate()
    assert line in str(caught.value) and "\n" not in str(caught.value)


def test_names_of_other_alphabets_are_taken_and_the_home_folder_is_meant_by_a_tilde() -> None:
    RunConfig(name="schieben-ü-押す v2").validate()
    assert RunConfig(runs="~/x").runs == str(Path.home() / "x")
    for runs in ("", " ", "a\0", "~nobody_of_this_name/x"):
        with pytest.raises(ConfigError, match="runs="):
            RunConfig(runs=runs).validate()


@pytest.mark.parametrize("tasks", [1, 3, 10, 50, 51])
@pytest.mark.parametrize("preset", ["mt10_cpu", "metaworld_cpu"])
def test_tasks_at_once_share_the_environments(preset: str, tasks: int) -> None:
    before = PRESETS[preset]
    after = shared(before, tasks)
    check_shared(after.validate(), tasks)
    assert 0 <= after.env.num_envs - before.env.num_envs < tasks and shared(after, tasks) == after
    per_update = [one.env_steps_per_iteration() / one.train.updates_per_iteration for one in (before, after)]
    assert per_update[1] == pytest.approx(per_update[0], rel=0.01)
    rows = after.env.num_envs * after.train.unroll_length
    assert 0 <= before.train.replay_capacity - after.train.replay_capacity < rows
    if before.env.num_envs % tasks == 0 == before.evaluation.eval_episodes % tasks:
        assert after == before
