"""Probe environments with known solutions, in pure jnp: a point on a line, and five probes with a simple reward."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from envs_mjx.base import EnvSpec, State

TINY = {
    "width": 8,
    "critic_depth": 1,
    "actor_depth": 1,
    "num_envs": 4,
    "unroll_length": 6,
    "replay_capacity": 48,
    "min_replay": 48,
    "batch_size": 8,
}
"""Settings that make any preset small enough for four of these environments."""


class Line:
    """obs = goal = position (1,); every episode starts at 0 with goal +1 or -1; success within 0.5 of the goal.

    A position beyond `breaks_at` counts as a divergence: the episode ends early.
    """

    free_object = True
    held_object = False
    tool = None

    def __init__(self, num_envs: int, horizon: int, breaks_at: float = float("inf")):
        self.num_envs, self.breaks_at, self.traces = num_envs, breaks_at, 0
        ones, zeros = jnp.ones(1), jnp.zeros(1)
        self.spec = EnvSpec(1, 1, 1, horizon, zeros, ones, zeros, ones)

    def achieved_goal(self, obs):
        return obs

    def goal_success(self, achieved_goal, goal):
        return jnp.abs(achieved_goal - goal)[..., 0] <= 0.5

    def commanded_goal(self, target):
        return target[:, :1]

    def commanded_point(self, target):
        return target

    def touch_goal(self, start):
        return self.commanded_goal(start)

    def hand_in_goal(self):
        return jnp.eye(3, 1)

    def _start(self, keys, episode):
        sign = jnp.where(jax.vmap(jax.random.bernoulli)(keys), 1.0, -1.0)
        target = jnp.stack([sign, 0 * sign, 0 * sign], -1)
        obs, no = jnp.zeros((self.num_envs, 1)), jnp.zeros(self.num_envs, bool)
        metrics = {name: jnp.zeros(self.num_envs) for name in ("success", "distance", "diverged", "object_moved")}
        time = jnp.zeros(self.num_envs, jnp.int32)
        return State(None, obs, target[:, :1], target, 0 * target, target, episode, time, keys, no, no, metrics)

    def reset(self, key):
        return self._start(jax.random.split(key, self.num_envs), jnp.zeros(self.num_envs, jnp.int32))

    def step(self, state, action):
        return self.restart(self.advance(state, action))

    def advance(self, state, action):
        self.traces += 1
        obs = state.obs + action
        distance = jnp.abs(obs - state.goal)[:, 0]
        diverged = jnp.abs(obs[:, 0]) > self.breaks_at
        success = distance <= 0.5
        done = (state.time + 1 >= self.spec.horizon) | diverged
        moved = jnp.abs(obs[:, 0]) > 0.01
        values = {"success": success, "distance": distance, "diverged": diverged, "object_moved": moved}
        metrics = {name: value.astype(jnp.float32) for name, value in values.items()}
        return state.replace(obs=obs, time=state.time + 1, success=success, metrics=metrics, done=done)

    def restart(self, state):
        keys = jax.vmap(lambda key: jax.random.split(key, 1)[0])(state.key)
        fresh = self._start(keys, state.episode + 1)

        def pick(new, old):
            return jnp.where(state.done.reshape((-1,) + (1,) * (new.ndim - 1)), new, old)

        return jax.tree.map(pick, fresh, state).replace(done=state.done, metrics=state.metrics)


class Probe(NamedTuple):
    """A probe. after: (action, coin 1 or -1) -> next observation. reward: (observation, action, goal) -> reward."""

    after: Callable
    reward: Callable


PROBES = {
    # Value 1 / (1 - discount) for every action. Failure: the critic's loss, its targets or their bootstrap are broken.
    "constant": Probe(lambda action, coin: 0 * coin, lambda obs, action, goal: 1 + 0 * obs),
    # The value depends on the observation. Failure: the critic does not see the observation.
    "obs": Probe(lambda action, coin: coin, lambda obs, action, goal: obs),
    # Best action 0.5. Failure: the actor does not maximise the critic.
    "action": Probe(lambda action, coin: 0 * coin, lambda obs, action, goal: 1 - (action - 0.5) ** 2),
    # Best action 0.5, rewarded one step later. Failure: the next observation or the discount is wrong.
    "delayed": Probe(lambda action, coin: action, lambda obs, action, goal: 1 - (obs - 0.5) ** 2),
    # Best action half the goal (1 or -1). Failure: actor or critic do not see the goal, or not the reward's goal.
    "goal": Probe(lambda action, coin: 0 * coin, lambda obs, action, goal: 1 - (action - goal / 2) ** 2),
}
"""Each probe tests one thing that a reward-based learner must do (after the probes of rejax and others)."""


class Paying(Line):
    """Environments that run the probes `State.memory["probe"]` (E,), indices into PROBES; reward: `official_reward`."""

    def _start(self, keys, episode):
        state = super()._start(keys, episode)
        memory = {"probe": jnp.zeros(self.num_envs, jnp.int32)}
        return state.replace(metrics={**state.metrics, "official_reward": jnp.zeros(self.num_envs)}, memory=memory)

    def step(self, state, action):
        which, every = state.memory["probe"], jnp.arange(self.num_envs)
        obs, goal, action = state.obs[:, 0], state.goal[:, 0], action[:, 0]
        keys = jax.vmap(lambda key: jax.random.split(key, 1)[0])(state.key)
        coin = jnp.where(jax.vmap(jax.random.bernoulli)(keys), 1.0, -1.0)
        after = jnp.stack([probe.after(action, coin) for probe in PROBES.values()])[which, every]
        reward = jnp.stack([probe.reward(obs, action, goal) for probe in PROBES.values()])[which, every]
        time = state.time + 1
        done = time >= self.spec.horizon
        metrics = {**state.metrics, "official_reward": reward}
        fresh = self._start(keys, state.episode + 1)
        now = state.replace(obs=after[:, None], time=time, key=keys)

        def pick(new, old):
            return jnp.where(done.reshape((-1,) + (1,) * (new.ndim - 1)), new, old)

        return jax.tree.map(pick, fresh, now).replace(done=done, metrics=metrics, memory=state.memory)
