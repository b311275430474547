"""Scenes for MJX's JAX engine, derived from the official scenes by declared edits: one row of `JAX_EDITS` per scene.

On MJX-JAX every pair of geoms that may collide costs compile and run time, and a cylinder cannot collide with a box. So
all official collisions are switched off. A row names the few pairs that its tasks need; some of their geoms get a
simpler fitted shape. Joints, masses, control and the points that are read stay official.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass

import mujoco
import numpy as np

from envs_mjx.metaworld.scenes import add_touches, asset_folder, load_model, with_weld

_GEOM, _BOX_SIDE = mujoco.mjtGeom, 2**-0.5
_TABLE_TOP: dict[str, np.ndarray] = {
    "friction": np.array([1.0, 0.005, 0.0001]),
    "solref": np.array([0.02, 1.0]),
    "solimp": np.array([0.9, 0.95, 0.001, 0.5, 2.0]),
    "condim": np.array(3),
}


@dataclass(frozen=True)
class Fit:
    """A simple massless shape at the pose of an official geom, for collisions only.

    shape: "sphere" or "capsule" inscribed in a box or cylinder; "box" inscribed in a cylinder, or around a mesh.
    """

    shape: str
    geom: str | int


@dataclass(frozen=True)
class Level:
    """A horizontal plane at this height (metres): the table's top, or the floor of a bin."""

    height: float = 0.0


Geom = str | int | Fit | Level
"""A geom that collides: its name, its number in the official compiled scene, or the shape that replaces it."""


def ball(geom: str | int) -> Fit:
    return Fit("sphere", geom)


def bar(geom: str | int) -> Fit:
    return Fit("capsule", geom)


def block(geom: str | int) -> Fit:
    return Fit("box", geom)


@dataclass(frozen=True)
class Edits:
    """How a scene is simplified.

    Attributes:
        touch: (first geoms, second geoms): each of the first collides with each of the second; nothing else collides.
        floating: bodies without gravity: objects that lost the contact that held them.
        iterations, ls_iterations: limits of the Newton solver (official scenes: 50 and 50).
    """

    touch: tuple[tuple[tuple[Geom, ...], tuple[Geom, ...]], ...] = ()
    floating: tuple[str, ...] = ()
    iterations: int = 8
    ls_iterations: int = 8

    @property
    def pairs(self) -> tuple[tuple[Geom, Geom], ...]:
        """Every pair that collides."""
        return tuple(itertools.chain.from_iterable(itertools.product(*each) for each in self.touch))


PADS = ("rightpad_geom", "leftpad_geom")
"""The claws' boxes are left out: they lie within 1 mm of the pads' boxes and move with them."""
TABLE = (Level(),)
PALM = (block("palm"),)
"""The gripper's base, a mesh without a name: the last mesh of body `right_hand`."""

_HAND_ONLY = Edits(floating=("obj",), iterations=3, ls_iterations=4)
_PUCK = Edits(touch=((PADS, (ball("objGeom"),)), (("objGeom",), TABLE)))
_BALL = Edits(touch=((PADS, ("objGeom",)), (("objGeom",), TABLE)))
_BUTTON = Edits(touch=((PADS, (block(47),)),))
_HANDLE = Edits(touch=((PADS, (bar(45), 44)),))
_PLATE = Edits(touch=((PADS, ("puck",)),))

JAX_EDITS: dict[str, Edits] = {
    "assembly_peg": Edits(touch=((PADS, (47,)), ((39, 40, 42, 43), TABLE))),
    "basketball": _BALL,
    "bin_picking": Edits(touch=((PADS, (ball(37),)), ((37,), (Level(0.01),)))),
    "box": Edits(touch=((PADS, (49,)), ((44, 46), TABLE))),
    "button_press": _BUTTON,
    "button_press_topdown": _BUTTON,
    "button_press_topdown_wall": _BUTTON,
    "button_press_wall": _BUTTON,
    "coffee": Edits(touch=((PADS, (block(55), block(10))), ((10,), TABLE))),
    "dial": Edits(touch=((PADS, (40,)),)),
    "door_lock": Edits(touch=(((*PADS, *PALM), (55,)),)),
    "door_pull": Edits(touch=((PALM, (51,)), (PADS, (bar(48), bar(50))))),
    "drawer": Edits(touch=(((*PADS, *PALM), (50,)),)),
    "faucet": Edits(touch=((PADS, (43,)),)),
    "hammer": Edits(touch=((PADS, (42,)), ((45, 46, 42), TABLE), ((ball(45),), (block(55),)))),
    "handle_press": _HANDLE,
    "handle_press_sideways": _HANDLE,
    "lever_pull": Edits(touch=((PALM, (46,)),)),
    "peg_insertion_side": Edits(touch=((PADS, (bar("peg"),)), (("peg",), TABLE))),
    "peg_unplug_side": Edits(touch=((PADS, (43,)),), floating=("plug1",)),
    "pick_out_of_hole": _PUCK,
    "pick_place_v3": _PUCK,
    "pick_place_wall_v3": _PUCK,
    "plate_slide": _PLATE,
    "plate_slide_sideway": _PLATE,
    "push_back_v3": _PUCK,
    "push_v3": _PUCK,
    "push_wall_v3": _PUCK,
    "reach_v3": _HAND_ONLY,
    "reach_wall_v3": _HAND_ONLY,
    "shelf_placing": _PUCK,
    "soccer": _BALL,
    "stick_obj": Edits(touch=((PADS, ("objGeom",)), (("objGeom",), (Level(), bar(45), 47)))),
    "sweep_v3": _PUCK,
    "table_with_hole": _PUCK,
    "window_horizontal": Edits(touch=(((*PADS, *PALM), (54,)),)),
}
"""Scene -> its edits: the only collisions that MJX's JAX engine sees."""


@functools.cache
def load_jax_model(scene: str, keep: tuple[str, ...] = (), touches: tuple[tuple[str, str], ...] = ()) -> mujoco.MjModel:
    """The scene `sawyer_<scene>.xml` with `JAX_EDITS[scene]` applied: the same joints in the same order.

    Args:
        keep: bodies that are read or moved. Other bodies that never move against their parent are fused into it.
        touches: as in `scenes.load_model`.

    Raises:
        KeyError: the scene has no row in `JAX_EDITS`.
    """
    edits, official = JAX_EDITS[scene], load_model(scene)
    spec = mujoco.MjSpec.from_file(str(asset_folder() / f"sawyer_{scene}.xml"))
    geoms = list(spec.geoms)
    for index, geom in enumerate(geoms):
        geom.contype = geom.conaffinity = 0
        geom.name = geom.name or f"geom_{index}"
    names = {part: _named(part, spec, geoms, official) for pair in edits.pairs for part in pair}
    for first, second in edits.pairs:
        felt = _mixed(*(_surface(part, geoms, official) for part in (first, second)))
        spec.add_pair(geomname1=names[first], geomname2=names[second], **felt)
    add_touches(spec, touches)
    # Fusing cuts 34 bodies to 13 and the tree's depth from 13 to 9: same motion, a third of the compile time. MuJoCo
    # does not fuse a body that another element refers to: each body of `keep` gets an exclude.
    spec.compiler.fusestatic = True
    for body in dict.fromkeys(keep):
        spec.add_exclude(bodyname1="world", bodyname2=body)
    for unused in [*spec.cameras, *spec.lights]:
        spec.delete(unused)
    for name in edits.floating:
        spec.body(name).gravcomp = 1
    if not edits.pairs:
        spec.option.cone = mujoco.mjtCone.mjCONE_PYRAMIDAL  # MJX-JAX fails on the elliptic cone without pairs.
    spec.option.iterations, spec.option.ls_iterations = edits.iterations, edits.ls_iterations
    return with_weld(spec.compile())


def colliding_pairs(model: mujoco.MjModel) -> int:
    """Number of geom pairs that may collide: bits match, and not of one rigid body or of parent and child."""
    rigid = model.body_weldid[model.geom_bodyid]
    above = model.body_weldid[model.body_parentid[rigid]]
    first, second = np.triu_indices(model.ngeom, 1)
    bits = model.geom_contype[first] & model.geom_conaffinity[second]
    bits |= model.geom_contype[second] & model.geom_conaffinity[first]
    one, two = rigid[first], rigid[second]
    related = (one != 0) & (two != 0) & ((one == above[second]) | (two == above[first]))
    return int(((bits != 0) & (one != two) & ~related).sum()) + model.npair


def _named(part: Geom, spec: mujoco.MjSpec, geoms: list, official: mujoco.MjModel) -> str:
    """Name of the geom of a pair; planes and fitted shapes are added to the scene when first named."""
    if isinstance(part, str):
        return part
    if isinstance(part, int):
        return geoms[part].name
    if isinstance(part, Level):
        name = f"level_{part.height:g}"
        if spec.geom(name) is None:
            plane = {"type": _GEOM.mjGEOM_PLANE, "size": [1, 1, 0.1], "pos": [0, 0, part.height]}
            spec.worldbody.add_geom(name=name, group=4, contype=0, conaffinity=0, **plane)
        return name
    index = _number(part.geom, geoms, official)
    name = f"{geoms[index].name}_{part.shape}"
    if spec.geom(name) is None:
        shape = _fitted(part.shape, official, index)
        geoms[index].parent.add_geom(name=name, mass=0, group=4, contype=0, conaffinity=0, **shape)
    return name


def _surface(part: Geom, geoms: list, official: mujoco.MjModel) -> dict[str, np.ndarray]:
    """Contact parameters of a geom: those of the official geom; for a plane, those of the official table."""
    if isinstance(part, Level):
        return _TABLE_TOP
    index = _number(part.geom if isinstance(part, Fit) else part, geoms, official)
    return {key: getattr(official, f"geom_{key}")[index] for key in _TABLE_TOP}


def _mixed(one: dict[str, np.ndarray], two: dict[str, np.ndarray]) -> dict[str, object]:
    """Contact parameters of a pair, mixed as MuJoCo does at equal priority and weight; 1 mm margins are left out.

    They must be explicit: without them MuJoCo gives a pair its defaults, not the values of the two geoms.
    """
    slide, spin, roll = np.maximum(one["friction"], two["friction"])
    mean = {key: (one[key] + two[key]) / 2 for key in ("solref", "solimp")}
    condim = max(int(one["condim"]), int(two["condim"]))
    return {"friction": [slide, slide, spin, roll, roll], "condim": condim, **mean}


def _number(geom: str | int, geoms: list, official: mujoco.MjModel) -> int:
    if isinstance(geom, int):
        return geom
    if geom == "palm":
        hand = official.geom_bodyid == official.body("right_hand").id
        return int(np.flatnonzero(hand & (official.geom_contype > 0))[0])
    return next(index for index, one in enumerate(geoms) if one.name == geom)


def _fitted(shape: str, official: mujoco.MjModel, index: int) -> dict[str, object]:
    """Type, size, position and quaternion of the shape fitted to official geom `index`, in its body's frame."""
    kind, (x, y, z) = official.geom_type[index], official.geom_size[index]
    place: dict[str, object] = {"pos": official.geom_pos[index].copy(), "quat": official.geom_quat[index].copy()}
    if kind == _GEOM.mjGEOM_CYLINDER:
        radius, half = x, y
        sizes = {"box": (_BOX_SIDE * radius, _BOX_SIDE * radius, half), "capsule": (radius, half - radius, 0)}
        sizes["sphere"] = (min(radius, half), 0, 0)
    elif kind == _GEOM.mjGEOM_BOX:
        radius, long = np.sort([x, y, z])[0], int(np.argmax([x, y, z]))
        sizes = {"capsule": (radius, (x, y, z)[long] - radius, 0), "sphere": (radius, 0, 0)}
        if shape == "capsule" and long != 2:
            turn, quat = np.zeros(4), np.zeros(4)
            mujoco.mju_axisAngle2Quat(turn, np.eye(3)[1 - long], np.pi / 2)
            mujoco.mju_mulQuat(quat, place["quat"], turn)
            place["quat"] = quat
    else:
        sizes = {"box": (x, y, z)}
    return place | {"type": getattr(_GEOM, f"mjGEOM_{shape.upper()}"), "size": list(sizes[shape])}
