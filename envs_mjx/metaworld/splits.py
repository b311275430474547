"""Benchmarks as lists of task names: those of Meta-World (metaworld/env_dict.py) and of Continual World.

Names are those of `envs_mjx.names()`. The order is official: task indices and one-hot codes follow it.
"""

from __future__ import annotations

MT50 = (
    "assembly", "basketball", "bin-picking", "box-close", "button-press-topdown", "button-press-topdown-wall",
    "button-press", "button-press-wall", "coffee-button", "coffee-pull", "coffee-push", "dial-turn", "disassemble",
    "door-close", "door-lock", "door-open", "door-unlock", "hand-insert", "drawer-close", "drawer-open", "faucet-open",
    "faucet-close", "hammer", "handle-press-side", "handle-press", "handle-pull-side", "handle-pull", "lever-pull",
    "pick-place-wall", "pick-out-of-hole", "pick-place", "plate-slide", "plate-slide-side", "plate-slide-back",
    "plate-slide-back-side", "peg-insert-side", "peg-unplug-side", "soccer", "stick-push", "stick-pull", "push",
    "push-wall", "push-back", "reach", "reach-wall", "shelf-place", "sweep-into", "sweep", "window-open",
    "window-close",
)  # fmt: skip
"""Every task, learned together."""

MT1 = ML1 = MT50
"""Choices for the benchmarks of one task: MT1 varies the goal, ML1 tests on new goals."""

MT10 = (
    "reach", "push", "pick-place", "door-open", "drawer-open", "drawer-close", "button-press-topdown",
    "peg-insert-side", "window-open", "window-close",
)  # fmt: skip

MT25 = (
    *MT10, "coffee-pull", "pick-out-of-hole", "disassemble", "pick-place-wall", "basketball", "stick-pull",
    "button-press-wall", "faucet-open", "door-lock", "lever-pull", "sweep-into", "faucet-close", "coffee-button",
    "button-press-topdown-wall", "dial-turn",
)  # fmt: skip

ML10_TRAIN = (
    "reach", "push", "pick-place", "door-open", "drawer-close", "button-press-topdown", "peg-insert-side",
    "window-open", "sweep", "basketball",
)  # fmt: skip
ML10_TEST = ("drawer-open", "door-close", "shelf-place", "sweep-into", "lever-pull")

ML25_TRAIN = MT25
ML25_TEST = ("basketball", "door-close", "shelf-place", "sweep", "button-press")
"""As in the official package: basketball is in the training list too."""

ML45_TRAIN = (
    "assembly", "basketball", "button-press-topdown", "button-press-topdown-wall", "button-press", "button-press-wall",
    "coffee-button", "coffee-pull", "coffee-push", "dial-turn", "disassemble", "door-close", "door-open",
    "drawer-close", "drawer-open", "faucet-open", "faucet-close", "hammer", "handle-press-side", "handle-press",
    "handle-pull-side", "handle-pull", "lever-pull", "pick-place-wall", "pick-out-of-hole", "push-back", "pick-place",
    "plate-slide", "plate-slide-side", "plate-slide-back", "plate-slide-back-side", "peg-insert-side",
    "peg-unplug-side", "soccer", "stick-push", "stick-pull", "push-wall", "push", "reach-wall", "reach", "shelf-place",
    "sweep-into", "sweep", "window-open", "window-close",
)  # fmt: skip
ML45_TEST = ("bin-picking", "box-close", "hand-insert", "door-lock", "door-unlock")

CW10 = (
    "hammer", "push-wall", "faucet-close", "push-back", "stick-pull", "handle-press-side", "push", "shelf-place",
    "window-close", "peg-unplug-side",
)  # fmt: skip
"""Continual World's sequence (arXiv 2105.10919, `TASK_SEQS`), the V1 tasks under their V3 names."""
CW20 = CW10 * 2
