"""Launches of a compiled GPU program: counted in a text whose launches are known, and kept from growing."""

from __future__ import annotations

import pytest

from benchmarks import common, hlo, kernels, scaling_model, warp_launches
from crl_jax.config import ConfigError

TEXT = """HloModule small

%fused (p: f32[4]) -> f32[4] {
  %p = f32[4]{0} parameter(0)
  ROOT %n = f32[4]{0} negate(%p)
}

%body (t: (s32[], f32[4])) -> (s32[], f32[4]) {
  %t = (s32[], f32[4]{0}) parameter(0)
  %x = f32[4]{0} get-tuple-element(%t), index=1
  %i = s32[] get-tuple-element(%t), index=0
  %f = f32[4]{0} fusion(%x), kind=kLoop, calls=%fused
  %g = (f32[4]{0}, s8[16]{0}) custom-call(%f), custom_call_target="__cublas$gemm"
  %y = f32[4]{0} get-tuple-element(%g), index=0
  ROOT %r = (s32[], f32[4]{0}) tuple(%i, %y)
}

%condition (t.1: (s32[], f32[4])) -> pred[] {
  %t.1 = (s32[], f32[4]{0}) parameter(0)
  ROOT %c = pred[] constant(true)
}

%few (a: f32[4]) -> f32[4] {
  ROOT %a = f32[4]{0} parameter(0)
}

%many (b: f32[4]) -> f32[4] {
  %b = f32[4]{0} parameter(0)
  %k = f32[4]{0} copy(%b)
  ROOT %h = f32[4]{0} fusion(%k), kind=kLoop, calls=%fused
}

ENTRY %main (q: (s32[], f32[4])) -> f32[4] {
  %q = (s32[], f32[4]{0}) parameter(0)
  %w = (s32[], f32[4]{0}) while(%q), condition=%condition, body=%body, backend_config={"known_trip_count":{"n":"5"}}
  %v = (s32[], f32[4]{0}) while(%w), condition=%condition, body=%body
  %z = f32[4]{0} get-tuple-element(%v), index=1
  %j = s32[] get-tuple-element(%v), index=0
  ROOT %o = f32[4]{0} conditional(%j, %z, %z), branch_computations={%few, %many}
}
"""


def test_launches_are_counted_through_loops_and_branches() -> None:
    """Six trips of a fusion and a product; of the branches the one with a copy and a fusion."""
    found = hlo.launches(TEXT)
    assert found.kinds == {"fusion": 7, "gemm": 6, "copy": 1} and found.total == 14
    assert found.endless == 1


def test_collectives_and_the_bytes_of_their_results_are_read() -> None:
    text = """
  %g = ((f32[64,128]{1,0}, f32[64,6]{1,0}), (f32[512,128]{1,0}, f32[512,6]{1,0})) all-gather-start(%a, %b), more
  %d = (f32[512,128]{1,0}, f32[512,6]{1,0}) all-gather-done(%g)
  %r = f32[100]{0} all-reduce-start(%c), to_apply=%add
  ROOT %s = bf16[8,2]{1,0} reduce-scatter(%e), to_apply=%add
"""
    assert hlo.collectives(text) == [("all-gather", 512 * 134 * 4), ("all-reduce", 400), ("reduce-scatter", 32)]


def test_without_the_compiler_one_line_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setattr(kernels.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"^kernels: .*pip install -e '\.\[cuda13\]'$"):
        kernels.main(kernels.Settings())


@pytest.mark.skipif(kernels.importlib.util.find_spec("jax_plugins") is None, reason="the extra cuda13 is not installed")
@pytest.mark.parametrize(("depth", "fused", "most"), [(4, "off", 320), (4, "on", 99), (16, "on", 294)])
def test_an_update_launches_no_more_than_it_did(depth: int, fused: str, most: int) -> None:
    case = {"depth": depth, "fused": fused, "width": 256, "batch_size": 512, "unroll": 1, "gpu": "h200"}
    found = common.fresh_process("benchmarks.kernels", case, 600, **kernels.ENVIRONMENT)
    assert found["launches"] <= most and found["endless_loops"] == 0


def test_the_model_of_scaling_is_bound_by_launches_then_by_work_and_messages(monkeypatch) -> None:
    counted = {"launches": 100, "parameters": 1e6, "collectives": []}
    settings = scaling_model.Settings()
    assert scaling_model.update_us(settings, 1, counted) == 200, "launches"
    assert scaling_model.update_us(settings, 1, counted | {"parameters": 1e8}) > 1000, "products"
    messages = counted | {"collectives": [("all-reduce", 3_000_000)]}
    near, far = (scaling_model.update_us(settings, gpus, messages) for gpus in (8, 64))
    assert near == 200 + 15 + 10 and far == 200 + 40 + 75
    few, many = (scaling_model.row(settings, envs, 1, counted)["env_steps_per_s"] for envs in (512, 65_536))
    assert many > few
    monkeypatch.setattr(scaling_model.common, "read_rows", lambda name: [])
    with pytest.raises(ConfigError, match="depth=4: not counted yet"):
        scaling_model.counts(4)


@pytest.mark.skipif(kernels.importlib.util.find_spec("jax_plugins") is None, reason="the extra cuda13 is not installed")
def test_an_env_step_of_warp_launches_no_more_than_it_did() -> None:
    case = {"part": "env step", "task": "push", "preset": "metaworld_gpu", "gpu": "h200"}
    found = common.fresh_process("benchmarks.kernels_run", case, 600, **kernels.ENVIRONMENT)
    assert found["xla"] <= 21 and found["warp"] <= 675, found


def test_launches_of_warp_are_counted_and_not_made() -> None:
    """Two kernels (one of no thread), a loop whose body has one, two fills, a copy; afterwards Warp is as before."""
    import warp

    launch, array, empty = (
        warp.launch,
        warp.ones(3, dtype=float, device="cpu"),
        warp.empty(0, dtype=float, device="cpu"),
    )
    with warp_launches.noted() as kinds:
        warp.launch("any kernel", 5)
        warp.launch("any kernel", dim=(4, 0))
        warp.capture_while(None, lambda times: [warp.launch("any", dim=times)] * 2, times=1)
        array.zero_()
        empty.zero_()
        warp.copy(array, warp.zeros(3, dtype=float, device="cpu"))
    assert kinds == {"warp kernel": 2, "warp memset": 2, "warp copy": 1}
    assert warp.launch is launch
