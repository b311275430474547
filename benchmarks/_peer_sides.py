"""The sides that `peers` times: our loop on two engines, and JaxGCRL's loop. (`python -m benchmarks._peer_sides`)

Each side is a process. A side builds its loop and compiles it. It then reads one command per line from its standard
input and answers each with one line of JSON:

    loop     seconds of one iteration: unroll, insert, sample, relabel, all updates
    physics  seconds of the same number of env steps under fixed actions, and nothing else

JaxGCRL's side imports nothing of crl_jax: its process may run under another interpreter.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal, TextIO

MANY = 100_000
"""Number of iterations that JaxGCRL's run is configured for; `peers` ends the process long before."""


@dataclass(frozen=True)
class Sizes:
    """Sizes that all sides share."""

    num_envs: int
    unroll_length: int
    batch_size: int
    episode_length: int
    replay_rows: int
    warm_up_rows: int
    width: int
    depth: int

    @property
    def updates(self) -> int:
        """SGD updates per iteration: JaxGCRL cuts `episode_length - 1` transitions per environment into batches."""
        return self.num_envs * (self.episode_length - 1) // self.batch_size


class Gate:
    """Stops a side between two iterations to answer commands.

    Args:
        physics: runs the env steps of one iteration, compiled, and returns their seconds.
    """

    def __init__(self, answers: TextIO, physics: Callable[[], float]):
        self.answers, self.physics, self.started = answers, physics, time.perf_counter()

    def answer(self, **content: Any) -> None:
        self.answers.write(json.dumps(content) + "\n")
        self.answers.flush()

    def stand(self) -> None:
        """Answer with the seconds of the last iteration, then serve commands; returns at the command `loop`."""
        self.answer(loop=time.perf_counter() - self.started)
        for line in sys.stdin:
            if line.strip() == "loop":
                self.started = time.perf_counter()
                return
            self.answer(physics=self.physics())
        raise SystemExit(0)


def timed(function: Callable[[], Any]) -> Callable[[], float]:
    """A function that calls `function`, waits for the result and returns the seconds. A first call here compiles."""
    import jax

    def run() -> float:
        start = time.perf_counter()
        jax.block_until_ready(function())
        return time.perf_counter() - start

    run()
    return run


def ours(sizes: Sizes, answers: TextIO, physics: Literal["spring", "c"] = "spring") -> None:
    """The loop of crl_jax on the task `ant`, with JaxGCRL's schedule and networks (no LayerNorm)."""
    import jax

    from crl_jax import loop
    from crl_jax.config import Config, EnvConfig, NetworkConfig, TrainConfig
    from crl_jax.trainer import build

    rows = sizes.num_envs * sizes.unroll_length
    config = Config(
        env=EnvConfig(task="ant", num_envs=sizes.num_envs, physics=physics, horizon=sizes.episode_length - 1),
        network=NetworkConfig(width=sizes.width, critic_depth=sizes.depth, actor_depth=sizes.depth, layer_norm=False),
        train=TrainConfig(
            unroll_length=sizes.unroll_length,
            updates_per_iteration=sizes.updates,
            batch_size=sizes.batch_size,
            replay_capacity=sizes.replay_rows // sizes.unroll_length * rows,
            min_replay=sizes.warm_up_rows * sizes.num_envs,
            iterations_per_round=1,
        ),
    )
    setup = build(config)
    env = setup.env
    warm_up = jax.jit(loop.make_warm_up(env, config.train), donate_argnums=0)
    round_ = jax.jit(loop.make_round(env, setup.agent, config), donate_argnums=0)
    state = warm_up(setup.init(jax.random.PRNGKey(0)))
    start = jax.tree.map(lambda leaf: leaf.copy(), state.env)
    gate = Gate(answers, timed(_physics(env.advance, start, env.spec.action_size, sizes)))
    while True:
        state, metrics, _ = round_(state)
        jax.block_until_ready((state, metrics))
        gate.stand()


def jaxgcrl(sizes: Sizes, answers: TextIO) -> None:
    """JaxGCRL's `CRL.train_fn`, unchanged, from the first checkout on the path. The gate replaces its evaluations.

    Raises:
        SystemExit: `train_fn` returned.
    """
    import jax
    import numpy as np
    from brax import envs

    _stand_in("brax.v1", "envs")
    _stand_in("wandb_osh", "hooks")
    from jaxgcrl.agents.crl.crl import CRL  # type: ignore[import-not-found, unused-ignore]
    from jaxgcrl.envs.ant import Ant  # type: ignore[import-not-found, unused-ignore]
    from jaxgcrl.utils import evaluator  # type: ignore[import-not-found, unused-ignore]
    from jaxgcrl.utils.config import RunConfig  # type: ignore[import-not-found, unused-ignore]

    def stand(_: Any, training_state: Any, metrics: Any, **__: Any) -> Any:
        jax.block_until_ready(training_state)
        gate.stand()
        return metrics

    evaluator.ActorEvaluator.run_evaluation = stand
    env = Ant(backend="spring")
    env.goal_indices = np.asarray(env.goal_indices)  # train_fn hashes them; newer JAX versions refuse that
    batched = envs.training.VmapWrapper(Ant(backend="spring"))
    start = jax.jit(batched.reset)(jax.random.split(jax.random.PRNGKey(0), sizes.num_envs))
    gate = Gate(answers, timed(_physics(batched.step, start, batched.action_size, sizes)))
    warm_up, iteration = sizes.warm_up_rows * sizes.num_envs, sizes.unroll_length * sizes.num_envs
    agent = CRL(
        batch_size=sizes.batch_size,
        max_replay_size=sizes.replay_rows,
        min_replay_size=sizes.warm_up_rows,
        unroll_length=sizes.unroll_length,
        h_dim=sizes.width,
        n_hidden=sizes.depth,
    )
    run = RunConfig(
        env="ant",
        total_env_steps=warm_up + MANY * iteration,
        episode_length=sizes.episode_length,
        num_envs=sizes.num_envs,
        num_eval_envs=1,
        num_evals=MANY,
        log_wandb=False,
    )
    agent.train_fn(config=run, train_env=env, eval_env=Ant(backend="spring"), progress_fn=lambda *_, **__: None)
    raise SystemExit("train_fn ended")


SIDES: dict[str, Callable[[Sizes, TextIO], None]] = {
    "ours": ours,
    "ours_c": functools.partial(ours, physics="c"),
    "jaxgcrl": jaxgcrl,
}


def _physics(step: Callable[..., Any], state: Any, action_size: int, sizes: Sizes) -> Callable[[], Any]:
    """A jitted unroll of `step`, (state, action) -> state, under fixed random actions."""
    import jax

    shape = (sizes.num_envs, action_size)
    actions = jax.random.uniform(jax.random.PRNGKey(1), shape, minval=-1, maxval=1)

    @jax.jit
    def unroll(state: Any) -> Any:
        return jax.lax.scan(lambda now, _: (step(now, actions), None), state, None, length=sizes.unroll_length)[0]

    return lambda: unroll(state)


class _Anything(ModuleType):
    """A module in which every attribute is an empty class."""

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        return type(attribute, (), {})


def _stand_in(package: str, module: str) -> None:
    """Install an empty module if the real one is missing: JaxGCRL needs it for annotations and logs only."""
    try:
        importlib.import_module(f"{package}.{module}")
    except ImportError:
        whole, part = _Anything(package), _Anything(f"{package}.{module}")
        setattr(whole, module, part)
        sys.modules.update({package: whole, f"{package}.{module}": part})


def main(side: str, sizes: str) -> None:
    """Run one side. Answers go to the original standard output; everything else that is printed goes to stderr."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    SIDES[side](Sizes(**json.loads(sizes)), answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
