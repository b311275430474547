"""Official V2 rewards of the tasks with a tool or a part to fit: wrench, hammer, lid, peg, stick.

Each function ports `compute_reward` of the official file in its docstring: step -> (E,) reward. "Quirk" marks oddities
of the official code.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from envs_mjx.metaworld.rewards.base import PADS, Memory, RewardSpec, Start, Step, at_part, from_vector
from envs_mjx.metaworld.rewards.caging import caging
from envs_mjx.metaworld.rewards.shaping import above, funnel, grasped, hamacher, norm, outside_prism, tolerance
from envs_mjx.metaworld.rotation import quaternion
from envs_mjx.physics.base import Part

WRENCH, NUT, NUT_BODY = Part("site", "RoundNut-8"), Part("site", "RoundNut"), Part("body", "RoundNut")
HAMMER, LID = Part("body", "hammer"), Part("body", "top_link")
PEG_GRASP, PEG_HEAD, PLUG = Part("site", "pegGrasp"), Part("site", "pegHead"), Part("site", "pegEnd")
CORNERS = tuple(
    Part("site", f"{corner}_corner_collision_box_{box}") for box in (1, 2) for corner in ("bottom_right", "top_left")
)
STICK, STICK_END, CONTAINER = Part("body", "stick"), Part("site", "stick_end"), Part("body", "object")
STICK_GRIP = Part("body", "stick", (0.015, 0.0, 0.0))
PULL_HANDLE, PUSH_HANDLE = Part("site", "insertion"), Part("site", "insertion", (0.0, 0.09, 0.0))


# -- orientation -----------------------------------------------------------------------------------------------------


def _turned(step: Step, ideal: tuple[float, ...], width: float) -> jax.Array:
    """(E,) `_reward_quat`: 1 at the ideal quaternion (w, x, y, z), 0 beyond `width` from it."""
    quat = step.memory["quat"]
    return jnp.maximum(1.0 - jnp.linalg.norm(quat - jnp.asarray(ideal, quat.dtype), axis=-1) / width, 0.0)


def _quat_start(part: Part, remember=from_vector):
    return lambda start: remember(start) | {"quat": quaternion(start.read.rotations[part], "wxyz")}


def _quat_update(part: Part):
    """Memory update: the quaternion of `part`, with the official sign.

    Quirk: official code reads `xquat`, whose sign flips with every full turn of the body. The rotation matrix read here
    does not fix the sign. The sign that is nearer to the last step's quaternion is the official one.
    """

    def update(step: Step) -> Memory:
        quat = quaternion(step.read.rotations[part], "wxyz")
        flipped = jnp.sum(quat * step.memory["quat"], axis=-1, keepdims=True) < 0
        return step.memory | {"quat": jnp.where(flipped, -quat, quat)}

    return update


def _along_handle(step: Step, tool: jax.Array, half: float) -> jax.Array:
    """(E, 3) the tool's position; its x is the hand's where the hand is within `half` metres of the tool along x."""
    hand = step.read.hand[:, 0]
    x = jnp.where(jnp.abs(tool[:, 0] - hand) < half, hand, tool[:, 0])
    return jnp.concatenate([x[:, None], tool[:, 1:]], axis=-1)


# -- wrench, hammer, lid ---------------------------------------------------------------------------------------------

_UPRIGHT = (0.707, 0.0, 0.0, 0.707)


def assembly(step: Step) -> jax.Array:
    """sawyer_assembly_peg_v3.py."""
    wrench, nut, target = _along_handle(step, step.read[WRENCH], 0.01), step.read[NUT], step.target
    held = caging(step, wrench, 0.015, 0.02, 0.01, density="medium")
    error = target - nut
    radius = norm(error[:, :2])
    success = (radius < 0.02) & (error[:, 2] > 0.0)
    # Once the nut is hooked (success), the threshold is twice as wide.
    height = jnp.where(success, funnel(radius, 0.02, 0.02, 0.2), funnel(radius, 0.01, 0.02, 0.2))
    lifted = (nut[:, 2] > 0.02) | (radius < jnp.where(success, 0.02, 0.01))
    error = jnp.concatenate([error[:, :2], (height - nut[:, 2])[:, None]], axis=-1)
    in_place = 0.1 * lifted + 0.9 * tolerance(norm(error, (1.0, 1.0, 3.0)), 0.02, 0.4)
    reward = (2.0 * held + 6.0 * in_place) * _turned(step, _UPRIGHT, 0.4)
    return jnp.where(success, 10.0, reward)


def disassemble(step: Step) -> jax.Array:
    """sawyer_disassemble_peg_v3.py."""
    wrench, nut = step.read[WRENCH], step.read[NUT]
    held = caging(step, _along_handle(step, wrench, 0.01), 0.015, 0.02, 0.01, density="high")
    error = step.target - nut + jnp.array([0.0, 0.0, 0.1], nut.dtype)
    in_place = 0.1 * (nut[:, 2] > 0.02) + 0.9 * tolerance(norm(error), 0.02, 0.2)
    reward = (2.0 * held + 6.0 * in_place) * _turned(step, _UPRIGHT, 0.4)
    return jnp.where(wrench[:, 2] > step.target[:, 2], 10.0, reward)


def hammer(step: Step) -> jax.Array:
    """sawyer_hammer_v3.py."""
    tool = step.read[HAMMER]
    held = caging(step, _along_handle(step, tool, 0.07), 0.015, 0.02, 0.01, density="high")
    # Quirk: the hammer's head is at a fixed offset in the world frame, however the hammer is turned.
    error = step.target - tool - jnp.array([0.16, 0.06, 0.0], tool.dtype)
    in_place = 0.1 * (tool[:, 2] > 0.02) + 0.9 * tolerance(norm(error), 0.02, 0.2)
    reward = (2.0 * held + 6.0 * in_place) * _turned(step, (1.0, 0.0, 0.0, 0.0), 0.4)
    # Quirk: a driven nail does not count once the hammer has been let go (other terms at most 5).
    return jnp.where((step.read.joints["NailSlideJoint"] > 0.09) & (reward > 5.0), 10.0, reward)


def box_close(step: Step) -> jax.Array:
    """sawyer_box_close_v3.py."""
    hand, target = step.read.hand, step.target
    lid, grip = step.read[LID], jnp.array([0.0, 0.0, 0.02], hand.dtype)
    floor = funnel(norm(hand[:, :2] - lid[:, :2]), 0.02, 0.04, 0.4)
    in_place = tolerance(norm(hand - lid - grip), 0.02, 0.5)
    ready = hamacher(above(hand[:, 2], floor, floor / 2.0), in_place)
    # Quirk: the grip point, 2 cm above the lid, must reach the target, not the lid itself.
    placed = tolerance(norm(target - lid - grip, (1.0, 1.0, 3.0)), 0.05, 0.25)
    effort = (jnp.clip(step.action[:, 3], -1.0, 1.0) + 1.0) / 2.0
    reward = 2.0 * hamacher(effort, ready) + 8.0 * (0.2 * (lid[:, 2] + 0.02 > 0.04) + 0.8 * placed)
    reward = jnp.where(norm(lid - target) < 0.08, 10.0, reward)
    # Quirk: the reward for success is scaled by the lid's orientation, too.
    return reward * _turned(step, _UPRIGHT, 0.2)


# -- peg and plug ----------------------------------------------------------------------------------------------------


def peg_insert_side(step: Step) -> jax.Array:
    """sawyer_peg_insertion_side_v3.py."""
    peg, head, tcp, target = step.read[PEG_GRASP], step.read[PEG_HEAD], step.read.tcp, step.target
    scale = (1.0, 2.0, 2.0)
    distance = norm(head - target, scale)
    in_place = tolerance(distance, 0.07, norm(step.memory["head"] - target, scale))
    boxes = [outside_prism(head, step.read[zero], step.read[one]) for zero, one in (CORNERS[:2], CORNERS[2:])]
    in_place = hamacher(in_place, hamacher(boxes[1], boxes[0]))
    lifted = grasped(step.read.opening, norm(peg - tcp), 0.08) & (peg[:, 2] - 0.01 > step.memory["object"][:, 2])
    held = jnp.where(lifted, 1.0, caging(step, peg, 0.0075, 0.03, 0.005, density="high"))
    reward = hamacher(held, in_place) + jnp.where(lifted, 1.0 + 5.0 * in_place, 0.0)
    return jnp.where(distance <= 0.07, 10.0, reward)


def _peg_insert_start(start: Start) -> Memory:
    # Quirk: `peg_head_pos_init` is read before the peg is placed, so it is the same in every episode.
    head = jnp.broadcast_to(start.stale[PEG_HEAD], start.read[PEG_HEAD].shape).astype(start.vector.dtype)
    return from_vector(start) | {"head": head}


def peg_unplug_side(step: Step) -> jax.Array:
    """sawyer_peg_unplug_side_v3.py."""
    plug, init = step.read[PLUG], step.memory["object"]
    distance = norm(plug - step.target)
    held = 2.0 * caging(step, plug, 0.025, 0.05, 0.005, effort=0.8, density="high")
    in_place = tolerance(distance, 0.05, norm(init - step.target))
    out = (step.read.opening > 0.5) & (plug[:, 0] - init[:, 0] > 0.015) & (norm(plug - step.read.tcp) < 0.035)
    return jnp.where(distance <= 0.05, 10.0, held + jnp.where(out, 1.0 + 5.0 * in_place, 0.0))


# -- sticks ----------------------------------------------------------------------------------------------------------


def stick_pull(step: Step) -> jax.Array:
    """sawyer_stick_pull_v3.py."""
    stick, handle, end, target = step.read[STICK], step.read[PULL_HANDLE], step.read[STICK_END], step.target
    init, container_init = step.memory["stick"], step.memory["object"]
    shift = jnp.array([0.05, 0.0, 0.0], stick.dtype)
    scale = (1.0, 1.0, 2.0)
    margin = norm(init - container_init - shift, scale)
    in_place = tolerance(norm(stick - handle - shift, scale), 0.05, margin)
    at_target = tolerance(norm(stick - target), 0.05, norm(init - target))
    # Quirk: the container's margin omits the shift that its distance includes.
    pulled = tolerance(norm(handle - target + shift), 0.05, norm(container_init - target))
    lifted = grasped(step.read.opening, norm(stick - step.read.tcp), 0.02) & (stick[:, 2] - 0.01 > init[:, 2])
    # Quirk: the margins of the grasp use the container's start, not the stick's.
    held = jnp.where(lifted, 1.0, caging(step, stick, 0.014, 0.05, 0.01, density="high"))
    reward = hamacher(held, in_place)
    inserted = (end[:, 0] >= handle[:, 0]) & (jnp.abs(end[:, 1] - handle[:, 1]) <= 0.04)
    inserted &= jnp.abs(end[:, 2] - handle[:, 2]) <= 0.06
    done = inserted & (norm(handle - target) <= 0.12)
    progress = jnp.where(inserted, 5.0 + 2.0 * at_target + pulled, 5.0 * in_place)
    return jnp.where(lifted, jnp.where(done, 10.0, 1.0 + reward + progress), reward)


def stick_push(step: Step) -> jax.Array:
    """sawyer_stick_push_v3.py."""
    stick, container, target = step.read[STICK_GRIP], step.read[PUSH_HANDLE], step.target
    init, container_init = step.memory["stick"], step.memory["object"]
    at_target = tolerance(norm(stick - target), 0.12, norm(init - target) - 0.12)
    distance = norm(container - target)
    pushed = tolerance(distance, 0.12, norm(container_init - target) - 0.12)
    held = caging(step, stick, 0.04, 0.05, 0.01, density="high", start="stick")
    lifted = grasped(step.read.opening, norm(stick - step.read.tcp), 0.02) & (stick[:, 2] - 0.01 > init[:, 2])
    carried = jnp.where(distance <= 0.12, 10.0, 2.0 + 5.0 * at_target + 3.0 * pushed)
    return jnp.where(lifted, carried, held)


def _stick_start(start: Start) -> Memory:
    z = jnp.full_like(start.vector[:, :1], 0.02)
    stick = jnp.concatenate([start.vector[:, :2], z], axis=-1)
    return at_part(CONTAINER)(start) | {"stick": stick}


_NUT = (WRENCH, NUT, *PADS)

TOOLS: dict[str, RewardSpec] = {
    "assembly": RewardSpec(assembly, _quat_start(NUT_BODY), _NUT, rotations=(NUT_BODY,), update=_quat_update(NUT_BODY)),
    "disassemble": RewardSpec(
        disassemble, _quat_start(NUT_BODY), _NUT, rotations=(NUT_BODY,), update=_quat_update(NUT_BODY)
    ),
    "hammer": RewardSpec(
        hammer,
        _quat_start(HAMMER),
        (HAMMER, *PADS),
        rotations=(HAMMER,),
        joints=("NailSlideJoint",),
        update=_quat_update(HAMMER),
    ),
    "box-close": RewardSpec(
        box_close, _quat_start(LID, lambda start: {}), (LID,), rotations=(LID,), update=_quat_update(LID)
    ),
    "peg-insert-side": RewardSpec(
        peg_insert_side, _peg_insert_start, (PEG_GRASP, PEG_HEAD, *CORNERS, *PADS), stale=(PEG_HEAD,)
    ),
    "peg-unplug-side": RewardSpec(peg_unplug_side, at_part(PLUG), (PLUG, *PADS)),
    "stick-pull": RewardSpec(stick_pull, _stick_start, (STICK, STICK_END, PULL_HANDLE, CONTAINER, *PADS)),
    "stick-push": RewardSpec(stick_push, _stick_start, (STICK_GRIP, PUSH_HANDLE, CONTAINER, *PADS)),
}
