"""Simplified scenes for engine `jax`, and the table of faithful tasks."""

from __future__ import annotations

import itertools

import mujoco
import numpy as np
import pytest

from benchmarks import common
from benchmarks.fidelity import POINTS
from configs import PRESETS
from crl_jax import cli
from envs_mjx import EnvError, describe, make
from envs_mjx.metaworld import faithful
from envs_mjx.metaworld.jax_scenes import JAX_EDITS, Fit, colliding_pairs, load_jax_model
from envs_mjx.metaworld.layout import make_scene
from envs_mjx.metaworld.scenes import load_model
from envs_mjx.metaworld.single_goal import SINGLE_GOAL
from envs_mjx.metaworld.tasks import TASKS
from tests.support.rotation import rotating

ROWS = TASKS | SINGLE_GOAL


def test_every_scene_has_its_row_and_no_row_is_idle() -> None:
    assert JAX_EDITS.keys() == {row.scene for row in ROWS.values()}


@pytest.mark.parametrize("task", rotating(ROWS))
def test_derived_scenes_keep_joints_masses_and_what_is_read(task: str) -> None:
    scene = make_scene(ROWS[task])
    official, derived = scene.model, scene.simplified()
    for field in ("jnt_type", "jnt_qposadr", "qpos0", "dof_damping", "actuator_ctrlrange", "eq_data"):
        np.testing.assert_array_equal(getattr(derived, field), getattr(official, field))
    parts, fixture = scene.parts, scene.placement.fixture
    assert derived.nsensordata == official.nsensordata
    for part in (*parts.points, *parts.rotations):
        assert getattr(derived, part.kind)(part.name)
    if fixture:
        np.testing.assert_array_equal(derived.body(fixture).pos, official.body(fixture).pos)
    # The same masses at the same places: the same inertia at the default pose, seen by every joint.
    inertia = []
    for model in (official, derived):
        data, full = mujoco.MjData(model), np.zeros((model.nv, model.nv))
        mujoco.mj_forward(model, data)
        mujoco.mj_fullM(model, data, full)
        inertia.append(full)
    np.testing.assert_allclose(inertia[1], inertia[0], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("scene", JAX_EDITS)
def test_mjx_takes_the_derived_scene(scene: str) -> None:
    from mujoco import mjx

    official, derived = load_model(scene), load_jax_model(scene)
    assert colliding_pairs(derived) == len(JAX_EDITS[scene].pairs) < 10 < colliding_pairs(official)
    data = mjx.make_data(derived, impl="jax")
    assert mjx.put_model(derived, impl="jax").npair == derived.npair
    assert data.qpos.shape == (official.nq,)


@pytest.mark.parametrize("scene", rotating(JAX_EDITS))
def test_fitted_shapes_lie_inside_the_geoms_that_they_stand_for(scene: str) -> None:
    official, derived = load_model(scene), load_jax_model(scene)
    shapes = {part for part in itertools.chain.from_iterable(JAX_EDITS[scene].pairs) if isinstance(part, Fit)}
    for shape in (shape for shape in shapes if shape.geom != "palm"):
        index = official.geom(shape.geom).id
        name = official.geom(index).name or f"geom_{index}"
        geom, fitted = derived.geom(name), derived.geom(f"{name}_{shape.shape}")
        assert geom.type[0] == official.geom_type[index]
        assert fitted.bodyid[0] == geom.bodyid[0]
        corners = _surface(fitted.type[0], fitted.size) @ _matrix(fitted.quat).T + fitted.pos - geom.pos
        local = np.abs(corners @ _matrix(geom.quat)) - 1e-9
        if geom.type[0] == mujoco.mjtGeom.mjGEOM_CYLINDER:
            assert np.linalg.norm(local[:, :2], axis=-1).max() <= geom.size[0]
            assert local[:, 2].max() <= geom.size[1]
        else:
            assert geom.type[0] == mujoco.mjtGeom.mjGEOM_BOX
            assert (local <= geom.size).all()


def _matrix(quat: np.ndarray) -> np.ndarray:
    matrix = np.zeros(9)
    mujoco.mju_quat2Mat(matrix, quat)
    return matrix.reshape(3, 3)


def _surface(kind: int, size: np.ndarray) -> np.ndarray:
    """(N, 3) extreme points on the surface of a sphere, capsule or box."""
    if kind == mujoco.mjtGeom.mjGEOM_BOX:
        return np.array(list(itertools.product(*((-side, side) for side in size))))
    turns = np.linspace(0, 2 * np.pi, 25)
    ring = np.stack([np.cos(turns), np.sin(turns), np.zeros_like(turns)], axis=-1) * size[0]
    half = size[1] if kind == mujoco.mjtGeom.mjGEOM_CAPSULE else 0.0
    along = np.array([0.0, 0.0, 1.0])
    ends = [along * (half + size[0]), -along * (half + size[0])]
    return np.concatenate([ring + half * along, ring - half * along, ends])


# -- what is faithful --------------------------------------------------------------------------------------------------


def test_what_counts_as_faithful_is_what_was_measured() -> None:
    rows = [row for row in common.read_rows("fidelity") if row["engine"] in ("warp", "jax")]
    for row in rows:
        assert row["faithful"] == (abs(row["success"] - row["c_success"]) <= POINTS), row
    for engine, tasks in faithful.FAITHFUL.items():
        assert tasks == tuple(row["task"] for row in rows if row["engine"] == engine and row["faithful"])
    for engine, tasks in faithful.UNFAITHFUL.items():
        assert tasks == tuple(row["task"] for row in rows if row["engine"] == engine and not row["faithful"])


def test_an_unfaithful_engine_is_marked_and_refused_in_one_line() -> None:
    assert describe("sawyer_box").unfaithful == ("jax",)
    assert describe("point_U").unfaithful == ()
    with pytest.raises(EnvError) as caught:
        make("sawyer_box", 2, physics="jax")
    message = str(caught.value)
    assert "\n" not in message
    for words in ("physics='jax'", "sawyer_box", "physics='c' or 'warp'", "allow_unfaithful=True", "docs/fidelity.md"):
        assert words in message
    assert make("point_U", 2, physics="jax").num_envs == 2


def test_the_list_of_tasks_marks_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(PRESETS, ["envs"]) == 0
    out = capsys.readouterr().out
    assert "jax*" in out and "--allow-unfaithful" in out
