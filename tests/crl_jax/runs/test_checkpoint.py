"""Checkpoints: bitwise round trips; after a kill, damage or a full disk, the other checkpoints still load."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crl_jax.runs import checkpoint
from crl_jax.runs.checkpoint import CheckpointError, DiskFullError
from tests import ROOT


class Pair(NamedTuple):
    left: Any
    right: Any


def make_state(seed: int = 0) -> dict[str, Any]:
    key = jax.random.PRNGKey(seed)
    special = np.array([np.nan, -np.nan, np.inf, -np.inf, -0.0, 1e-45, 3.4e38], np.float32)
    return {
        "params": {"kernel": jax.random.normal(key, (16, 8)), "bias": jnp.zeros(8)},
        "pair": Pair(jnp.asarray(special), [jnp.arange(5, dtype=jnp.int32), None]),
        "key": key,
        "bits": jax.random.bits(key, (33,), jnp.uint32),
        "done": jnp.array([True, False, True]),
        "half": jnp.arange(7, dtype=jnp.bfloat16),
        "bytes": jnp.arange(9, dtype=jnp.uint8),
        "empty": jnp.zeros((0, 3), jnp.float32),
        "scalar": jnp.int32(7 + seed),
    }


def as_bytes(state: Any) -> list[tuple[Any, ...]]:
    return [(leaf.shape, str(leaf.dtype), np.asarray(leaf).tobytes()) for leaf in jax.tree.leaves(state)]


def assert_same(left: Any, right: Any) -> None:
    assert jax.tree.structure(left) == jax.tree.structure(right)
    assert as_bytes(left) == as_bytes(right)


@pytest.mark.parametrize("as_template", [lambda state: state, lambda state: jax.eval_shape(lambda: state)])
def test_round_trip_is_bitwise(tmp_path, as_template, capfd):
    state, host = make_state(), {"env_steps": 2**40, "config": {"task": "reach", "lr": 3e-4}, "none": None}
    path = checkpoint.save(tmp_path / "runs" / "checkpoints", 12, state, host, keep=2)
    assert path == tmp_path / "runs" / "checkpoints" / "12"
    restored, restored_host = checkpoint.restore(path.parent, as_template(state))
    assert_same(restored, state)
    assert restored_host == host
    assert capfd.readouterr() == ("", "")


def test_state_of_empty_leaves_only(tmp_path):
    state = {"empty": jnp.zeros((0, 2))}
    checkpoint.save(tmp_path, 0, state, {}, keep=1)
    assert_same(checkpoint.restore(tmp_path, state)[0], state)


def test_restored_arrays_can_be_donated(tmp_path):
    state = {"a": jnp.arange(1000.0), "b": jnp.ones((64, 64))}
    checkpoint.save(tmp_path, 1, state, {}, keep=1)
    restored, _ = checkpoint.restore(tmp_path, state)
    bump = jax.jit(lambda tree: jax.tree.map(lambda leaf: leaf + 1, tree), donate_argnums=0)
    for _ in range(3):
        restored = bump(restored)
    assert_same(restored, jax.tree.map(lambda leaf: leaf + 3, state))
    assert_same(checkpoint.restore(tmp_path, state)[0], state)


def test_keeps_the_last_ones_and_replaces_a_step(tmp_path):
    assert checkpoint.latest(tmp_path / "nowhere") is None
    for step in (1, 5, 20, 100):
        checkpoint.save(tmp_path, step, make_state(step), {"step": step}, keep=2)
    assert checkpoint.steps(tmp_path) == [20, 100]
    assert checkpoint.latest(tmp_path) == 100
    checkpoint.save(tmp_path, 100, make_state(3), {"step": "again"}, keep=2)
    restored, host = checkpoint.restore(tmp_path, make_state())
    assert host == {"step": "again"}
    assert_same(restored, make_state(3))
    assert checkpoint.restore(tmp_path, make_state(), step=20)[1] == {"step": 20}
    checkpoint.save(tmp_path, 3, make_state(), {}, keep=1)
    assert checkpoint.steps(tmp_path) == [3, 100], "the one just written stays, old as its step may be"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["100", "3"]


def test_bad_arguments(tmp_path):
    for step, keep in ((-1, 1), (1, 0)):
        with pytest.raises(ValueError, match="step must be"):
            checkpoint.save(tmp_path, step, {}, {}, keep)
    with pytest.raises(TypeError):
        checkpoint.save(tmp_path, 1, make_state(), {"not json": object()}, keep=1)
    assert list(tmp_path.iterdir()) == []


def test_nothing_there(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(CheckpointError, match=f"no checkpoint under {folder}; train with"):
            checkpoint.restore(folder, make_state())
    checkpoint.save(tmp_path, 4, make_state(), {}, keep=1)
    with pytest.raises(CheckpointError, match=r"no checkpoint 5 under .*; available steps: 4"):
        checkpoint.restore(tmp_path, make_state(), step=5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s | {"scalar": jnp.float32(0)}, r"\['scalar'\] int32\(\), the run wants \['scalar'\] float32\(\)"),
        (lambda s: s | {"key": jnp.zeros(4, jnp.uint32)}, r"\['key'\] uint32\(2,\), .* \['key'\] uint32\(4,\)"),
        (lambda s: s | {"zzz": jnp.zeros(1)}, r"no further leaf, the run wants \['zzz'\] float32\(1,\)"),
        (lambda s: {k: v for k, v in s.items() if k != "bits"}, r"\['bits'\] .* wants \['bytes'\]"),
    ],
)
def test_a_template_that_does_not_fit(tmp_path, change, message):
    checkpoint.save(tmp_path, 1, make_state(), {}, keep=1)
    with pytest.raises(CheckpointError, match=message):
        checkpoint.restore(tmp_path, change(make_state()))


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _garble(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x01
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [_truncate, _garble, Path.unlink])
def test_any_damaged_file_is_named(tmp_path, damage):
    for step in (1, 2):
        checkpoint.save(tmp_path / "good", step, make_state(), {"step": step}, keep=2)
    files = [path.relative_to(tmp_path / "good") for path in (tmp_path / "good" / "2").rglob("*") if path.is_file()]
    files = [name for name in files if (tmp_path / "good" / name).stat().st_size]
    assert len(files) > 3
    for number, name in enumerate(files):
        folder = tmp_path / str(number)
        shutil.copytree(tmp_path / "good", folder)
        damage(folder / name)
        with pytest.raises(CheckpointError) as caught:
            checkpoint.restore(folder, make_state())
        assert str(folder / name) in str(caught.value) and "other steps: 1" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert checkpoint.restore(folder, make_state(), step=1)[1] == {"step": 1}


def test_a_disk_without_room_is_refused_beforehand(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, 1, make_state(), {}, keep=1)
    usage = shutil.disk_usage(tmp_path)._replace(free=5 * 2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DiskFullError, match=r"need 8\.0 MiB, free 5\.0 MiB"):
        checkpoint.save(tmp_path, 2, make_state(), {}, keep=1)
    assert [entry.name for entry in tmp_path.iterdir()] == ["1"]


def _noise(step: int, mebibytes: int) -> dict[str, jax.Array]:
    return {"noise": jax.random.bits(jax.random.PRNGKey(step), (mebibytes * 2**18,), jnp.uint32)}


def test_a_really_full_disk(tmp_path, monkeypatch):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = os.geteuid() == 0 and shutil.which("mount")
    if not mounted or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", disk], check=False).returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        checkpoint.save(disk, 1, _noise(1, 10), {}, keep=2)
        with pytest.raises(DiskFullError, match=r"need 32\.0 MiB"):
            checkpoint.save(disk, 2, _noise(2, 20), {}, keep=2)
        # Without the look beforehand: the disk fills up while Orbax writes.
        monkeypatch.setattr(checkpoint, "require_room", lambda *_: None)
        with pytest.raises(DiskFullError, match="no room for checkpoint 2 under"):
            checkpoint.save(disk, 2, _noise(2, 20), {}, keep=2)
        assert [entry.name for entry in disk.iterdir()] == ["1"]
        assert_same(checkpoint.restore(disk, _noise(0, 10))[0], _noise(1, 10))
    finally:
        subprocess.run(["umount", disk], check=True)


def _run(script: str, *arguments: object) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_a_file_size_limit(tmp_path):
    script = """
        import resource, sys
        from pathlib import Path
        import jax, jax.numpy as jnp
        from crl_jax.runs import checkpoint
        def noise(size):
            return {"noise": jax.random.bits(jax.random.PRNGKey(size), (size * 2**18,), jnp.uint32)}
        folder = Path(sys.argv[1])
        checkpoint.save(folder, 1, noise(1), {}, keep=1)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4 * 2**20, 4 * 2**20))
        try:
            checkpoint.save(folder, 2, noise(16), {}, keep=1)
        except checkpoint.DiskFullError as error:
            print("REFUSED", error)
        assert [entry.name for entry in folder.iterdir()] == ["1"], list(folder.iterdir())
        checkpoint.restore(folder, noise(1))
        print("LOADED")
    """
    process = _run(script, tmp_path)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0 and "REFUSED no room for checkpoint 2" in output and "LOADED" in output, output


SAVE_FOREVER = """
    import itertools, sys
    from pathlib import Path
    import jax, jax.numpy as jnp
    from crl_jax.runs import checkpoint
    for step in itertools.count(int(sys.argv[2])):
        key = jax.random.PRNGKey(step)
        noise = {f"noise_{i}": jax.random.bits(jax.random.fold_in(key, i), (2**18,), jnp.uint32) for i in range(4)}
        checkpoint.save(Path(sys.argv[1]), step, noise, {"step": step}, keep=2)
        print(step, flush=True)
"""


def test_kill_while_saving(tmp_path):
    generator = random.Random(0)
    start = 1
    for _ in range(3):
        process = _run(SAVE_FOREVER, tmp_path, start)
        assert process.stdout is not None
        finished = int(process.stdout.readline())
        time.sleep(generator.uniform(0.0, 0.4))
        process.send_signal(signal.SIGKILL)
        finished = max([finished, *map(int, process.stdout.read().split())])
        process.wait(timeout=30)
        for step in checkpoint.steps(tmp_path):
            key = jax.random.PRNGKey(step)
            noise = {f"noise_{i}": jax.random.bits(jax.random.fold_in(key, i), (2**18,), jnp.uint32) for i in range(4)}
            restored, host = checkpoint.restore(tmp_path, noise, step=step)
            assert host == {"step": step}
            assert_same(restored, noise)
        newest = checkpoint.latest(tmp_path)
        assert newest is not None and newest >= finished, "a checkpoint that was announced is gone"
        start = newest + 1
    checkpoint.save(tmp_path, start, make_state(), {}, keep=1)
    assert [entry.name for entry in tmp_path.iterdir()] == [str(start)], "the next save sweeps up"


def test_shardings_of_the_template_are_kept(tmp_path):
    script = """
        import os, sys
        os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
        from pathlib import Path
        import jax, jax.numpy as jnp
        from jax.sharding import NamedSharding, PartitionSpec
        from crl_jax.runs import checkpoint
        mesh = jax.make_mesh((2,), ("data",))
        state = {
            "split": jax.device_put(jnp.arange(8.0), NamedSharding(mesh, PartitionSpec("data"))),
            "whole": jax.device_put(jnp.ones(3), NamedSharding(mesh, PartitionSpec())),
        }
        checkpoint.save(Path(sys.argv[1]), 1, state, {}, keep=1)
        restored, _ = checkpoint.restore(Path(sys.argv[1]), state)
        for name, leaf in state.items():
            assert restored[name].sharding == leaf.sharding, name
            assert restored[name].tolist() == leaf.tolist(), name
    """
    process = _run(script, tmp_path)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
