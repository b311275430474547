"""`crl bench gpu`: every section at toy sizes on a CPU, and what a cut, broken or impossible section leaves."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import gpu, gpu_sections
from crl_jax.config import ConfigError
from crl_jax.runs.loggers import METRICS_FILE


def test_every_section_has_a_measure_and_the_limits_fit_ten_minutes() -> None:
    assert {section.measure for section in gpu.SECTIONS.values()} == set(gpu_sections.MEASURES)
    assert gpu.Settings().seconds < 600
    worth_most = ("device", "launches", "updates", "training")
    assert sum(gpu.SECTIONS[name].seconds for name in worth_most) < gpu.Settings().seconds


def test_a_section_writes_its_figures(tmp_path: Path) -> None:
    gpu.main(gpu.Settings(only=("launches",), toy=True, out=tmp_path / "gpu.json"))
    found = json.loads((tmp_path / "gpu.json").read_text())["sections"]["launches"]
    assert found["status"] == "ok" and found["us_per_small_kernel"] > 0 and found["tf32_tflops"] > 0


def test_a_section_that_is_cut_keeps_what_it_has_measured(monkeypatch) -> None:
    """Also where it is cut in the middle of a line."""
    code = "import sys, time; open(sys.argv[1], 'w').write(sys.argv[2]); time.sleep(600)"
    lines = '{"first": 1}\n{"second": 2}\n{"thi'

    def endless(name: str, folder: Path, sizes: gpu_sections.Sizes) -> list[str]:
        return [sys.executable, "-c", code, str(folder / METRICS_FILE), lines]

    monkeypatch.setattr(gpu_sections, "arguments", endless)
    told = gpu.run("device", gpu.SECTIONS["device"], gpu_sections.TOY, 3.0)
    assert told["status"] == "over 3 s" and told["first"] == 1 and told["second"] == 2 and "thi" not in told


def test_a_section_that_fails_tells_the_end_of_its_output() -> None:
    sizes = gpu_sections.Sizes(training=("--preset", "no such preset"))
    told = gpu.run("training", gpu.SECTIONS["training"], sizes, 60.0)
    assert told["status"] == "ended with 1" and "no such preset" in told["log"]


def test_bad_settings_are_told_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^only='phisics': no such section; nearest: physics"):
        gpu.main(gpu.Settings(only=("phisics",)))
    with pytest.raises(ConfigError, match="there is no folder"):
        gpu.main(gpu.Settings(out=tmp_path / "absent" / "gpu.json"))


@pytest.mark.slow
def test_every_section_runs_at_toy_size(tmp_path: Path) -> None:
    gpu.main(gpu.Settings(toy=True, seconds=3000, out=tmp_path / "gpu.json"))
    found = json.loads((tmp_path / "gpu.json").read_text())["sections"]
    assert {name: one["status"] for name, one in found.items()} == dict.fromkeys(gpu.SECTIONS, "ok")
    assert found["updates"]["depth 4, fused on"]["ms"] > 0 and found["physics"]["push 8"]["env_steps_per_s"] > 0
    assert found["film"]["not_empty"]
    assert any("eval/success_final" in value for value in found["training"].values() if isinstance(value, dict))
