"""Command lines: numbers as people write them, and one line for whatever is wrong."""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

import envs_mjx
from configs import PRESETS
from crl_jax import cli
from crl_jax.cli import options
from crl_jax.cli.train import settings, suggestions
from crl_jax.config import Config, ConfigError, with_overrides
from crl_jax.config.sequence import SequenceConfig, of_tasks
from envs_mjx.base import EnvError

WRONG = ("", "text", "nan", "inf", "-1", "0", "2147483648", "1e400", "ü")


@pytest.mark.parametrize(
    ("text", "value"), [("2000", 2000), ("2_000", 2000), ("2e3", 2000), ("2k", 2000), ("1.5M", 1_500_000), ("-1", -1)]
)
def test_counts_are_read_as_people_write_them(text: str, value: int) -> None:
    assert options.count(text) == value


@pytest.mark.parametrize("text", ["", "k", "2.5", "1e400", "nan", "inf", "2kk", "ü", "0x10"])
def test_what_is_no_count_is_refused(text: str) -> None:
    with pytest.raises(options.NotANumber, match="a whole number wanted"):
        options.count(text)


@given(st.integers(min_value=-(10**12), max_value=10**12))
def test_a_count_written_out_is_itself(value: int) -> None:
    assert options.count(str(value)) == options.count(f"{value:_}") == value


@given(st.text())
def test_a_number_is_finite_or_refused(text: str) -> None:
    for read in (options.count, options.number):
        try:
            assert abs(read(text)) < float("inf")
        except options.NotANumber as error:
            assert "wanted" in str(error)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--critic-lr", "inf"], "--critic-lr inf: a finite number wanted"),
        (["--horizon", "1.5"], "--horizon 1.5: a whole number wanted, e.g. 2000, 2_000, 2e3, 2k or 2M"),
        (["--seeds", "a", "b"], "train: argument --seeds: a: a whole number wanted, e.g. 2000, 2_000, 2e3, 2k or 2M"),
        (["--nope", "3"], "Unrecognized options: --nope, 3 (`crl train --help` shows the options)"),
    ],
)
def test_a_bad_option_is_one_line(arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(PRESETS, ["train", "reach", *arguments]) == 2
    assert capsys.readouterr().err == f"crl: error: {line}\n"


def test_a_command_runs_with_the_users_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    def command(count: int = 1) -> int:
        print("last words", file=sys.stderr)
        assert capsys.readouterr().err == "last words\n", "not captured while it runs"
        return count

    assert options.call(command, ["--count", "2k"], "crl command") == 2000


def _refused(make: Callable[[], Any]) -> bool:
    """Whether a config is refused before anything is compiled; in one short line."""
    try:
        config = make().validate()
        for task in config.sequence.tasks if isinstance(config, SequenceConfig) else (config.env.task,):
            envs_mjx.check(task, config.env.physics, config.env.allow_unfaithful)
    except (ConfigError, EnvError, options.NotANumber) as error:
        assert "\n" not in str(error) and len(str(error)) < 400, error
        return True
    return False


def _with(config: Any, part: str, name: str, value: str) -> Any:
    """The config with one field as the command line reads it from text."""
    section = getattr(config, part)
    read = {int: options.count, float: options.number}.get(type(getattr(section, name)), str)
    return dataclasses.replace(config, **{part: dataclasses.replace(section, **{name: read(value)})})


SEQUENCE = of_tasks(PRESETS["continual_cpu"], ("push", "reach"))


@pytest.mark.parametrize("value", WRONG)
@pytest.mark.parametrize(
    "config", [PRESETS["metaworld_cpu"], PRESETS["sac_cpu"], SEQUENCE], ids=["crl", "sac", "tasks"]
)
def test_every_field_takes_any_value_or_refuses_it_in_one_line(config: Any, value: str) -> None:
    for part in dataclasses.fields(config):
        for leaf in dataclasses.fields(getattr(config, part.name)):
            refused = _refused(functools.partial(_with, config, part.name, leaf.name, value))
            number = isinstance(getattr(getattr(config, part.name), leaf.name), int | float | tuple)
            assert refused or not (number and value in ("", "text", "ü")), f"{leaf.name}={value!r} was taken"


def test_every_option_refuses_text_that_is_no_value_of_it() -> None:
    taken = []
    for part in dataclasses.fields(Config):
        for leaf in dataclasses.fields(getattr(PRESETS["metaworld_cpu"], part.name)):
            words = ["reach", f"--{leaf.name.replace('_', '-')}", "no value"]
            if not _refused(lambda words=words: settings(PRESETS, words, "train", "")[0]):
                taken.append(leaf.name)
    told = "energy and loss are looked up when the agent is made, data before anything is compiled"
    assert taken == ["energy", "loss", "data", "runs", "name"], told


def test_bench_lists_what_can_be_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(PRESETS, ["bench"]) == 0
    names = capsys.readouterr().out.split()
    assert {"env_throughput", "train_throughput", "depth", "compile_time"} <= set(names)
    assert not {"common", "_peer_sides", "__init__"} & set(names)


def test_what_to_try_next_can_be_done(tmp_path: Path) -> None:
    def told(config: Config) -> str:
        return "\n".join(command for command, _ in suggestions(tmp_path / "a run", config))

    reach = PRESETS["reach_cpu"]
    assert f"crl eval '{tmp_path}/a run' --official" in told(reach)
    assert f"--total-env-steps {2 * reach.train.total_env_steps}" in told(reach)
    assert "--official" not in told(with_overrides(PRESETS["point_cpu"], task="point_U"))
    sequence = told(of_tasks(reach, ("reach", "push")))
    assert "crl train" not in sequence and "--official" not in sequence and "crl eval" in sequence


@pytest.mark.parametrize(
    ("words", "preset", "envs"),
    [
        (["reach"], "metaworld_cpu", 128),
        (["mt10"], "mt10_cpu", 160),
        (["mt50"], "mt10_cpu", 200),
        (["push+reach+hammer"], "mt10_cpu", 162),
        (["mt10", "--preset", "metaworld_cpu"], "metaworld_cpu", 130),
        (["mt10", "--num-envs", "320"], "mt10_cpu", 320),
    ],
)
def test_several_tasks_at_once_have_a_preset_of_their_own(words: list[str], preset: str, envs: int) -> None:
    config, _ = settings(PRESETS, words, "train", "")
    assert config.env.num_envs == envs and config.network == PRESETS[preset].network
    assert config.env.task == words[0]
    config.validate()
