"""Engine `jax`: the substeps by MJX, MuJoCo on plain JAX, for any XLA device.

With impl="warp" MJX calls Warp itself. `pictures/pixels.py` draws so, and tests compare `WarpStepper` with it.
"""

from __future__ import annotations

from typing import Any

import jax
import mujoco
import numpy as np
from mujoco import mjx

from envs_mjx.physics.base import MocapControl, Scene, WeldControl
from envs_mjx.physics.dynamics import Dynamics, Refresh, Stepped
from envs_mjx.physics.fixture import Fixture
from envs_mjx.physics.tracing import careful


class MjxStepper:
    """`Stepper` on MJX.

    Args:
        scene: the scene. model: the model to simulate. fixture: where its fixture is.
        impl: "jax" or "warp". buffers: sizes of Warp's buffers, see `MjxPhysics`.

    Raises:
        NotImplementedError, ValueError: MJX does not take this model.
    """

    def __init__(self, scene: Scene, model: mujoco.MjModel, fixture: Fixture, impl: str = "jax", **buffers: int):
        self.scene, self.fixture, self.impl = scene, fixture, impl
        self.model, self._blank = mjx.put_model(model, impl=impl), mjx.make_data(model, impl=impl, **buffers)
        if isinstance(scene.control, MocapControl):
            quat = np.array(scene.control.quat, np.float32)
            self._blank = self._blank.replace(mocap_quat=jax.numpy.asarray(quat)[None])

    def run(self, engine: Dynamics, ctrl: jax.Array | None, substeps: int, refresh: Refresh) -> Stepped:
        def one(engine: Dynamics, ctrl: jax.Array | None) -> tuple[Dynamics, Any]:
            model, data = self.lay_out(engine, ctrl)
            if substeps:
                step = lambda data, _: (mjx.step(model, data), None)  # noqa: E731
                data = jax.lax.scan(step, data, length=substeps)[0]
            if refresh != "no":
                data = (mjx.kinematics if refresh == "poses" else mjx.forward)(model, data)
            return engine.replace(qpos=data.qpos, qvel=data.qvel, warmstart=data.qacc_warmstart), data

        with careful(self.impl):
            return Stepped(*jax.vmap(one)(engine, ctrl), used=None)

    def lay_out(self, engine: Dynamics, ctrl: jax.Array | None = None) -> tuple[Any, Any]:
        """MJX model and data of one simulation (E = 1, no axis); the model has that simulation's fixture position."""
        model, blank, fixture = self.model, self._blank, self.fixture
        if fixture.body is not None:
            model = model.replace(body_pos=model.body_pos.at[fixture.body].set(engine.fixture))
            moved = fixture.turn @ (engine.fixture - fixture.settled)
            blank = blank.replace(geom_xpos=blank.geom_xpos + fixture.static[:, None] * moved)
        data = blank.replace(qpos=engine.qpos, qvel=engine.qvel, qacc_warmstart=engine.warmstart)
        if ctrl is not None:
            data = data.replace(ctrl=ctrl)
        if isinstance(self.scene.control, MocapControl | WeldControl):
            data = data.replace(mocap_pos=engine.mocap[None])
        if engine.turn is not None:
            data = data.replace(mocap_quat=engine.turn[None])
        return model, data
