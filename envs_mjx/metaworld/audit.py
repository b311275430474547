"""Goal audit: the goals that tasks command, beside what the official scripted policy achieves while it succeeds.

A goal that no success achieves cannot be learned: its object lies inside the floor, or its hand stands where nothing is
held. The scripted policy runs in our environment on engine `c`. Of each episode the audit takes the successful env step
whose achieved goal is nearest to the commanded one.

Axis letters: E episodes, T env steps, G goal.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import numpy as np

from envs_mjx.metaworld.env import MetaWorld
from envs_mjx.metaworld.official import scripted_actions, scripted_policy
from envs_mjx.metaworld.tasks import TASKS, TaskSpec

OBJECT_TOLERANCE, HAND_TOLERANCE = 0.025, 0.05
"""Metres between commanded and achieved position of the object (and of a tool's end), and of the hand, beyond which a
row has to say why (`TaskSpec.goal_apart`)."""
OPENING_TOLERANCE = 0.15
"""Of the gripper's opening, in [0, 1]."""
STEPS, EPISODES = 150, 16


@dataclass(frozen=True)
class Audited:
    """Commanded against achieved goals of one task; medians over the episodes in which the script succeeds.

    Attributes:
        contract: goal contract. names: (G,) what each number of a goal is.
        script_any, script_final: share of episodes in which the script succeeds at any, at the last env step.
        first: env step of the first success; NaN without one.
        commanded: (G,). apart: (G,) achieved minus commanded. scales: (G,) the goal's fixed scales.
        reason: the row's own for a distance beyond its tolerance (`TaskSpec.goal_apart`); "" if it gives none.
    """

    task: str
    contract: str
    names: tuple[str, ...]
    script_any: float
    script_final: float
    first: float
    commanded: np.ndarray
    apart: np.ndarray
    scales: np.ndarray
    reason: str

    def far(self, kind: str) -> float:
        """Length of `apart` over the numbers whose names begin with `kind`: "object", "tool", "hand", "opening"."""
        chosen = [index for index, name in enumerate(self.names) if name.startswith(kind)]
        return float(np.linalg.norm(self.apart[chosen]))

    @property
    def beyond(self) -> str:
        """What is further apart than its tolerance, in words; "" if nothing is."""
        limits = {"object": OBJECT_TOLERANCE, "tool": OBJECT_TOLERANCE, "hand": HAND_TOLERANCE}
        found = [f"{kind} {self.far(kind):.3f} m" for kind, limit in limits.items() if self.far(kind) > limit]
        found += [f"opening {self.far('opening'):.2f}"] if self.far("opening") > OPENING_TOLERANCE else []
        return ", ".join(found)


def audit(task: str | TaskSpec, episodes: int = EPISODES, steps: int = STEPS, seed: int = 0) -> Audited:
    """Run the scripted policy of a task with goal contract "auto".

    Args:
        episodes: E. steps: T.
    """
    row = TASKS[task] if isinstance(task, str) else task
    env = MetaWorld(row, episodes, "c", "auto", steps + 1, reward=False)
    policy, frame = scripted_policy(row.name), None
    state, advance = jax.jit(env.reset)(jax.random.PRNGKey(seed)), jax.jit(env.advance)
    observe, achieved_goal = jax.jit(env.observe_official), jax.jit(env.achieved_goal)
    goal = np.asarray(state.goal)
    achieved, success = [], []
    for _ in range(steps):
        obs, frame = observe(state, frame)
        state = advance(state, scripted_actions(policy, obs))
        achieved.append(np.asarray(achieved_goal(state.obs)))
        success.append(np.asarray(state.success))
    apart, won = np.array(achieved) - goal, np.array(success)  # (T, E, G), (T, E)
    scales = np.asarray(env.spec.goal_scale)
    distance = np.where(won, np.linalg.norm(apart / scales, axis=-1), np.inf)
    wins = won.any(axis=0)
    best = apart[distance.argmin(axis=0), np.arange(episodes)][wins]
    return Audited(
        task=row.name,
        contract=env.goal,
        names=env.spec.goal_names,
        script_any=float(wins.mean()),
        script_final=float(won[-1].mean()),
        first=float(np.median(won.argmax(axis=0)[wins] + 1)) if wins.any() else float("nan"),
        commanded=np.median(goal, axis=0),
        apart=np.median(best, axis=0) if wins.any() else np.full(goal.shape[1], np.nan),
        scales=scales,
        reason=row.goal_apart,
    )
