"""Official V2 rewards of the tasks with a free object to push, lift, sweep or kick, and of reaching.

Each function ports `compute_reward` of the official file in its docstring: step -> (E,) reward. "Quirk" marks oddities
of the official code.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from envs_mjx.metaworld.rewards.base import PADS, Memory, RewardSpec, Start, Step, at_height, at_part, from_vector
from envs_mjx.metaworld.rewards.caging import caging, pick_place_caging, pinching
from envs_mjx.metaworld.rewards.shaping import above, funnel, grasped, hamacher, norm, tolerance
from envs_mjx.physics.base import Part

OBJ, GEOM = Part("body", "obj"), Part("geom", "objGeom")
BASKETBALL, SOCCER_BALL = Part("body", "bsktball"), Part("body", "soccer_ball")


def reach(step: Step) -> jax.Array:
    """sawyer_reach_v3.py, sawyer_reach_wall_v3.py."""
    margin = norm(jnp.array([0.0, 0.6, 0.2], step.target.dtype) - step.target)  # hand_init_pos, not init_tcp.
    return 10.0 * tolerance(norm(step.read.tcp - step.target), 0.05, margin)


def push(step: Step) -> jax.Array:
    """sawyer_push_v3.py."""
    obj, target = step.read[OBJ], step.target
    distance = norm(obj - target)
    in_place = tolerance(distance, 0.05, norm(step.memory["object"] - target))
    held = 2.0 * caging(step, obj, 0.015, 0.05, 0.005, density="high")
    near = grasped(step.read.opening, norm(obj - step.read.tcp), 0.02)
    # Quirk: near the object, the holding reward counts twice.
    reward = jnp.where(near, 2.0 * held + 1.0 + 5.0 * in_place, held)
    return jnp.where(distance < 0.05, 10.0, reward)


def push_wall(step: Step) -> jax.Array:
    """sawyer_push_wall_v3.py: the object first passes the wall's left end."""
    obj, target, init = step.read[GEOM], step.target, step.memory["object"]
    # Quirk: the midpoint is at the object's present height, in the margin as well.
    midpoint = jnp.stack([jnp.full_like(obj[:, 0], -0.05), jnp.full_like(obj[:, 0], 0.77), obj[:, 2]], axis=-1)
    scale, distance = (3.0, 1.0, 1.0), norm(obj - target)
    first = tolerance(norm(obj - midpoint, scale), 0.05, norm(init - midpoint, scale))
    second = tolerance(distance, 0.05, norm(init - target))
    held = 2.0 * caging(step, obj, 0.015, 0.05, 0.005, density="high")
    near = grasped(step.read.opening, norm(obj - step.read.tcp), 0.02)
    carried = held + 1.0 + jnp.where(obj[:, 1] > 0.75, 4.0 + 3.0 * second, 4.0 * first)
    return jnp.where(distance < 0.05, 10.0, jnp.where(near, carried, held))


def push_back(step: Step) -> jax.Array:
    """sawyer_push_back_v3.py."""
    obj, target, opening = step.read[GEOM], step.target, step.read.opening
    distance, margin = norm(obj - target), norm(step.memory["object"] - target)
    in_place = tolerance(distance, 0.05, margin)
    reward = hamacher(pinching(step, obj, 0.007, 0.003, 0.01), in_place)
    near = grasped(opening, norm(obj - step.read.tcp), 0.01) & (opening < 0.55) & (margin - distance > 0.01)
    return jnp.where(distance < 0.05, 10.0, reward + jnp.where(near, 1.0 + 5.0 * in_place, 0.0))


def pick_place(step: Step) -> jax.Array:
    """sawyer_pick_place_v3.py."""
    obj, target, init = step.read[OBJ], step.target, step.memory["object"]
    distance = norm(obj - target)
    in_place = tolerance(distance, 0.05, norm(init - target))
    reward = hamacher(pick_place_caging(step, obj), in_place)
    lifted = grasped(step.read.opening, norm(obj - step.read.tcp), 0.02) & (obj[:, 2] - 0.01 > init[:, 2])
    return jnp.where(distance < 0.05, 10.0, reward + jnp.where(lifted, 1.0 + 5.0 * in_place, 0.0))


def pick_place_wall(step: Step) -> jax.Array:
    """sawyer_pick_place_wall_v3.py: the object first goes over the wall."""
    obj, target, init = step.read[GEOM], step.target, step.memory["object"]
    midpoint = jnp.stack([target[:, 0], jnp.full_like(obj[:, 0], 0.77), jnp.full_like(obj[:, 0], 0.25)], axis=-1)
    scale, distance = (1.0, 1.0, 3.0), norm(obj - target)
    first = tolerance(norm(obj - midpoint, scale), 0.05, norm(init - midpoint, scale))
    second = tolerance(distance, 0.05, norm(init - target))
    reward = hamacher(caging(step, obj, 0.015, 0.05, 0.005), first)
    lifted = grasped(step.read.opening, norm(obj - step.read.tcp), 0.02) & (obj[:, 2] - 0.015 > init[:, 2])
    carried = reward + 1.0 + jnp.where(obj[:, 1] > 0.75, 4.0 + 3.0 * second, 4.0 * first)
    return jnp.where(distance < 0.05, 10.0, jnp.where(lifted, carried, reward))


def shelf_place(step: Step) -> jax.Array:
    """sawyer_shelf_place_v3.py."""
    obj, target, init = step.read[OBJ], step.target, step.memory["object"]
    distance = norm(obj - target)
    in_place = tolerance(distance, 0.05, norm(init - target))
    # Quirk: this product uses `in_place` without the shelf's penalties, which come later.
    reward = hamacher(caging(step, obj, 0.02, 0.05, 0.01), in_place)
    depth = 3 * 0.05
    low = (obj[:, 2] > 0.0) & (obj[:, 2] < 0.24)
    low &= (target[:, 0] - 0.15 < obj[:, 0]) & (obj[:, 0] < target[:, 0] + 0.15)
    before = obj[:, 1] - (target[:, 1] - depth)
    under_front = low & (before > 0) & (obj[:, 1] < target[:, 1])
    bound = hamacher(jnp.clip(before / depth, 0.0, 1.0), jnp.clip((0.24 - obj[:, 2]) / 0.24, 0.0, 1.0))
    in_place = jnp.where(under_front, jnp.clip(in_place - bound, 0.0, 1.0), in_place)
    in_place = jnp.where(low & (obj[:, 1] > target[:, 1]), 0.0, in_place)
    lifted = grasped(step.read.opening, norm(obj - step.read.tcp), 0.025) & (obj[:, 2] - 0.01 > init[:, 2])
    return jnp.where(distance < 0.05, 10.0, reward + jnp.where(lifted, 1.0 + 5.0 * in_place, 0.0))


def bin_picking(step: Step) -> jax.Array:
    """sawyer_bin_picking_v3.py."""
    obj, hand, target, init = step.read[OBJ], step.read.hand, step.target, step.memory["object"]
    distance = norm(obj - target)
    in_place = tolerance(distance, 0.05, step.memory["distance"])
    floors = [funnel(norm(hand[:, :2] - centre[:, :2]), 0.03, 0.02, 0.2) for centre in (init, target)]
    above_floor = above(hand[:, 2], jnp.minimum(*floors), 0.05)
    held = caging(step, obj, 0.015, 0.05, 0.01, effort=0.7, density="high")
    # Quirk: nearness is measured from the hand here, not from the gripper's centre.
    grasp = (norm(obj - hand) < 0.04) & (obj[:, 2] - 0.02 > init[:, 2]) & ~(step.read.opening < 0.43)
    carried = jnp.where(grasp, 1.0 + 5.0 * hamacher(above_floor, in_place), 0.0)
    return jnp.where(distance < 0.05, 10.0, hamacher(held, in_place) + carried)


def _bin_picking_start(start: Start) -> Memory:
    return at_part(OBJ)(start) | {"distance": jnp.zeros_like(start.vector[:, 0])}


def _bin_picking_update(step: Step) -> Memory:
    # Quirk: `_target_to_obj_init` is measured after the first step of the episode, not at its reset.
    distance = jnp.where(step.first, norm(step.read[OBJ] - step.target), step.memory["distance"])
    return step.memory | {"distance": distance}


def pick_out_of_hole(step: Step) -> jax.Array:
    """sawyer_pick_out_of_hole_v3.py."""
    obj, tcp, target, init = step.read[OBJ], step.read.tcp, step.target, step.memory["object"]
    distance = norm(obj - target)
    floor = funnel(norm(tcp[:, :2] - init[:, :2]), 0.03, 0.015, 0.15)
    held = caging(step, obj, 0.015, 0.02, 0.03, effort=0.1, density="high")
    in_place = tolerance(distance, 0.02, norm(init - target))
    grasp = (norm(obj - tcp) < 0.04) & (obj[:, 2] - 0.02 > init[:, 2]) & ~(step.read.opening < 0.33)
    carried = jnp.where(grasp, 1.0 + 5.0 * hamacher(in_place, above(tcp[:, 2], floor, 0.02)), 0.0)
    # Quirk: the file's own `_TARGET_RADIUS` of 0.02 is not what this line uses.
    return jnp.where(distance < 0.05, 10.0, hamacher(held, in_place) + carried)


def hand_insert(step: Step) -> jax.Array:
    """sawyer_hand_insert_v3.py."""
    obj, target = step.read[OBJ], step.target
    distance = norm(obj - target)
    in_place = tolerance(distance, 0.05, norm(step.memory["object"] - target))
    reward = hamacher(caging(step, obj, 0.015, 0.05, 0.005, density="high"), in_place)
    near = grasped(step.read.opening, norm(obj - step.read.tcp), 0.02)
    return jnp.where(distance < 0.05, 10.0, reward + jnp.where(near, 1.0 + 7.0 * in_place, 0.0))


def sweep(step: Step) -> jax.Array:
    """sawyer_sweep_v3.py."""
    return _swept(step.read[OBJ], step.target, step, 0.01, 0.005)


def sweep_into(step: Step) -> jax.Array:
    """sawyer_sweep_into_goal_v3.py."""
    obj = step.read[OBJ]
    # Quirk: the target is at the object's present height, in the margin as well.
    return _swept(obj, jnp.concatenate([step.target[:, :2], obj[:, 2:]], axis=-1), step, 0.005, 0.01)


def _swept(obj: jax.Array, target: jax.Array, step: Step, grip_reach: float, xz_reach: float) -> jax.Array:
    distance = norm(obj - target)
    in_place = tolerance(distance, 0.05, norm(step.memory["object"] - target))
    held = pinching(step, obj, 0.02, grip_reach, xz_reach)
    return jnp.where(distance < 0.05, 10.0, 2.0 * held + 6.0 * hamacher(held, in_place))


def soccer(step: Step) -> jax.Array:
    """sawyer_soccer_v3.py."""
    ball, target, scale = step.read[SOCCER_BALL], step.target, (3.0, 1.0, 1.0)
    distance = norm(ball - target, scale)
    # Quirk: the margin is the distance that the ball has moved, zero at the start.
    in_place = tolerance(distance, 0.07, norm(ball - step.memory["object"], scale))
    line = target[:, 1] - 0.1
    wide = (ball[:, 1] > line) & (jnp.abs(ball[:, 0] - target[:, 0]) > 0.1)
    missed = jnp.clip(in_place - 2.0 * ((ball[:, 1] - line) / (1.0 - line)), 0.0, 1.0)
    in_place = jnp.where(wide, missed, in_place)
    reward = 3.0 * pinching(step, ball, 0.013, 0.01, 0.005) + 6.5 * in_place
    return jnp.where(distance < 0.07, 10.0, reward)


def basketball(step: Step) -> jax.Array:
    """sawyer_basketball_v3.py."""
    ball, init, scale = step.read[BASKETBALL], step.memory["object"], (1.0, 1.0, 2.0)
    # Quirk: the target's height is always 0.3 m.
    target = step.target.at[:, 2].set(0.3)
    distance = norm(ball - target, scale)
    in_place = tolerance(distance, 0.08, norm(init - target, scale))
    held = caging(step, ball, 0.025, 0.06, 0.005, density="high")
    lifted = grasped(step.read.opening, norm(ball - step.read.tcp), 0.035) & (ball[:, 2] - 0.01 > init[:, 2])
    reward = hamacher(jnp.where(lifted, 1.0, held), in_place) + jnp.where(lifted, 1.0 + 5.0 * in_place, 0.0)
    return jnp.where(distance < 0.08, 10.0, reward)


def coffee_mug(step: Step) -> jax.Array:
    """sawyer_coffee_push_v3.py, sawyer_coffee_pull_v3.py."""
    mug, target, scale = step.read[OBJ], step.target, (2.0, 2.0, 1.0)
    distance = norm(mug - target, scale)
    in_place = tolerance(distance, 0.05, norm(step.memory["object"] - target, scale))
    held = caging(step, mug, 0.02, 0.05, 0.05, reach=0.04, effort=0.7, density="medium")
    near = grasped(step.read.opening, norm(mug - step.read.tcp), 0.04)
    reward = hamacher(held, in_place) + jnp.where(near, 1.0 + 5.0 * in_place, 0.0)
    return jnp.where(distance < 0.05, 10.0, reward)


_BODY, _SHAPE = (OBJ, *PADS), (GEOM, OBJ, *PADS)

OBJECTS: dict[str, RewardSpec] = {
    "reach": RewardSpec(reach, lambda start: {}),
    "reach-wall": RewardSpec(reach, lambda start: {}),
    "push": RewardSpec(push, at_part(OBJ), _BODY),
    # The official reset remembers the geom's height and writes it to the body, so the start is read from the body.
    "push-wall": RewardSpec(push_wall, at_part(OBJ), _SHAPE),
    "push-back": RewardSpec(push_back, at_part(OBJ), _SHAPE),
    "pick-place": RewardSpec(pick_place, from_vector, _BODY),
    "pick-place-wall": RewardSpec(pick_place_wall, from_vector, (GEOM, *PADS)),
    "shelf-place": RewardSpec(shelf_place, at_part(OBJ), _BODY),
    "bin-picking": RewardSpec(bin_picking, _bin_picking_start, _BODY, update=_bin_picking_update),
    "pick-out-of-hole": RewardSpec(pick_out_of_hole, from_vector, _BODY),
    "hand-insert": RewardSpec(hand_insert, at_height(0.05), _BODY),
    "sweep": RewardSpec(sweep, at_height(0.02), _BODY),
    "sweep-into": RewardSpec(sweep_into, at_part(OBJ), _BODY),
    "soccer": RewardSpec(soccer, at_height(0.03), (SOCCER_BALL, *PADS)),
    "basketball": RewardSpec(basketball, at_height(0.03), (BASKETBALL, *PADS)),
    "coffee-push": RewardSpec(coffee_mug, from_vector, _BODY),
    "coffee-pull": RewardSpec(coffee_mug, from_vector, _BODY),
}
