"""Where a scene's fixture stands in each simulation of the engines `warp` and `jax`.

A reset moves the fixture's body, see `Placement.fixture`. Axis letters: E environments.
"""

from __future__ import annotations

import mujoco
import numpy as np

from envs_mjx.physics.base import Scene


class Fixture:
    """The fixture of a scene.

    Warp's kinematics leaves geoms welded to the world where `make_data` put them (mujoco_warp/_src/smooth.py,
    `_geom_local_to_global`). If only the body moved, the fixture would still collide at its old position.

    Attributes:
        body: index of the body; None where the scene has no fixture.
        settled: (3,) its position in its parent in the settled state, metres; zeros without a fixture.
        static: (ngeom,) 1 for geoms that stand on it and never move.
        turn: (3, 3) frame of its parent.
    """

    def __init__(self, scene: Scene, model: mujoco.MjModel):
        name = scene.placement.fixture
        self.body = model.body(name).id if name else None
        self.settled = np.zeros(3, np.float32)
        self.static, self.turn = np.zeros(model.ngeom, np.float32), np.eye(3, dtype=np.float32)
        if self.body is None:
            return
        self.settled = model.body_pos[self.body].astype(np.float32)
        below = np.zeros(model.nbody, bool)
        below[self.body] = True
        for body in range(self.body + 1, model.nbody):
            below[body] = below[model.body_parentid[body]]
        self.static[below[model.geom_bodyid] & (model.body_weldid[model.geom_bodyid] == 0)] = 1
        parent = scene.data.xmat[scene.model.body(name).parentid[0]]
        self.turn = parent.reshape(3, 3).astype(np.float32)
