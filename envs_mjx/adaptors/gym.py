"""Gymnasium: `gymnasium.make_vec("crl_jax/push-v3", num_envs=512)` after `import envs_mjx`; `gymnasium.make` for one.

Axis letters: E environments, D observation, G goal, A action, R reset vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from envs_mjx import registry
from envs_mjx.adaptors.common import reward_metric
from envs_mjx.base import EnvError, State, check_buffers, select

NAMESPACE = "crl_jax"
OBSERVATIONS = ("state", "official", "pixels")
OPTIONS = ("reset_mask", "vector")
_SEEDS = 2**32


def register() -> None:
    """Put every task into Gymnasium's registry by name; builds nothing and initialises no device."""
    for task in registry.names():
        name = f"{NAMESPACE}/{task}-v{registry.version(task)}"
        if name not in gymnasium.registry:
            gymnasium.register(
                name,
                entry_point="envs_mjx.adaptors.gym_single:GoalGymEnv",
                vector_entry_point="envs_mjx.adaptors.gym:GoalVectorEnv",
                kwargs={"task": task},
            )


class Carry(NamedTuple):
    """Carried from step to step: states, last observations, and the last frame if observations are official."""

    state: State
    obs: Any
    frame: jax.Array | None


class Stepped(NamedTuple):
    """Results of one step: reward and done (E,), then observation and infos before any restart."""

    reward: jax.Array
    done: jax.Array
    final_obs: Any
    final_info: dict[str, jax.Array]


class GoalVectorEnv(gymnasium.vector.VectorEnv):
    """E environments of a task as one `gymnasium.vector.VectorEnv`, stepped by one jitted function.

    An episode never terminates. At the horizon, or if its simulation diverges, it is truncated. What comes next is
    `autoreset_mode`, as in Gymnasium's `SyncVectorEnv`:

    SAME_STEP (default)  it restarts within the step. The observation is the next start; `info["final_obs"]` and
                         `info["final_info"]` hold the end, with masks `_final_obs` and `_final_info`.
    NEXT_STEP            the step shows the end. The next step ignores the environment's action and shows the next
                         start, with reward 0.
    DISABLED             the step shows the end, and `reset(options={"reset_mask": ...})` must come before the next one.
    Every `info` holds per environment: `seed` (the last seed) and `episode_number` (resets since that seed), which
    together identify the episode; `goal` (E, G); `target` and `start` (E, 3), the object's goal and start position,
    metres; `success`. After a step, `info` also holds the metrics (`distance`, `diverged`, ...), except where an
    episode has just begun.

    Args:
        task: a name of `envs_mjx.names()`.
        num_envs: E.
        obs: "state": compact state and goal, (D + G,); "official": Meta-World's 39 values, which end in the goal;
            "pixels": pictures (H, W, 3) uint8 with the goal marked; with goal_dict pictures without a mark, goals too.
        goal_dict: observations as dicts for hindsight relabelling: "observation" (without the goal), "achieved_goal"
            and "desired_goal" (G,); `compute_reward` scores relabelled goals.
        reward: "sparse": native success, 0 or 1; "official": the official dense reward.
        render_mode: None or "rgb_array".
        render_envs: number of environments that `render` draws, from the first; None: all, as Gymnasium's wrappers
            (`wrappers.vector.RecordVideo`) need it.
        width, height, camera: size in pixels and scene camera of the pictures, rendered or observed; "": the task's.
        autoreset_mode: `gymnasium.vector.AutoresetMode` or its name.
        settings: further arguments of `envs_mjx.make`: physics, goal, horizon, threads, ...

    Raises:
        EnvError: a bad setting, in one line.
    """

    metadata: ClassVar[dict[str, Any]] = {
        "autoreset_mode": AutoresetMode.SAME_STEP,
        "render_modes": ["rgb_array"],
        "render_fps": 80,  # An env step of Meta-World is 12.5 ms.
    }

    def __init__(
        self,
        task: str,
        num_envs: int = 1,
        *,
        obs: str = "state",
        goal_dict: bool = False,
        reward: str = "sparse",
        render_mode: str | None = None,
        render_envs: int | None = None,
        width: int = 320,
        height: int = 240,
        camera: str = "",
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        **settings: Any,
    ):
        self._mode = _mode(autoreset_mode)
        if obs not in OBSERVATIONS:
            raise EnvError(f"obs={obs!r}: no such observation; one of {', '.join(OBSERVATIONS)}")
        if render_mode not in (None, "rgb_array"):
            raise EnvError(f"render_mode={render_mode!r}: None or 'rgb_array' wanted")
        if render_envs is not None and not 1 <= render_envs <= num_envs:
            raise EnvError(f"render_envs={render_envs}: 1 to num_envs={num_envs} wanted, or None for all")
        camera = camera or registry.camera_of(task)
        if obs == "pixels":
            settings |= {"obs": obs, "width": width, "height": height, "camera": camera}
        self.env = registry.make(task, num_envs, **settings)
        self._observe_official = getattr(self.env, "observe_official", None)
        if obs == "official" and self._observe_official is None:
            raise EnvError(f"obs='official': {task} is no scene of Meta-World; take obs='state'")
        self.num_envs, self.render_mode = num_envs, render_mode
        fps = self.metadata["render_fps"] / self.env.spec.action_repeat
        self.metadata = self.metadata | {"render_fps": fps, "autoreset_mode": self._mode}  # type: ignore[misc]
        self._official, self._pixels, self._goal_dict = obs == "official", obs == "pixels", goal_dict
        self._metric = reward_metric(self.env, reward)
        self._drawn, self._picture = range(num_envs if render_envs is None else render_envs), (width, height, camera)
        self._carry: Carry | None = None
        self._seeds = np.zeros(num_envs, np.int64)
        self._begin = jax.jit(self._begin_at)
        self._advance, self._merge = jax.jit(self._step), jax.jit(select)
        shapes = jax.eval_shape(self._begin_at, jax.ShapeDtypeStruct((num_envs, 2), jnp.uint32), None)
        spaces = {name: _box(leaf) for name, leaf in shapes.obs.items()} if goal_dict else None
        self.single_observation_space = gymnasium.spaces.Dict(spaces) if spaces else _box(shapes.obs)
        self.single_action_space = gymnasium.spaces.Box(-1.0, 1.0, (self.env.spec.action_size,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    # -- pure functions, jitted --------------------------------------------------------------------------------------

    def _observe(self, state: State, frame: jax.Array | None) -> tuple[Any, jax.Array | None]:
        """Observations of the chosen kind, and the frame for the next official one; `frame=None` begins an episode."""
        bare = whole = state.obs
        if self._official and self._observe_official is not None:
            whole, frame = self._observe_official(state, frame)
            bare = whole[:, :-3]
        elif self._pixels:
            whole = self.env.observe_pixels(state)  # type: ignore[attr-defined]
        else:
            whole = jnp.concatenate([bare, state.goal], axis=-1)
        if self._goal_dict:
            achieved, goal = self.env.achieved_goal(state.obs), state.goal
            if self._pixels:
                bare, achieved, goal = (one.reshape(whole.shape) for one in (bare, achieved, goal))
            return {"observation": bare, "achieved_goal": achieved, "desired_goal": goal}, frame
        return whole, frame

    def _begin_at(self, keys: jax.Array, vector: jax.Array | None) -> Carry:
        state = self.env.reset_each(keys) if vector is None else self.env.reset_to(vector, keys)
        return Carry(state, *self._observe(state, None))

    def _step(self, carry: Carry, action: jax.Array) -> tuple[Carry, Stepped]:
        ended = self.env.advance(carry.state, action)
        obs, frame = self._observe(ended, carry.frame)
        final_info = {**_facts(ended), **ended.metrics, "success": ended.success}
        stepped = Stepped(ended.metrics[self._metric], ended.done, obs, final_info)
        if self._mode == AutoresetMode.DISABLED:
            return Carry(ended, obs, frame), stepped
        if self._mode == AutoresetMode.SAME_STEP:
            state, restarts = self.env.restart(ended), ended.done
        else:  # NEXT_STEP: those that ended in the step before begin now, whatever their action.
            restarts = carry.state.done
            begins = self.env.restart(carry.state).replace(metrics=ended.metrics, done=jnp.zeros_like(restarts))
            state = select(restarts, begins, ended)
            stepped = stepped._replace(reward=jnp.where(restarts, 0.0, stepped.reward), done=state.done)
        begun = jax.lax.cond(restarts.any(), lambda: self._observe(state, None), lambda: (obs, frame))
        shown, frame = select(restarts, begun, (obs, frame))
        return Carry(state, shown, frame), stepped

    # -- VectorEnv ---------------------------------------------------------------------------------------------------

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin new episodes.

        Args:
            seed: an int seeds environment i with `seed + i`; a sequence gives each environment its own seed. An
                environment's episodes depend on its seed only. None (also within the sequence) continues the
                environment's own stream of episodes; at the first reset, None draws a seed from `np_random`.
            options: `reset_mask` (E,) bool: environments to reset, the others stay as they are; `vector` (E, R): reset
                vectors (metres) that place the episodes, instead of drawn vectors.

        Raises:
            EnvError: seeds or options of a wrong kind or shape.
        """
        self._refuse_closed()
        options = options or {}
        if set(options) - set(OPTIONS):
            raise EnvError(f"options={sorted(set(options) - set(OPTIONS))}: no such option; {', '.join(OPTIONS)}")
        seeds, mask = self._read_seeds(seed), self._read_mask(options.get("reset_mask"))
        vector = options.get("vector")
        if isinstance(seed, int | np.integer):
            super().reset(seed=int(seed))
        old = self._carry
        if old is None:
            if not mask.all():
                raise EnvError("options['reset_mask']: the first reset must be of every environment")
            seeds = np.where(seeds < 0, self.np_random.integers(2**31, size=self.num_envs), seeds)
        seeded = seeds >= 0
        keys = jax.vmap(jax.random.PRNGKey)(np.maximum(seeds, 0).astype(np.uint32))
        if old is not None:
            keys = select(jnp.asarray(seeded), keys, jax.vmap(lambda key: jax.random.split(key, 1)[0])(old.state.key))
        if vector is not None:
            vector = jnp.asarray(self._read_vector(vector))
        new = self._begin(keys, vector)
        if old is not None:
            episode = jnp.where(seeded, 0, old.state.episode + 1)
            new = self._merge(mask, new._replace(state=new.state.replace(episode=episode)), old)
        self._carry = new
        self._seeds = np.where(mask & seeded, seeds, self._seeds)
        facts = _host(_facts(new.state)) | {"success": np.array(new.state.success), "seed": self._seeds.copy()}
        return _host(new.obs), _masked(facts, mask)

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step every environment by `actions` (E, A) in [-1, 1]; the class docstring describes an episode's end.

        Raises:
            EnvError: wrong shape of actions, or a buffer of the engine overflowed (the message gives the size to set).
            ResetNeeded, ClosedEnvironmentError: Gymnasium's.
        """
        self._refuse_closed()
        if self._carry is None:
            raise gymnasium.error.ResetNeeded("step before the first reset")
        actions = np.asarray(actions, np.float32)
        if actions.shape != self.action_space.shape:
            raise EnvError(f"actions of shape {actions.shape}: {self.action_space.shape} wanted")
        restarts_at_once = self._mode == AutoresetMode.SAME_STEP
        ended = np.zeros(self.num_envs, bool) if restarts_at_once else np.asarray(self._carry.state.done)
        if self._mode == AutoresetMode.DISABLED and ended.any():
            told = (
                f"environments {np.flatnonzero(ended).tolist()} have ended: reset(options={{'reset_mask': ...}}) first"
            )
            raise gymnasium.error.ResetNeeded(told)
        self._carry, stepped = self._advance(self._carry, actions)
        state = self._carry.state
        reward, done, final_info = _host((stepped.reward, stepped.done, stepped.final_info))
        check_buffers(self.env.spec, final_info)
        facts = _host(_facts(state)) | {"success": np.array(state.success), "seed": self._seeds.copy()}
        info = _masked(facts, np.ones(self.num_envs, bool))
        began = {AutoresetMode.SAME_STEP: done, AutoresetMode.NEXT_STEP: ended}.get(self._mode, np.zeros_like(done))
        info |= _masked({name: final_info[name] for name in state.metrics if name not in facts}, ~began)
        if restarts_at_once and done.any():
            info["final_obs"] = _scattered(_host(stepped.final_obs), done)
            info["final_info"] = _masked(final_info | {"seed": self._seeds.copy()}, done)
            info["_final_obs"], info["_final_info"] = done.copy(), done.copy()
        return _host(self._carry.obs), reward.astype(np.float64), np.zeros(self.num_envs, bool), done, info

    def render(self) -> tuple[np.ndarray, ...] | None:
        """(H, W, 3) uint8 pictures of the first `render_envs` environments; None without a render mode.

        Raises:
            EnvError: no renderer on this machine (the message says what to install).
            ResetNeeded: before the first reset.
        """
        if self.render_mode is None:
            gymnasium.logger.warn("render() without render_mode='rgb_array' draws nothing")
            return None
        if self._carry is None:
            raise gymnasium.error.ResetNeeded("render before the first reset")
        state = self._carry.state
        snapshots = ((state.physics, np.asarray(state.target), index) for index in self._drawn)
        return tuple(self.env.frames(snapshots, *self._picture))

    def compute_reward(self, achieved_goal: Any, desired_goal: Any, info: Any = None) -> np.ndarray:
        """(...,) sparse reward of `achieved_goal` (..., G) under `desired_goal` (..., G), e.g. a relabelled goal.

        Raises:
            EnvError: the task's native success is no function of the two goals.
        """
        return np.asarray(self.env.goal_success(jnp.asarray(achieved_goal), jnp.asarray(desired_goal)), np.float64)

    def close_extras(self, **kwargs: Any) -> None:
        """Releases the state of the simulations."""
        self._carry = None

    # -- requests ----------------------------------------------------------------------------------------------------

    def _refuse_closed(self) -> None:
        if self.closed:
            raise gymnasium.error.ClosedEnvironmentError(f"{self} is closed")

    def _read_seeds(self, seed: int | Sequence[int | None] | None) -> np.ndarray:
        """(E,) int64, -1 where None."""
        if seed is None or isinstance(seed, int | np.integer):
            seeds = [None if seed is None else int(seed) + index for index in range(self.num_envs)]
        else:
            seeds = [None if one is None else int(one) for one in seed]
        if len(seeds) != self.num_envs:
            raise EnvError(f"seed: {len(seeds)} seeds for num_envs={self.num_envs}")
        if any(one is not None and not 0 <= one < _SEEDS for one in seeds):
            raise EnvError(f"seed={seed}: every environment's seed must lie in 0 ... {_SEEDS - 1}")
        return np.array([-1 if one is None else one for one in seeds], np.int64)

    def _read_mask(self, mask: Any) -> np.ndarray:
        if mask is None:
            return np.ones(self.num_envs, bool)
        mask = np.asarray(mask)
        if mask.shape != (self.num_envs,) or mask.dtype != np.bool_ or not mask.any():
            raise EnvError(f"options['reset_mask']: bool of shape ({self.num_envs},) wanted, one True at least")
        return mask

    def _read_vector(self, vector: Any) -> np.ndarray:
        shape = jax.eval_shape(self.env.reset, jax.random.PRNGKey(0)).vector.shape
        vector = np.asarray(vector, np.float32)
        if vector.shape != shape:
            raise EnvError(f"options['vector'] of shape {vector.shape}: {shape} wanted")
        return vector


def _mode(mode: AutoresetMode | str) -> AutoresetMode:
    """The mode, also by name ("next_step", "NextStep")."""
    names = {name.lower().replace("_", ""): one for one in AutoresetMode for name in (one.name, one.value)}
    asked = mode.name if isinstance(mode, AutoresetMode) else str(mode)
    found = names.get(asked.lower().replace("_", ""))
    if found is None:
        raise EnvError(f"autoreset_mode={mode!r}: one of {', '.join(one.name for one in AutoresetMode)} wanted")
    return found


def _box(obs: Any) -> gymnasium.spaces.Box:
    """Observation space of one environment, from batched `obs` (E, ...)."""
    low, high = (0, 255) if obs.dtype == np.uint8 else (-np.inf, np.inf)
    return gymnasium.spaces.Box(low, high, obs.shape[1:], obs.dtype.type)


def _facts(state: State) -> dict[str, jax.Array]:
    """Entries of every info that describe the running episode."""
    return {"goal": state.goal, "target": state.target, "start": state.start, "episode_number": state.episode}


def _host(tree: Any) -> Any:
    """Leaves as NumPy arrays that may be written to."""
    return jax.tree.map(np.array, tree)


def _masked(info: dict[str, np.ndarray], mask: np.ndarray) -> dict[str, Any]:
    """`info` in Gymnasium's form: values (E, ...), zero outside `mask`, each with a mask `_name`."""
    masked: dict[str, Any] = {}
    for name, value in info.items():
        masked[name] = np.where(mask.reshape((-1,) + (1,) * (value.ndim - 1)), value, np.zeros((), value.dtype))
        masked[f"_{name}"] = mask.copy()
    return masked


def _scattered(obs: Any, done: np.ndarray) -> np.ndarray:
    """(E,) objects: an environment's own observation where `done`, else None."""
    scattered = np.full(len(done), None, object)
    for index in np.flatnonzero(done):
        scattered[index] = jax.tree.map(lambda leaf, index=index: leaf[index].copy(), obs)
    return scattered
