"""critic_mode "cka": the critic of a task starts as CKA-RL's combination of what earlier tasks taught it.

"Continual Knowledge Adaptation for Reinforcement Learning" (arXiv:2510.19314), applied to all of the critic: the first
task's critic is the base; what a later task k adds to where it started is its vector v_k, filed in a pool of at most
`pool_size`, of which the two most alike are merged to their mean. A task starts at base + sum_j softmax(beta)_j v_j
with beta ~ N(0, 1).

Departures: the paper adapts the actor, and its code starts a new critic with each task. beta is drawn and not trained,
so that the critic remains a plain network whose updates cost what they did; what training it would have changed is in
v_k.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from crl_jax.continual import trees
from crl_jax.continual.cka_rl import Pool, combination, pushed


class CriticKnowledge(struct.PyTreeNode):
    """What is kept of the critics.

    Attributes:
        task: () int32, tasks finished. base: the first task's critic. started: where the running task's critic began.
        pool: vectors of the later ones.
    """

    task: jax.Array
    base: Any
    started: Any
    pool: Pool


def fresh(critic: Any, pool_size: int) -> CriticKnowledge:
    """Nothing known yet."""
    pool = Pool(trees.shelf(critic, pool_size), jnp.zeros((), jnp.int32))
    return CriticKnowledge(jnp.zeros((), jnp.int32), critic, critic, pool)


def adapted(knowledge: CriticKnowledge, critic: Any, key: jax.Array) -> tuple[Any, CriticKnowledge]:
    """The next task's first critic, and the knowledge with what the finished task's `critic` added."""
    first = knowledge.task == 0
    base = trees.choose(first, critic, knowledge.base)
    vector = jax.tree.map(jnp.subtract, critic, knowledge.started)
    pool = trees.choose(first, knowledge.pool, pushed(knowledge.pool, vector))
    beta = jax.random.normal(key, jax.tree.leaves(pool.vectors)[0].shape[:1])
    started = trees.add(base, combination(pool, beta))
    return started, CriticKnowledge(knowledge.task + 1, base, started, pool)
