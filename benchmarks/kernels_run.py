"""What a GPU would launch for a run of engine warp: an env step, a restart, an evaluation, a round (by kernels.py).

XLA compiles the real programs for a named GPU; Warp's own launches inside them are counted by calling each of its two
functions once on the CPU. A part is measured in a process of its own.
"""

from __future__ import annotations

import time
from typing import Any

from benchmarks import common, hlo, warp_launches
from configs import PRESETS
from crl_jax.config import with_overrides
from crl_jax.scale.machine import tell_plugins_in_one_line

PARTS = ("env step", "restart", "evaluation", "round")


def measure(part: str, task: str, preset: str, gpu: str) -> dict[str, Any]:
    """Launches of one of `PARTS`; a round is one iteration: its decisions, inserts, samples and updates."""
    tell_plugins_in_one_line()
    import jax
    import jax.numpy as jnp
    from jax.sharding import SingleDeviceSharding

    from benchmarks.kernels import topology
    from crl_jax import trainer

    changed = {"task": task, "physics": "warp", "fused": "on", "iterations_per_round": 1, "allow_cpu": True}
    began, setup = time.perf_counter(), trainer.build(with_overrides(PRESETS[preset], **changed))
    train, env = setup.config.train, setup.env
    inner: Any = getattr(env, "env", env)  # one env step, without action repeat
    decisions, repeat = train.unroll_length, env.spec.action_repeat

    state = jax.eval_shape(inner.reset, jax.random.PRNGKey(0))
    action = jax.ShapeDtypeStruct((env.num_envs, env.spec.action_size), jnp.float32)
    if part in ("env step", "restart"):
        function = inner.advance if part == "env step" else inner.restart
        program, shapes = jax.jit(function, donate_argnums=0), (state, action) if part == "env step" else (state,)
        steps, restarts = int(part == "env step"), int(part == "restart")
    else:
        program, shapes = trainer.programs(setup)["evaluate" if part == "evaluation" else part]
        restarts = env.spec.horizon if part == "evaluation" else decisions
        steps = restarts * repeat

    device = SingleDeviceSharding(topology(gpu)[0])
    placed = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), shapes)
    compiled: Any = program.lower(*placed).compile()
    found = hlo.launches(compiled.as_text())
    xla = {kind: number for kind, number in found.kinds.items() if "call_warp" not in kind}
    warp = _of_warp(inner.physics, state, action, steps, restarts)
    memory = compiled.memory_analysis()
    return {
        "launches": sum(xla.values()) + sum(warp.values()),
        "xla": sum(xla.values()),
        "warp": sum(warp.values()),
        "kinds": xla | warp,
        "env_steps": steps,
        "updates": train.updates_per_iteration if part == "round" else 0,
        "temporaries_bytes": int(memory.temp_size_in_bytes),
        "arguments_bytes": int(memory.argument_size_in_bytes),
        "compile_seconds": time.perf_counter() - began,
    }


def _of_warp(physics: Any, state: Any, action: Any, steps: int, restarts: int) -> dict[str, int]:
    """Kind -> launches of Warp in `steps` env steps and `restarts` restarts."""
    import jax
    import jax.numpy as jnp

    def blank(shapes: Any) -> Any:
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    start, everyone = blank(state), jnp.ones(physics.num_envs, bool)
    step = warp_launches.counted(jax.jit(physics.step), start.physics, blank(action))
    restart = warp_launches.counted(jax.jit(physics.reset), start.physics, everyone, start.vector)
    return {kind: steps * step.get(kind, 0) + restarts * restart.get(kind, 0) for kind in step | restart}


if __name__ == "__main__":
    common.serve(measure)
