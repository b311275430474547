"""Official V2 rewards of the tasks with a button, door, drawer, faucet, handle, window, lever, dial or plate.

Each function ports `compute_reward` of the official file in its docstring: step -> (E,) reward. "Quirk" marks oddities
of the official code.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from envs_mjx.metaworld.rewards.base import LEFT_PAD, PADS, Memory, RewardSpec, Start, Step, at_part, from_vector
from envs_mjx.metaworld.rewards.caging import caging
from envs_mjx.metaworld.rewards.shaping import above, funnel, grasped, hamacher, norm, tolerance
from envs_mjx.physics.base import Part

BUTTON_START = Part("site", "buttonStart")
BUTTON_FRONT, BUTTON_TOP = Part("body", "button", (0.0, -0.193, 0.0)), Part("body", "button", (0.0, 0.0, 0.193))
HOLE = Part("site", "hole")
LOCK, UNLOCK, LOCK_BODY = Part("site", "lockStartLock"), Part("site", "lockStartUnlock"), Part("body", "lock_link")
DOOR_HANDLE = Part("geom", "handle")
DRAWER_CLOSE, DRAWER_OPEN = (Part("body", "drawer_link", (0.0, -0.16, height)) for height in (0.05, 0.0))
FAUCET_CLOSE = Part("site", "handleStartClose", (0.0, 0.0, -0.01))
FAUCET_OPEN = Part("site", "handleStartOpen", (-0.04, 0.0, 0.02))
HANDLE_START, HANDLE_CENTER = Part("site", "handleStart"), Part("site", "handleCenter")
HANDLE_RIGHT = Part("site", "handleRight")
WINDOW_OPEN, WINDOW_CLOSE = Part("site", "handleOpenStart"), Part("site", "handleCloseStart")
LEVER, DIAL, PLATE = Part("site", "leverStart"), Part("body", "dial"), Part("geom", "puck")
_SHOULDER = (0.0, 0.055, 0.07)
"""Metres: from the hand to the part of the gripper that turns a lock or lifts a lever."""


def _add(point: jax.Array, offset: tuple[float, float, float]) -> jax.Array:
    return point + jnp.asarray(offset, point.dtype)


# -- buttons ---------------------------------------------------------------------------------------------------------


def _button(step: Step, button: jax.Array, axis: int, reach: float) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(E,) each: distance from gripper to button (metres), reward for nearness, reward for pressing the button."""
    distance = norm(button - step.read.tcp)
    # Quirk: the margin uses the button's present position, not its start.
    near = tolerance(distance, reach, norm(button - step.memory["tcp"]))
    left = jnp.abs(step.target[:, axis] - button[:, axis])
    return distance, near, tolerance(left, 0.005, step.memory["travel"])


def _travel(axis: int):
    """`_obj_to_target_init`: metres along `axis` from the button's start to the hole."""

    def remember(start: Start) -> Memory:
        travel = jnp.abs(start.read[HOLE][:, axis] - start.read[BUTTON_START][:, axis])
        return {"tcp": start.init_tcp, "travel": travel}

    return remember


def button_press_topdown(step: Step) -> jax.Array:
    """sawyer_button_press_topdown_v3.py, sawyer_button_press_topdown_wall_v3.py."""
    distance, near, pressed = _button(step, step.read[BUTTON_TOP], 2, 0.01)
    reward = 5.0 * hamacher(1.0 - step.read.opening, near)
    return reward + jnp.where(distance <= 0.03, 5.0 * pressed, 0.0)


def button_press(step: Step) -> jax.Array:
    """sawyer_button_press_v3.py. Quirk: the term called `tcp_closed` rewards an open gripper."""
    distance, near, pressed = _button(step, step.read[BUTTON_FRONT], 1, 0.05)
    return 2.0 * hamacher(step.read.opening, near) + jnp.where(distance <= 0.05, 8.0 * pressed, 0.0)


def button_press_wall(step: Step) -> jax.Array:
    """sawyer_button_press_wall_v3.py. Quirk: rewards a closed gripper far from the button, an open one near it."""
    distance, near, pressed = _button(step, step.read[BUTTON_FRONT], 1, 0.01)
    opening = step.read.opening
    far = 2.0 * hamacher((1.0 - opening) / 2.0, near)
    return jnp.where(distance > 0.07, far, 2.0 + 2.0 * (1.0 + opening) + 4.0 * pressed**2)


def coffee_button(step: Step) -> jax.Array:
    """sawyer_coffee_button_v3.py."""
    distance, near, pressed = _button(step, step.read[BUTTON_START], 1, 0.05)
    return 2.0 * hamacher(step.read.opening, near) + jnp.where(distance <= 0.05, 8.0 * pressed, 0.0)


def _coffee_button_start(start: Start) -> Memory:
    return {"tcp": start.init_tcp, "travel": jnp.full_like(start.vector[:, 0], 0.03)}  # `max_dist`


# -- doors -----------------------------------------------------------------------------------------------------------


def door_lock(step: Step) -> jax.Array:
    """sawyer_door_lock_v3.py."""
    lock, scale = step.read[LOCK], (0.25, 1.0, 0.5)
    # Quirk: `init_left_pad` is the pad's present position, so the margin is the distance itself.
    distance = norm(lock - step.read[LEFT_PAD], scale)
    near = tolerance(distance, 0.01, distance)
    pressed = tolerance(jnp.abs(step.target[:, 2] - lock[:, 2]), 0.005, 0.1)
    return 2.0 * hamacher(step.read.opening, near) + 8.0 * pressed


def door_unlock(step: Step) -> jax.Array:
    """sawyer_door_unlock_v3.py."""
    lock, scale = step.read[UNLOCK], (0.25, 1.0, 0.5)
    # Quirk: `obj_init_pos` is a view into MuJoCo's memory: the present position of the lock's body.
    margin = norm(_add(step.memory["tcp"] - step.read[LOCK_BODY], _SHOULDER), scale)
    ready = tolerance(norm(_add(step.read.hand - lock, _SHOULDER), scale), 0.02, margin)
    return 2.0 * ready + 8.0 * tolerance(jnp.abs(step.target[:, 0] - lock[:, 0]), 0.005, 0.1)


def door_open(step: Step) -> jax.Array:
    """sawyer_door_v3.py."""
    handle, hand = step.read[DOOR_HANDLE], step.read.hand
    from_door = _add(hand - handle, (0.05, 0.0, 0.0))
    floor = funnel(norm(from_door[:, :2]), 0.12, 0.04, 0.4)
    in_place = tolerance(norm(_add(from_door, (-0.05, -0.03, 0.01))), 0.06, 0.5)
    ready = hamacher(above(hand[:, 2], floor, floor / 2.0), in_place)
    theta = step.read.joints["doorjoint"]
    opened = 0.2 * (theta < -jnp.pi / 90.0) + 0.8 * tolerance(jnp.pi / 2 + jnp.pi / 6 + theta, 0.5, jnp.pi / 3)
    # Quirk: closing the gripper is rewarded, and an idle gripper (action 0) already has half of the effort.
    effort = (jnp.clip(step.action[:, 3], -1.0, 1.0) + 1.0) / 2.0
    reward = 2.0 * hamacher(ready, effort) + 8.0 * opened
    return jnp.where(jnp.abs(handle[:, 0] - step.target[:, 0]) <= 0.08, 10.0, reward)


def door_close(step: Step) -> jax.Array:
    """sawyer_door_close_v3.py."""
    handle, target = step.read[DOOR_HANDLE], step.target
    distance = norm(handle - target)
    # Quirk: `obj_init_pos` is the door's hinge (from the reset vector), not the handle.
    in_place = tolerance(distance, 0.05, norm(step.memory["object"] - target), sigmoid="gaussian")
    margin = norm(jnp.array([-0.5, 0.6, 0.2], handle.dtype) - handle) + 0.1  # From hand_init_pos to the handle now.
    # Quirk: the hand is rewarded for being at the target, not at the handle.
    hand = tolerance(norm(step.read.tcp - target), 0.25 * 0.05, margin, sigmoid="gaussian")
    return jnp.where(distance < 0.05, 10.0, 3.0 * hand + 6.0 * in_place)


# -- drawers and faucets ---------------------------------------------------------------------------------------------


def drawer_close(step: Step) -> jax.Array:
    """sawyer_drawer_close_v3.py."""
    handle, init = step.read[DRAWER_CLOSE], step.memory["object"]
    distance = norm(handle - step.target)
    # Quirk: the file's own `_TARGET_RADIUS` of 0.04 is not used; 0.05 is.
    in_place = tolerance(distance, 0.05, jnp.abs(norm(init - step.target) - 0.05))
    margin = jnp.abs(norm(init - step.memory["tcp"]) - 0.005)
    reach = tolerance(norm(handle - step.read.tcp), 0.005, margin, sigmoid="gaussian")
    reward = hamacher(hamacher(reach, step.closing), in_place)
    return 10.0 * jnp.where(distance <= 0.05 + 0.015, 1.0, reward)


def drawer_open(step: Step) -> jax.Array:
    """sawyer_drawer_open_v3.py."""
    hand, handle, scale = step.read.hand, step.read[DRAWER_OPEN], (3.0, 3.0, 1.0)
    opened = tolerance(norm(handle - step.target), 0.02, 0.2)
    # Quirk: the handle's start is computed from the target, and so is 9 cm above the handle that is read.
    margin = norm(_add(step.target - step.memory["tcp"], (0.0, 0.2, 0.0)), scale)
    return 5.0 * (tolerance(norm(handle - hand, scale), 0.01, margin) + opened)


def _faucet(part: Part):
    """sawyer_faucet_open_v3.py, sawyer_faucet_close_v3.py. Quirk: `obj_init_pos` is the base, not the handle."""

    def faucet(step: Step) -> jax.Array:
        handle, target, init = step.read[part], step.target, step.memory["object"]
        distance = norm(handle - target)
        in_place = tolerance(distance, 0.07, jnp.abs(norm(init - target) - 0.07))
        margin = jnp.abs(norm(init - step.memory["tcp"]) - 0.01)
        reach = tolerance(norm(handle - step.read.tcp), 0.01, margin, sigmoid="gaussian")
        return jnp.where(distance <= 0.07, 10.0, 2.0 * (2.0 * reach + 3.0 * in_place))

    return faucet


# -- handles ---------------------------------------------------------------------------------------------------------


def handle_press(step: Step) -> jax.Array:
    """sawyer_handle_press_v3.py, sawyer_handle_press_side_v3.py."""
    handle, init = step.read[HANDLE_START], step.memory["object"]
    distance = jnp.abs(handle[:, 2] - step.target[:, 2])
    in_place = tolerance(distance, 0.02, jnp.abs(jnp.abs(init[:, 2] - step.target[:, 2]) - 0.02))
    margin = jnp.abs(norm(init - step.memory["tcp"]) - 0.02)
    reach = tolerance(norm(handle - step.read.tcp), 0.02, margin)
    return 10.0 * jnp.where(distance <= 0.02, 1.0, hamacher(reach, in_place))


def handle_pull_side(step: Step) -> jax.Array:
    """sawyer_handle_pull_side_v3.py."""
    handle, target, init = step.read[HANDLE_CENTER], step.target, step.memory["object"]
    held = caging(step, handle, 0.032, 0.06, 0.01, density="high")
    lifted = handle[:, 2] - 0.01 > init[:, 2]
    return _pulled(step, handle, norm(handle - target), norm(init - target), held, lifted)


def handle_pull(step: Step) -> jax.Array:
    """sawyer_handle_pull_v3.py. Quirk: `obj_init_pos` is the box, not the handle."""
    handle, target, init = step.read[HANDLE_RIGHT], step.target, step.memory["object"]
    held = caging(step, handle, 0.022, 0.05, 0.01, density="high")
    # Quirk: the handle's y is compared with the box's z, so `lifted` is always true.
    lifted = handle[:, 1] - 0.01 > init[:, 2]
    distance, margin = jnp.abs(target[:, 2] - handle[:, 2]), jnp.abs(target[:, 2] - init[:, 2])
    return _pulled(step, handle, distance, margin, held, lifted)


def _pulled(step: Step, handle, distance, margin, held, lifted) -> jax.Array:
    in_place = tolerance(distance, 0.05, margin)
    near = grasped(step.read.opening, norm(handle - step.read.tcp), 0.035) & lifted
    reward = hamacher(held, in_place) + jnp.where(near, 1.0 + 5.0 * in_place, 0.0)
    return jnp.where(distance < 0.05, 10.0, reward)


# -- windows, lever, dial, plate -------------------------------------------------------------------------------------


def window_open(step: Step) -> jax.Array:
    """sawyer_window_open_v3.py. Quirk: the x margin is measured from the window's frame, not its handle."""
    return _window(step, WINDOW_OPEN, step.memory["object"], "long_tail")


def window_close(step: Step) -> jax.Array:
    """sawyer_window_close_v3.py."""
    return _window(step, WINDOW_CLOSE, step.memory["handle"], "gaussian")


def _window(step: Step, part: Part, init: jax.Array, sigmoid: str) -> jax.Array:
    handle, target = step.read[part], step.target
    in_place = tolerance(jnp.abs(handle[:, 0] - target[:, 0]), 0.05, jnp.abs(jnp.abs(init[:, 0] - target[:, 0]) - 0.05))
    margin = jnp.abs(norm(step.memory["handle"] - step.memory["tcp"]) - 0.02)
    reach = tolerance(norm(handle - step.read.tcp), 0.02, margin, sigmoid=sigmoid)
    return 10.0 * hamacher(reach, in_place)


def _window_start(part: Part):
    def remember(start: Start) -> Memory:
        # Quirk: official code reads `window_handle_pos_init` before it places the window, so the value comes from the
        # previous reset. An official task is always reset twice; with the same vector, this reset's value is the same.
        return from_vector(start) | {"handle": start.read[part]}

    return remember


def lever_pull(step: Step) -> jax.Array:
    """sawyer_lever_pull_v3.py. Quirk: the lever's angle decides success, but does not enter the reward."""
    lever, init, scale = step.read[LEVER], step.memory["lever"], (4.0, 1.0, 4.0)
    margin = norm(_add(step.memory["tcp"] - init, _SHOULDER), scale)
    ready = tolerance(norm(_add(step.read.hand - lever, _SHOULDER), scale), 0.02, margin)
    in_place = tolerance(norm(lever - step.target), 0.04, norm(init - step.target))
    return 10.0 * hamacher(ready, in_place)


def _lever_start(start: Start) -> Memory:
    return {"tcp": start.init_tcp, "lever": _add(start.vector[:, :3], (0.12, -0.2, 0.25))}


def dial_turn(step: Step) -> jax.Array:
    """sawyer_dial_turn_v3.py."""
    dial, rim, target = step.read[DIAL], _rim(step.read.joints["knob_Joint_1"]), step.target
    init, init_push = step.memory["dial"], _add(step.memory["rim"], _DIAL_PUSH)
    # Centres are subtracted first: with a margin of 3 cm, float32 would lose too much otherwise.
    # Quirk: the margin is measured from the push point, not from the dial's mark.
    in_place = tolerance(norm(dial - target + rim), 0.07, jnp.abs(norm(init - target + init_push) - 0.07))
    margin = jnp.abs(norm(init - step.memory["tcp"] + init_push) - 0.005)
    distance = norm(dial - step.read.tcp + _add(rim, _DIAL_PUSH))
    reach = tolerance(distance, 0.005, margin, sigmoid="gaussian")
    return 10.0 * hamacher(hamacher(reach, step.closing), in_place)


_DIAL_PUSH = (0.05, 0.02, 0.09)
"""Metres: from the mark on the dial's rim to the push point."""


def _rim(angle: jax.Array) -> jax.Array:
    """(E, 3) from the dial's centre to its mark (`_get_pos_objects`), metres."""
    return 0.05 * jnp.stack([jnp.sin(angle), -jnp.cos(angle), jnp.zeros_like(angle)], axis=-1)


def _dial_start(start: Start) -> Memory:
    return {"tcp": start.init_tcp, "dial": start.read[DIAL], "rim": _rim(start.read.joints["knob_Joint_1"])}


def plate_slide(step: Step) -> jax.Array:
    """sawyer_plate_slide_v3.py."""
    plate, init = step.read[PLATE], step.memory["object"]
    distance = norm(plate - step.target)
    in_place = tolerance(distance, 0.05, norm(init - step.target))
    reach = tolerance(norm(step.read.tcp - plate), 0.05, norm(step.memory["tcp"] - init))
    return jnp.where(distance < 0.05, 10.0, 8.0 * hamacher(reach, in_place))


def plate_slide_low(step: Step) -> jax.Array:
    """sawyer_plate_slide_side_v3.py, sawyer_plate_slide_back_v3.py, sawyer_plate_slide_back_side_v3.py."""
    plate, tcp, init = step.read[PLATE], step.read.tcp, step.memory["object"]
    distance, apart = norm(plate - step.target), norm(tcp - plate)
    in_place = tolerance(distance, 0.05, norm(init - step.target) - 0.05)
    # Quirk: `obj_init_pos` is the reset vector's, although in the two "back" tasks the plate starts elsewhere.
    reach = tolerance(apart, 0.05, norm(step.memory["tcp"] - init) - 0.05)
    reward = jnp.where((tcp[:, 2] <= 0.03) & (apart < 0.07), 2.0 + 7.0 * in_place, 1.5 * reach)
    return jnp.where(distance < 0.05, 10.0, reward)


_TOP, _FRONT = (BUTTON_TOP, BUTTON_START, HOLE), (BUTTON_FRONT, BUTTON_START, HOLE)
_PLATE_LOW = RewardSpec(plate_slide_low, from_vector, (PLATE,))

MECHANISMS: dict[str, RewardSpec] = {
    "button-press-topdown": RewardSpec(button_press_topdown, _travel(2), _TOP),
    "button-press-topdown-wall": RewardSpec(button_press_topdown, _travel(2), _TOP),
    "button-press": RewardSpec(button_press, _travel(1), _FRONT),
    "button-press-wall": RewardSpec(button_press_wall, _travel(1), _FRONT),
    "coffee-button": RewardSpec(coffee_button, _coffee_button_start, (BUTTON_START,)),
    "door-lock": RewardSpec(door_lock, lambda start: {}, (LOCK, LEFT_PAD)),
    "door-unlock": RewardSpec(door_unlock, lambda start: {"tcp": start.init_tcp}, (UNLOCK, LOCK_BODY)),
    "door-open": RewardSpec(door_open, lambda start: {}, (DOOR_HANDLE,), joints=("doorjoint",)),
    "door-close": RewardSpec(door_close, from_vector, (DOOR_HANDLE,)),
    "drawer-close": RewardSpec(drawer_close, at_part(DRAWER_CLOSE), (DRAWER_CLOSE,)),
    "drawer-open": RewardSpec(drawer_open, lambda start: {"tcp": start.init_tcp}, (DRAWER_OPEN,)),
    "faucet-open": RewardSpec(_faucet(FAUCET_OPEN), from_vector, (FAUCET_OPEN,)),
    "faucet-close": RewardSpec(_faucet(FAUCET_CLOSE), from_vector, (FAUCET_CLOSE,)),
    "handle-press": RewardSpec(handle_press, at_part(HANDLE_START), (HANDLE_START,)),
    "handle-press-side": RewardSpec(handle_press, at_part(HANDLE_START), (HANDLE_START,)),
    "handle-pull": RewardSpec(handle_pull, from_vector, (HANDLE_RIGHT, *PADS)),
    "handle-pull-side": RewardSpec(handle_pull_side, at_part(HANDLE_CENTER), (HANDLE_CENTER, *PADS)),
    "window-open": RewardSpec(window_open, _window_start(WINDOW_OPEN), (WINDOW_OPEN,)),
    "window-close": RewardSpec(window_close, _window_start(WINDOW_CLOSE), (WINDOW_CLOSE,)),
    "lever-pull": RewardSpec(lever_pull, _lever_start, (LEVER,)),
    "dial-turn": RewardSpec(dial_turn, _dial_start, (DIAL,), joints=("knob_Joint_1",)),
    "plate-slide": RewardSpec(plate_slide, from_vector, (PLATE,)),
    "plate-slide-side": _PLATE_LOW,
    "plate-slide-back": _PLATE_LOW,
    "plate-slide-back-side": _PLATE_LOW,
}
