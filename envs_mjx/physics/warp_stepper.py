"""Engine `warp`: the substeps by MuJoCo Warp's kernels; on an NVIDIA GPU, or slowly on the CPU.

JAX calls Warp once for an env step: all substeps and the poses after them are one CUDA graph. Only the state goes in,
and only what the scene reads comes out; MuJoCo's other fields are scratch that Warp keeps. MJX's own way calls Warp for
each substep, with some 400 arrays, and XLA then launches a copy or a fill for each scratch array that Warp may write.
The numbers are the same, bit for bit (`tests/envs_mjx/physics/test_warp_stepper.py`).

Axis letters: E environments, W worlds of one call: E, or S * E where `vmap` adds S seeds.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import warp
from mujoco.mjx.third_party import mujoco_warp

from envs_mjx.physics.base import MocapControl, Scene, WeldControl
from envs_mjx.physics.dynamics import Dynamics, Refresh, Stepped, fields_read
from envs_mjx.physics.fixture import Fixture

_MATRIX, _INTEGERS = warp.array2d(dtype=warp.float32), warp.array2d(dtype=warp.int32)
_VECTORS, _QUATERNIONS = warp.array2d(dtype=warp.vec3), warp.array2d(dtype=warp.quat)
_KINDS = {
    **dict.fromkeys(("qpos", "qvel", "qacc_warmstart", "ctrl", "sensordata"), _MATRIX),
    **dict.fromkeys(("mocap_pos", "body_pos", "xpos", "site_xpos", "geom_xpos", "subtree_com"), _VECTORS),
    **dict.fromkeys(("mocap_quat", "xquat"), _QUATERNIONS),
    **dict.fromkeys(("xmat", "site_xmat", "geom_xmat"), warp.array2d(dtype=warp.mat33)),
    "cdof": warp.array2d(dtype=warp.spatial_vector),
    "used": _INTEGERS,
}
"""MuJoCo's fields that go in or out, as Warp has them: (W, number of elements)."""
_STATE = ("qpos", "qvel", "qacc_warmstart")


class _Scratch(NamedTuple):
    """Warp's model and data of W worlds on one device. The fields that a call sets are those of its call."""

    model: Any
    data: Any


class WarpStepper:
    """`Stepper` on MuJoCo Warp.

    Args:
        scene: the scene. model: the model to simulate. fixture: where its fixture is.
        num_envs: E.
        naconmax: size of the buffer of contacts, all environments together.
        njmax: size of the buffer of constraint rows, per environment.

    Raises:
        NotImplementedError, ValueError, RuntimeError: Warp does not take this model.
    """

    def __init__(self, scene: Scene, model: mujoco.MjModel, fixture: Fixture, num_envs: int, naconmax: int, njmax: int):
        self.scene, self.model, self.fixture, self.num_envs = scene, model, fixture, num_envs
        self.naconmax, self.njmax = naconmax, njmax
        self._scratch: dict[tuple[int, str], _Scratch] = {}
        self._read = fields_read(scene)
        with warp.ScopedDevice("cpu"):
            mujoco_warp.put_model(model)  # Raises for what Warp cannot simulate, before anything is traced.
            self._geoms = np.array(mujoco_warp.make_data(model, nworld=1).geom_xpos.numpy()[0])
        self._call = functools.cache(self._make_call)

    def run(self, engine: Dynamics, ctrl: jax.Array | None, substeps: int, refresh: Refresh) -> Stepped:
        count = len(engine.qpos)
        given = {"qpos": engine.qpos, "qvel": engine.qvel, "qacc_warmstart": engine.warmstart}
        given["ctrl"] = jnp.zeros((count, self.model.nu)) if ctrl is None else ctrl
        if isinstance(self.scene.control, MocapControl | WeldControl):
            given["mocap_pos"] = engine.mocap[:, None]
        if engine.turn is not None:
            given["mocap_quat"] = engine.turn[:, None]
        if self.fixture.body is not None:
            moved = engine.fixture - self.fixture.settled
            moved = jnp.matmul(moved, self.fixture.turn.T, precision="highest")
            given["geom_xpos"] = self._geoms + self.fixture.static[:, None] * moved[:, None]
            given["body_pos"] = jnp.broadcast_to(jnp.float32(self.model.body_pos), (count, self.model.nbody, 3))
            given["body_pos"] = given["body_pos"].at[:, self.fixture.body].set(engine.fixture)
        found = self._call(substeps, refresh, tuple(given), _device().platform != "cpu")(given)
        after = engine.replace(qpos=found["qpos"], qvel=found["qvel"], warmstart=found["qacc_warmstart"])
        return Stepped(after, _Fields(found), found["used"])

    def _make_call(
        self, substeps: int, refresh: Refresh, given: tuple[str, ...], on_gpu: bool
    ) -> Callable[[dict[str, jax.Array]], dict[str, jax.Array]]:
        """A JAX function: fields `given` -> the state's fields, those that the scene reads, and `used`.

        Only a GPU has graphs of launches (`on_gpu`).
        """
        found = (*_STATE, *self._read, "used")

        def call_warp(*arrays: Any) -> None:
            inputs = dict(zip(given, arrays, strict=False))
            self._simulate(inputs, dict(zip(found, arrays[len(given) :], strict=True)), substeps, refresh)

        kinds = {name: _KINDS[name] for name in given} | {f"{name}_after": _KINDS[name] for name in found}
        by_position = inspect.Parameter.POSITIONAL_OR_KEYWORD
        call_warp.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [inspect.Parameter(name, by_position, annotation=kind) for name, kind in kinds.items()]
        )
        call_warp.__annotations__ = kinds
        modes = warp.JaxCallableGraphMode
        mode = modes.WARP if on_gpu else modes.NONE
        from_jax = warp.jax_callable(call_warp, len(found), graph_mode=mode, vmap_method=None)

        @jax.custom_batching.custom_vmap
        def call(fields: dict[str, jax.Array]) -> dict[str, jax.Array]:
            worlds = len(fields["qpos"])
            data = self._make_scratch_for(worlds)
            sizes = {f"{name}_after": (worlds, 2 if name == "used" else getattr(data, name).shape[1]) for name in found}
            return dict(zip(found, from_jax(*(fields[name] for name in given), output_dims=sizes), strict=True))

        @call.def_vmap
        def batched(size: int, is_batched: list[dict[str, bool]], fields: dict[str, jax.Array]) -> Any:
            def flat(field: jax.Array, has_axis: bool) -> jax.Array:
                field = field if has_axis else jnp.broadcast_to(field, (size, *field.shape))
                return field.reshape(-1, *field.shape[2:])

            after = call(jax.tree.map(flat, fields, is_batched[0]))
            after = {name: field.reshape(size, -1, *field.shape[1:]) for name, field in after.items()}
            return after, dict.fromkeys(after, True)

        return call

    def _make_scratch_for(self, worlds: int) -> Any:
        """Scratch on every device where this call may run, made while JAX traces; returns the data of one of them."""
        devices = [_device()]
        if not jax.sharding.get_abstract_mesh().empty:  # Inside shard_map.
            devices = jax.local_devices()
        names = ["cpu" if device.platform == "cpu" else str(warp.device_from_jax(device)) for device in devices]
        scratch = [self._scratch_on(worlds, name) for name in names]
        return scratch[0].data

    def _scratch_on(self, worlds: int, device: str) -> _Scratch:
        if (worlds, device) not in self._scratch:
            with warp.ScopedDevice(device):
                model = mujoco_warp.put_model(self.model)
                # `used` reports an overflow, so the kernels need not print it.
                model.opt.warn_overflow = 0
                contacts = self.naconmax * (worlds // self.num_envs)
                data = mujoco_warp.make_data(self.model, nworld=worlds, naconmax=contacts, njmax=self.njmax)
                if isinstance(self.scene.control, MocapControl):
                    quaternions = np.tile(np.array(self.scene.control.quat, np.float32), (worlds, 1, 1))
                    data.mocap_quat = warp.array(quaternions, dtype=warp.quat)
            self._scratch[worlds, device] = _Scratch(model, data)
        return self._scratch[worlds, device]

    def _simulate(self, given: dict[str, Any], found: dict[str, Any], substeps: int, refresh: Refresh) -> None:
        """Warp's part of a call: from arrays of XLA to arrays of XLA, on their device."""
        worlds, device = len(given["qpos"]), str(given["qpos"].device)
        model, data = self._scratch[worlds, device]
        given = dict(given)
        for name in _STATE:  # The state is stepped in the arrays that JAX gets back.
            warp.copy(found[name], given.pop(name))
            setattr(data, name, found[name])
        if "body_pos" in given:
            model.body_pos = given.pop("body_pos")
            warp.copy(data.geom_xpos, given.pop("geom_xpos"))
        for name, array in given.items():
            setattr(data, name, array)
        for stale in (data.cvel, data.cdof_dot):
            # Equality constraints read these velocities before a substep computes them anew (mujoco_warp/_src/
            # constraint.py, `jac_dot_dof`); a result must not depend on the call before.
            stale.zero_()

        found["used"].zero_()
        note = functools.partial(warp.launch, _note, dim=worlds, outputs=[found["used"]])
        counters = [data.nacon, data.ncollision, data.nefc, worlds // self.num_envs]
        for _ in range(substeps):
            mujoco_warp.step(model, data)
            note(inputs=counters)
        if refresh == "poses":
            mujoco_warp.kinematics(model, data)
        elif refresh == "all":
            mujoco_warp.forward(model, data)
            note(inputs=counters)
        for name in self._read:
            warp.copy(found[name], getattr(data, name))


def _device() -> Any:
    """Where JAX runs what is traced now, outside shard_map."""
    return jax.config.jax_default_device or jax.local_devices()[0]  # type: ignore[attr-defined]


class _Fields:
    """MuJoCo's fields of a call as attributes."""

    def __init__(self, found: dict[str, jax.Array]):
        self.__dict__.update(found)


@warp.kernel
def _note(
    nacon: warp.array(dtype=int),  # type: ignore[valid-type]
    ncollision: warp.array(dtype=int),  # type: ignore[valid-type]
    nefc: warp.array(dtype=int),  # type: ignore[valid-type]
    lanes: int,
    used: warp.array2d(dtype=int),  # type: ignore[valid-type]
):
    """The largest need of each buffer so far: contacts (or pairs) for each seed, and constraint rows of each world.

    Warp's counters keep counting beyond the end of a buffer (mujoco_warp/_src/forward.py, `_next_time`). The pool of
    contacts also holds the pairs that may collide.
    """
    world = warp.tid()
    pool = (warp.max(nacon[0], ncollision[0]) + lanes - 1) // lanes
    used[world, 0] = warp.max(used[world, 0], pool)
    used[world, 1] = warp.max(used[world, 1], nefc[world])
