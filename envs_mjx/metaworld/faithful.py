"""Which tasks each engine simulates faithfully, as measured by `crl bench fidelity` (docs/fidelity.md).

Faithful: the official scripted policy's success on the engine is within 10 points of engine `c`, from the same starts.
Engine `c` is the official physics to the last bit. Engine `warp` takes the official scenes unmodified and counts as
faithful unless measured otherwise. Engine `jax` takes simplified scenes (`jax_scenes.py`) and counts as faithful only
where it was measured to be.
"""

from __future__ import annotations

UNFAITHFUL: dict[str, tuple[str, ...]] = {"c": (), "warp": ()}
"""Engine -> tasks measured not to be faithful; all other tasks count as faithful."""

FAITHFUL: dict[str, tuple[str, ...]] = {
    "jax": (
        "assembly",
        "basketball",
        "bin-picking",
        "button-press",
        "button-press-topdown",
        "button-press-topdown-wall",
        "button-press-wall",
        "coffee-button",
        "coffee-pull",
        "coffee-push",
        "dial-turn",
        "door-lock",
        "door-open",
        "door-unlock",
        "drawer-close",
        "drawer-open",
        "faucet-close",
        "faucet-open",
        "hammer",
        "hand-insert",
        "handle-press",
        "handle-press-side",
        "handle-pull-side",
        "lever-pull",
        "pick-out-of-hole",
        "pick-place",
        "pick-place-wall",
        "plate-slide",
        "plate-slide-back",
        "plate-slide-back-side",
        "plate-slide-side",
        "push",
        "push-wall",
        "reach",
        "reach-wall",
        "soccer",
        "stick-push",
        "sweep",
        "window-close",
        "window-open",
    )
}
"""Engine -> tasks measured to be faithful; no other task counts as faithful."""


def doubt(task: str, engine: str) -> str:
    """Why `engine` is not faithful for `task` (a Meta-World or single-goal task); "" where the engine is."""
    if engine in FAITHFUL and task not in FAITHFUL[engine]:
        return "its simplified scene has not passed the fidelity test (docs/fidelity.md)"
    if task in UNFAITHFUL.get(engine, ()):
        return "its scripted policy succeeds more than 10 points off engine 'c' there (docs/fidelity.md)"
    return ""
