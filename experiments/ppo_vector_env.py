"""PPO in JAX on a `gymnasium.vector.VectorEnv`, after CleanRL's `ppo_continuous_action.py`.

    python -m experiments.ppo_vector_env --env-id crl_jax/reach-v3 --total-steps 200000

It uses `envs_mjx` only through the import that registers the tasks.  Axis letters: T time, E environments, B batch,
D observation, A action.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import flax.linen as nn
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from rich.console import Console

import envs_mjx  # noqa: F401 (registers "crl_jax/<task>-v<version>")


@dataclass(frozen=True)
class Settings:
    """The environment, and PPO's usual hyperparameters."""

    env_id: str = "crl_jax/reach-v3"
    num_envs: int = 64
    total_steps: int = 200_000
    unroll_length: int = 32
    epochs: int = 4
    minibatches: int = 4
    learning_rate: float = 1e-3
    discount: float = 0.98
    gae_lambda: float = 0.95
    clip: float = 0.2
    entropy_cost: float = 0.0
    value_cost: float = 0.5
    max_grad_norm: float = 0.5
    seed: int = 0


class ActorCritic(nn.Module):
    """obs (B, D) -> mean (B, A) and log standard deviation (A,) of the action, value (B,)."""

    action_size: int

    @nn.compact
    def __call__(self, obs: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        trunks = []
        for size, scale in ((self.action_size, 0.01), (1, 1.0)):
            hidden = obs
            for _ in range(2):
                hidden = nn.tanh(nn.Dense(64, kernel_init=nn.initializers.orthogonal(2**0.5))(hidden))
            trunks.append(nn.Dense(size, kernel_init=nn.initializers.orthogonal(scale))(hidden))
        return trunks[0], self.param("log_std", nn.initializers.zeros, (self.action_size,)), trunks[1][:, 0]


class Unroll(NamedTuple):
    """T steps of E environments with leaves (T, E, ...); flattened, a batch with leaves (B, ...)."""

    obs: Any
    action: Any
    log_prob: Any
    advantage: Any
    returns: Any


def forward(network: ActorCritic, params: Any, obs: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """mean (B, A), log standard deviation (A,), value (B,)."""
    return network.apply(params, obs)  # type: ignore[return-value]


def log_prob(mean: jax.Array, log_std: jax.Array, action: jax.Array) -> jax.Array:
    """(B,) log density of a diagonal Gaussian."""
    scaled = (action - mean) / jnp.exp(log_std)
    return jnp.sum(-0.5 * scaled**2 - log_std - 0.5 * jnp.log(2 * jnp.pi), axis=-1)


def loss(params: Any, network: ActorCritic, batch: Unroll, settings: Settings) -> jax.Array:
    """PPO's clipped surrogate (1707.06347, eq. 7), a squared value error, an entropy bonus."""
    mean, log_std, value = forward(network, params, batch.obs)
    ratio = jnp.exp(log_prob(mean, log_std, batch.action) - batch.log_prob)
    advantage = (batch.advantage - batch.advantage.mean()) / (batch.advantage.std() + 1e-8)
    clipped = jnp.clip(ratio, 1 - settings.clip, 1 + settings.clip)
    surrogate = jnp.minimum(ratio * advantage, clipped * advantage).mean()
    value_error = 0.5 * jnp.square(value - batch.returns).mean()
    return -surrogate + settings.value_cost * value_error - settings.entropy_cost * jnp.sum(log_std)


def advantages(
    reward: np.ndarray, value: np.ndarray, next_value: np.ndarray, done: np.ndarray, settings: Settings
) -> np.ndarray:
    """(T, E) generalised advantages (1506.02438, eq. 16).

    `next_value` is the value of the observation after the step. At the end of an episode this observation is
    `final_obs`. The episodes are truncated, never terminated, so that every step is bootstrapped.
    """
    delta = reward + settings.discount * next_value - value
    advantage, last = np.zeros_like(delta), np.zeros_like(delta[0])
    for time in reversed(range(len(delta))):
        last = delta[time] + settings.discount * settings.gae_lambda * (1 - done[time]) * last
        advantage[time] = last
    return advantage


class Learner:
    """Network, optimiser and the compiled functions of a run."""

    def __init__(self, env: gymnasium.vector.VectorEnv, settings: Settings):
        self.settings, self.network = settings, ActorCritic(env.single_action_space.shape[0])
        self.optimiser = optax.chain(
            optax.clip_by_global_norm(settings.max_grad_norm), optax.adam(settings.learning_rate)
        )
        self.key, key = jax.random.split(jax.random.PRNGKey(settings.seed))
        self.params = self.network.init(key, jnp.zeros((1, *env.single_observation_space.shape)))
        self.moments = self.optimiser.init(self.params)
        self.act, self.value, self._update = jax.jit(self._act), jax.jit(self._value), jax.jit(self._epochs)

    def _act(self, params: Any, obs: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        mean, log_std, value = forward(self.network, params, obs)
        action = mean + jnp.exp(log_std) * jax.random.normal(key, mean.shape)
        return action, log_prob(mean, log_std, action), value

    def _value(self, params: Any, obs: jax.Array) -> jax.Array:
        return forward(self.network, params, obs)[2]

    def _epochs(self, params: Any, moments: Any, unroll: Unroll, key: jax.Array) -> tuple[Any, Any]:
        batch = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), unroll)
        size = batch.advantage.size // self.settings.minibatches

        def epoch(carry: Any, key: jax.Array) -> tuple[Any, None]:
            order = jax.random.permutation(key, batch.advantage.size)[: size * self.settings.minibatches]
            return jax.lax.scan(update, carry, order.reshape(-1, size))

        def update(carry: Any, rows: jax.Array) -> tuple[Any, None]:
            params, moments = carry
            grads = jax.grad(loss)(params, self.network, jax.tree.map(lambda leaf: leaf[rows], batch), self.settings)
            steps, moments = self.optimiser.update(grads, moments, params)
            return (optax.apply_updates(params, steps), moments), None

        return jax.lax.scan(epoch, (params, moments), jax.random.split(key, self.settings.epochs))[0]

    def update(self, unroll: Unroll) -> None:
        """Updates the parameters with `epochs` passes over an unroll, in shuffled minibatches."""
        self.key, key = jax.random.split(self.key)
        self.params, self.moments = self._update(self.params, self.moments, unroll, key)

    def collect(self, env: gymnasium.vector.VectorEnv, obs: np.ndarray) -> tuple[np.ndarray, Unroll]:
        """Makes `unroll_length` steps of every environment from `obs`; returns the last observation and the unroll."""
        rows = []
        for _ in range(self.settings.unroll_length):
            self.key, key = jax.random.split(self.key)
            action, log_probability, value = map(np.asarray, self.act(self.params, obs, key))
            after, reward, terminated, truncated, info = env.step(np.clip(action, -1, 1))
            done, following = terminated | truncated, after
            if done.any():
                following = after.copy()
                following[done] = np.stack(info["final_obs"][done])
            next_value = np.where(terminated, 0.0, np.asarray(self.value(self.params, following)))
            rows.append((obs, action, log_probability, value, reward, next_value, done))
            obs = after
        first, action, log_probability, value, reward, next_value, done = (
            np.stack(part) for part in zip(*rows, strict=True)
        )
        advantage = advantages(reward, value, next_value, done, self.settings).astype(np.float32)
        return obs, Unroll(first, action, log_probability, advantage, advantage + value)


def train(settings: Settings, console: Console | None = None) -> list[float]:
    """Train; returns the mean return of the last 100 episodes after each iteration, from the first episode's end on."""
    env = RecordEpisodeStatistics(gymnasium.make_vec(settings.env_id, num_envs=settings.num_envs))
    learner = Learner(env, settings)
    obs, _ = env.reset(seed=settings.seed)
    curve: list[float] = []
    per_iteration = settings.num_envs * settings.unroll_length
    for iteration in range(1, -(-settings.total_steps // per_iteration) + 1):
        obs, unroll = learner.collect(env, obs)
        learner.update(unroll)
        if env.return_queue:
            curve.append(float(np.mean(env.return_queue)))
            if console:
                console.print(f"{iteration * per_iteration:>9,} env steps   return {curve[-1]:7.2f}")
    env.close()
    return curve


if __name__ == "__main__":
    train(tyro.cli(Settings), Console())
