"""Warp's kernels are listed and compiled without a GPU, by Warp's own compiler."""

from __future__ import annotations

from pathlib import Path

import pytest
import warp

from configs import PRESETS
from crl_jax import cli
from crl_jax.scale import warp_kernels as lines
from envs_mjx import EnvError, make
from envs_mjx.physics import warp_kernels

ARCH = 90


def test_kernels_of_a_scene_are_listed_and_compiled_once(tmp_path: Path, monkeypatch) -> None:
    modules = warp_kernels.modules_of(make("push", 2, physics="warp").physics)
    names = {module.name.split(".")[-1] for module in modules}
    assert {"smooth", "forward", "warp_stepper"} <= names
    small = {module: sizes for module, sizes in modules.items() if module.name.endswith("warp_stepper")}
    monkeypatch.setattr(warp.config, "kernel_cache_dir", str(tmp_path))
    told: list[tuple[int, int]] = []
    assert warp_kernels.compile_modules(small, ARCH, lambda *now: told.append(now)) == 1
    (made,) = tmp_path.glob(f"*/*.sm{ARCH}*.cubin")
    assert told == [(0, 1), (1, 1)] and made.stat().st_size > 0
    before = made.stat().st_mtime_ns
    warp_kernels.compile_modules(small, ARCH, lambda *now: None)
    assert made.stat().st_mtime_ns == before


def test_a_compute_capability_that_is_none_is_refused() -> None:
    with pytest.raises(EnvError, match=r"^arch=7: .*one of .*90"):
        warp_kernels.compile_modules({}, 7, lambda *now: None)


def test_a_run_tells_of_kernels_only_where_they_take_time(monkeypatch, caplog) -> None:
    clock = iter([0.0, 0.1, 0.2, 0.0, 3.0, 5.0, 19.0, 20.0])
    monkeypatch.setattr(lines.time, "monotonic", lambda: next(clock))
    quick = lines._lines()
    quick(0, 2)
    quick(2, 2)
    assert not caplog.records
    slow = lines._lines()
    for done in (1, 2, 3, 4):
        slow(done, 4)
    assert [record.getMessage().split(":")[1] for record in caplog.records] == [
        " 1 of 4 modules",
        " 3 of 4 modules",
        " all 4 modules compiled in 20 s",
    ]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "name a task"),
        (["pushh", "--arch", "90"], "task='pushh': no such task; nearest: push"),
        (["push", "--preset", "none"], "preset='none': no such preset; nearest"),
        (["push"], "JAX sees no NVIDIA GPU here; name its compute capability, e.g. --arch 90"),
        (["push", "--arch", "7"], "arch=7: Warp's compiler does not know it"),
        (["push", "nosuch", "--arch", "90"], "task='nosuch': no such task"),
    ],
)
def test_warm_refuses_in_one_line(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(PRESETS, ["warm", *arguments]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(errors) == 1 and told in errors[0]
