"""Action repeat: the policy decides once in N env steps, and its action is held or aimed at in between.

Axis letters: E environments, A action.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from envs_mjx.base import EnvError, GoalEnv, State, select
from envs_mjx.control import make_control

REWARD = "official_reward"


class Tally(struct.PyTreeNode):
    """What happened in the env steps of one decision, until the episode ended; each (E,).

    Attributes:
        steps_in_success: env steps in native success. nearest: least distance, metres.
        reward: sum of the official reward; None where the environment computes none.
        reached: name -> the largest value of each metric that is called success_<radius>.
        diverged: whether the simulation was lost. done: whether the episode ended.
    """

    steps_in_success: jax.Array
    nearest: jax.Array
    reward: jax.Array | None
    reached: dict[str, jax.Array]
    diverged: jax.Array
    done: jax.Array


class Repeated:
    """`GoalEnv` whose steps are decisions: each is `repeat` env steps of `env`.

    `State.time` and `spec.horizon` count decisions. Metrics are those of the decision's last env step, except:
    `diverged` and `success_<radius>` hold for any of its env steps, and `official_reward` is their sum. Two metrics
    are added: `steps_in_success` (env steps) and `nearest` (least distance, metres). Every other attribute of `env`
    (`task`, `frames`, ...) is an attribute here too.

    Args:
        env: environments that are stepped once per env step.
        repeat: env steps per decision, N.
        control: how its action becomes theirs, see `control.py`.

    Raises:
        EnvError: `repeat` is below 1, or the horizon is no multiple of it, or a control that `env` cannot have.
    """

    def __init__(self, env: GoalEnv, repeat: int, control: str = "hold"):
        horizon = env.spec.horizon
        if repeat < 1 or horizon % repeat:
            raise EnvError(f"action_repeat={repeat}: must be at least 1 and divide horizon={horizon}")
        self.env, self.repeat, self.control = env, repeat, make_control(control, env, repeat)
        self.spec = env.spec.replace(horizon=horizon // repeat, action_repeat=repeat)

    def __getattr__(self, name: str) -> Any:
        if name == "env":  # Asked for before it is set, e.g. by `copy`.
            raise AttributeError(name)
        return getattr(self.env, name)

    def reset(self, key: jax.Array) -> State:
        """E fresh episodes from one key."""
        return self._begun(self.env.reset(key))

    def reset_each(self, keys: jax.Array) -> State:
        """E fresh episodes from keys (E, 2); episode i depends on keys[i] only."""
        return self._begun(self.env.reset_each(keys))

    def reset_to(self, vector: jax.Array, keys: jax.Array) -> State:
        """E episodes placed by given reset vectors (E, R); keys (E, 2) seed the later episodes."""
        return self._begun(self.env.reset_to(vector, keys))

    def step(self, state: State, action: jax.Array) -> State:
        """One decision; ended episodes are restarted."""
        return self.restart(self.advance(state, action))

    def advance(self, state: State, action: jax.Array) -> State:
        """One decision without a restart: where `done`, the state is the last of its episode."""

        inner = self._inner(state)
        aim = self.control.begin(inner.obs, action)

        def one(carry: tuple[State, Tally], _: None) -> tuple[tuple[State, Tally], None]:
            before, tally = carry
            after = self.env.advance(before, self.control.act(before.obs, aim))
            # An episode that has ended stands still for the rest of the decision.
            return (select(tally.done, before, after), _counted(tally, after)), None

        (inner, tally), _ = jax.lax.scan(one, (inner, _empty(inner)), None, length=self.repeat)
        return self._outer(inner, tally)

    def restart(self, state: State) -> State:
        """Begin the next episode, with a new start and goal, where `done`."""
        inner = self.env.restart(self._inner(state))
        return inner.replace(time=inner.time // self.repeat, metrics=state.metrics)

    def _begun(self, inner: State) -> State:
        """A state at the start of its episodes."""
        return self._outer(inner, _counted(_empty(inner), inner))

    def _inner(self, state: State) -> State:
        """The state as `env` has it."""
        added = ("steps_in_success", "nearest")
        metrics = {name: value for name, value in state.metrics.items() if name not in added}
        return state.replace(time=state.time * self.repeat, metrics=metrics)

    def _outer(self, inner: State, tally: Tally) -> State:
        """`inner` with its time in decisions and the tally among its metrics."""
        metrics = inner.metrics | tally.reached | {"diverged": tally.diverged}
        metrics |= {"steps_in_success": tally.steps_in_success, "nearest": tally.nearest}
        metrics |= {} if tally.reward is None else {REWARD: tally.reward}
        return inner.replace(time=inner.time // self.repeat, done=tally.done, metrics=metrics)


def _empty(state: State) -> Tally:
    """The tally of no env step."""
    zeros = jnp.zeros_like(state.metrics["distance"])
    reward = zeros if REWARD in state.metrics else None
    reached = {name: zeros for name in state.metrics if name.startswith("success_")}
    return Tally(zeros, jnp.full_like(zeros, jnp.inf), reward, reached, zeros, jnp.zeros_like(state.done))


def _counted(tally: Tally, now: State) -> Tally:
    """The tally after one env step more; an episode that has ended counts no further."""
    going = jnp.where(tally.done, 0.0, 1.0)
    metrics = now.metrics
    return Tally(
        steps_in_success=tally.steps_in_success + going * metrics["success"],
        nearest=jnp.minimum(tally.nearest, jnp.where(tally.done, jnp.inf, metrics["distance"])),
        reward=None if tally.reward is None else tally.reward + going * metrics[REWARD],
        reached={name: jnp.maximum(most, going * metrics[name]) for name, most in tally.reached.items()},
        diverged=jnp.maximum(tally.diverged, going * metrics["diverged"]),
        done=tally.done | now.done,
    )
