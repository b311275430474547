"""Several processes are one program: two on localhost, each with one CPU device, joined by `jax.distributed`."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from crl_jax import runs
from crl_jax.config import Config, ConfigError
from crl_jax.runs import checkpoint
from crl_jax.runs.loggers import read_metrics
from crl_jax.scale import hosts
from tests import ROOT

CHECKPOINT_EVERY = 320

PROGRAM = """
import hashlib, sys
from pathlib import Path
import jax, numpy as np
from configs import PRESETS
from crl_jax import cli
from crl_jax.runs import checkpoint

save = checkpoint.save
def telling(folder, step, state, *rest):
    leaves = [np.asarray(leaf.addressable_data(0)) for leaf in jax.tree.leaves(state.agent)]
    print("HASH", step, hashlib.sha256(b"".join(leaf.tobytes() for leaf in leaves)).hexdigest(), flush=True)
    if jax.process_count() > 1:
        shard = state.ring.obs.addressable_shards[0].data
        assert shard.shape[1] * jax.device_count() == state.ring.obs.shape[1], "each holds its own columns alone"
    return save(folder, step, state, *rest)
checkpoint.save = telling
sys.exit(cli.main(PRESETS, sys.argv[1:]))
"""

TINY = (
    "--preset reach_cpu --num-envs 16 --eval-episodes 16 --unroll-length 10 --horizon 20 --replay-capacity 1600"
    f" --min-replay 320 --batch-size 16 --updates-per-iteration 2 --width 16 --critic-depth 1 --actor-depth 1"
    f" --iterations-per-round 1 --eval-every 10000000 --checkpoint-every {CHECKPOINT_EVERY} --no-video"
)

CHECKPOINTS = """
import sys
from pathlib import Path
import jax, jax.numpy as jnp, numpy as np
from crl_jax import runs
from crl_jax.runs import checkpoint
from crl_jax.scale import hosts, parallel
from jax.sharding import Mesh, PartitionSpec as P
folder, me = Path(sys.argv[1]), int(sys.argv[-1])
with hosts.joined(sys.argv[3], int(sys.argv[5]), me):
    mesh = Mesh(np.array(jax.devices()), ("data",))
    specs = {"rows": P(None, "data"), "empty": P("data"), "whole": P()}
    def make(seed):
        rows = jnp.arange(12.0).reshape(3, 4) + seed
        mine = jax.lax.dynamic_slice_in_dim(rows, jax.lax.axis_index("data") * 2, 2, 1)
        return {"rows": mine, "empty": jnp.zeros((2, 0)), "whole": seed * jnp.ones(3)}
    make = parallel.jitted(make, mesh, P(), specs)
    state = make(parallel.copied(jnp.float32(1), mesh))
    template = parallel.shaped(jax.eval_shape(lambda: state), specs, mesh)
    checkpoint.save(folder, 1, state, {"who": "all"}, keep=1)
    checkpoint.save(folder, 2, make(parallel.copied(jnp.float32(2), mesh)), {"who": "all"}, keep=1)
    assert checkpoint.steps(folder) == [2], checkpoint.steps(folder)
    restored, host = checkpoint.restore(folder, template)
    assert host == {"who": "all"} and restored["empty"].shape == (4, 0)
    for name, leaf in restored.items():
        assert leaf.sharding == state[name].sharding, name
    bump = jax.jit(lambda tree: jax.tree.map(lambda leaf: leaf + 1, tree), donate_argnums=0)
    shard = bump(restored)["rows"].addressable_shards[0]
    assert (np.asarray(shard.data) == (np.arange(12.0).reshape(3, 4) + 3)[shard.index]).all()
    try:
        checkpoint.restore(folder, template, step=7)
        raise AssertionError("restored")
    except (checkpoint.CheckpointError, hosts.HostError) as error:
        told = str(error)
        assert type(error) is (checkpoint.CheckpointError if me == 0 else hosts.HostError)
    assert "no checkpoint 7" in told and "available steps: 2" in told
    stop = runs.StopRequest()
    assert not stop.agreed()
    stop.signal = "SIGTERM" if me == 1 else None
    assert stop.agreed() and stop.signal == "SIGTERM"
    if me == 1:
        alone = checkpoint.restore(folder, jax.eval_shape(lambda: {k: jnp.zeros(v.shape) for k, v in state.items()}))[0]
        assert alone["rows"].tolist() == (np.arange(12.0).reshape(3, 4) + 2).tolist()
if me == 0:  # After the others have gone: as for the film.
    alone = checkpoint.restore(folder, jax.eval_shape(lambda: {k: jnp.zeros(v.shape) for k, v in state.items()}))[0]
    assert alone["rows"].tolist() == (np.arange(12.0).reshape(3, 4) + 2).tolist()
print("DONE")
"""


class Pair:
    """Two processes of one program, with their output in files."""

    def __init__(self, folder: Path, *arguments: str, count: int = 2, program: str = PROGRAM):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
        environment |= {"JAX_COMPILATION_CACHE_DIR": str(folder / "xla"), "JAX_ENABLE_COMPILATION_CACHE": "true"}
        self.reached = checkpoint.latest(folder / "run" / runs.CHECKPOINTS) or 0
        self.outputs = [folder / f"output-{time.monotonic_ns()}-{index}" for index in range(count)]
        self.processes = []
        for index, output in enumerate(self.outputs):
            joined = ["--coordinator", f"localhost:{port}", "--num-processes", str(count), "--process-id", str(index)]
            command = [sys.executable, "-c", program, *arguments, *joined]
            with open(output, "w") as file:
                self.processes.append(subprocess.Popen(command, env=environment, stdout=file, stderr=file))

    def text(self, index: int) -> str:
        return self.outputs[index].read_text()

    def hashes(self, index: int) -> list[str]:
        return [line for line in self.text(index).splitlines() if line.startswith("HASH")]

    def end(self, seconds: float = 900) -> list[int]:
        """Wait for the exit codes. A process that does not end in time is killed, and the test fails."""
        until = time.monotonic() + seconds
        try:
            return [process.wait(max(1.0, until - time.monotonic())) for process in self.processes]
        finally:
            for process in self.processes:
                process.kill()

    def wait_for_checkpoint(self, folder: Path, after: int = 0) -> None:
        while all(process.poll() is None for process in self.processes):
            if (checkpoint.latest(folder / runs.CHECKPOINTS) or 0) > after:
                return
            time.sleep(0.1)
        raise AssertionError(self.text(0) + self.text(1))


def test_checkpoints_and_decisions_of_two_processes(tmp_path: Path) -> None:
    pair = Pair(tmp_path, str(tmp_path / "checkpoints"), program=CHECKPOINTS)
    assert pair.end() == [0, 0], pair.text(0) + pair.text(1)
    assert "DONE" in pair.text(0) and "DONE" in pair.text(1)


@pytest.mark.slow
def test_two_processes_train_agree_stop_and_resume(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    fresh = ["train", "point_U", *TINY.split(), "--devices", "2", "--runs", str(tmp_path), "--name", "run"]
    resume = ["train", "--resume", str(folder)]
    forever = ["--total-env-steps", "1000000000"]
    for lost, arguments in ((1, fresh), (0, resume)):
        pair = Pair(tmp_path, *arguments, *forever)
        pair.wait_for_checkpoint(folder, after=pair.reached)
        pair.processes[lost].kill()
        killed = time.monotonic()
        codes = pair.end(seconds=60)
        assert time.monotonic() - killed < 60 and codes[lost] == -signal.SIGKILL and codes[1 - lost] == 2
        assert f"crl: error: {hosts.LOST}" in pair.text(1 - lost).splitlines()
        common = min(len(pair.hashes(0)), len(pair.hashes(1)))
        assert common > 0 and pair.hashes(0)[:common] == pair.hashes(1)[:common], "the same parameters, bit by bit"

    pair = Pair(tmp_path, *resume, *forever)
    pair.wait_for_checkpoint(folder, after=pair.reached)
    pair.processes[1].send_signal(signal.SIGTERM)
    assert pair.end() == [0, 0], "asked of one process, both stop"
    assert "Stopped by SIGTERM" in pair.text(0) and pair.hashes(0) == pair.hashes(1)
    assert "env steps" in pair.text(0) and "env steps" not in pair.text(1), "process 0 alone speaks"
    steps = [record["env_steps"] for record in read_metrics(folder) if "train/critic_loss" in record]
    assert steps == sorted(set(steps)), "one logger"
    assert len((folder / runs.COMMAND).read_text().splitlines()) == 3

    reached = checkpoint.latest(folder / runs.CHECKPOINTS) or 0
    alone = Pair(tmp_path, *resume, "--devices", "1", "--total-env-steps", str(reached + 320), count=1)
    assert alone.end() == [0], alone.text(0)
    assert checkpoint.latest(folder / runs.CHECKPOINTS) == reached + 320, "one device goes on with what two have left"


@pytest.mark.slow
def test_two_processes_learn_to_reach(tmp_path: Path) -> None:
    """The README's command at half its length reaches success 0.9; both processes have equal parameters, bit by bit."""
    learn = "--preset reach_cpu --devices 2 --threads 1 --no-video --total-env-steps 125000 --checkpoint-every 60000"
    pair = Pair(tmp_path, "train", "reach", *learn.split(), "--runs", str(tmp_path), "--name", "run")
    assert pair.end() == [0, 0], pair.text(0) + pair.text(1)
    scores = [row["eval/success_final"] for row in read_metrics(tmp_path / "run") if "eval/success_final" in row]
    assert scores[-1] >= 0.9, scores
    assert len(pair.hashes(0)) >= 2 and pair.hashes(0) == pair.hashes(1)


@pytest.mark.slow
def test_a_process_without_work_is_refused(tmp_path: Path) -> None:
    pair = Pair(tmp_path, "train", "point_U", *TINY.split(), "--devices", "1", "--runs", str(tmp_path))
    assert pair.end() == [2, 2]
    for index in (0, 1):
        assert "crl: error: devices=1: the 2 processes have 2 in all, and use all; set 2" in pair.text(index)


@pytest.mark.slow
def test_a_missing_process_is_told() -> None:
    code = "from crl_jax.scale import hosts\nwith hosts.joined('localhost:47113', 2, 1, join_seconds=5): pass"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "crl: error: not all processes joined at localhost:47113 within 5 s" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("host:1", None, None), "num_processes is missing: give coordinator, num_processes and process_id, or none"),
        ((None, 2, 0), "coordinator is missing"),
        ((None, 0, None), "num_processes=0: must be at least 1"),
        (("host", 2, 0), "coordinator='host': must be HOST:PORT, e.g. host:12345"),
        (("host:99999", 2, 0), "coordinator='host:99999': the port must lie in 1 ... 65535, e.g. host:12345"),
        (("host:0", 2, 0), "coordinator='host:0': the port must lie in 1 ... 65535"),
        (("host:1", 2, 2), r"process_id=2: must lie in 0 ... 1 \(num_processes - 1\)"),
    ],
)
def test_arguments_that_do_not_belong_together(arguments, message) -> None:
    with pytest.raises(ConfigError, match=message), hosts.joined(*arguments):
        raise AssertionError("entered")


def test_a_coordinator_that_cannot_be_is_refused_at_once() -> None:
    with (
        pytest.raises(ConfigError, match=r"coordinator='nowhere.invalid:1234': no such host"),
        hosts.joined("nowhere.invalid:1234", 2, 1),
    ):
        pass
    with socket.socket() as busy:
        busy.bind(("", 0))
        busy.listen()
        port = busy.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} is not free here"), hosts.joined(f"localhost:{port}", 2, 0):
            pass


def test_one_process_needs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    with hosts.joined():
        assert hosts.count() == 1 and hosts.is_leader()
    with hosts.joined("host:1", 1, 0):
        assert hosts.largest(7) == 7 and hosts.from_leader(lambda: Path("a")) == "a"
    hosts.check_devices(Config())
    with pytest.raises(ZeroDivisionError):
        hosts.from_leader(lambda: 1 // 0)


def test_slurm_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hosts._slurm_tasks() == 1
    step = {"JOB_ID": 7, "STEP_NODELIST": "n[1-2]", "NTASKS": 8, "PROCID": 3, "LOCALID": 3, "STEP_NUM_NODES": 2}
    for name, value in step.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert hosts._slurm_tasks() == 8 and hosts._local_devices() is None, "JAX gives each task the GPU of its local id"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    assert hosts._local_devices() == [], "bound by Slurm: all that is seen, one"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    monkeypatch.setenv("SLURM_NTASKS", "2")
    assert hosts._local_devices() == [], "one process per host: all that is seen"
