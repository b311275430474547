"""critic_mode "cka": the critic of a task starts as CKA-RL's combination of earlier tasks' critics.

"Continual Knowledge Adaptation for Reinforcement Learning" (arXiv:2510.19314), applied to the whole critic. The first
task's critic is the base. The vector v_k of a later task k is its final critic minus its initial critic. A pool holds
at most `pool_size` vectors; when one more is added to a full pool, the two most alike become their mean. A task starts
at base + sum_j softmax(beta)_j v_j with beta ~ N(0, 1).

Departures: the paper adapts the actor, and its code starts a new critic with each task. Here beta is drawn and not
trained, so that the critic remains a plain network and an update costs the same. v_k takes up what training beta would
have changed.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from crl_jax.continual import trees
from crl_jax.continual.cka_rl import Pool, combination, pushed


class CriticKnowledge(struct.PyTreeNode):
    """What is kept of earlier tasks' critics.

    Attributes:
        task: () int32 number of finished tasks. base: the first task's critic.
        started: the critic with which the running task started. pool: vectors of the later tasks.
    """

    task: jax.Array
    base: Any
    started: Any
    pool: Pool


def fresh(critic: Any, pool_size: int) -> CriticKnowledge:
    """The knowledge at the start of the first task, which starts with `critic`."""
    pool = Pool(trees.shelf(critic, pool_size), jnp.zeros((), jnp.int32))
    return CriticKnowledge(jnp.zeros((), jnp.int32), critic, critic, pool)


def adapted(knowledge: CriticKnowledge, critic: Any, key: jax.Array) -> tuple[Any, CriticKnowledge]:
    """The critic that the next task starts with, and the knowledge after the finished task's `critic` was added."""
    first = knowledge.task == 0
    base = trees.choose(first, critic, knowledge.base)
    vector = jax.tree.map(jnp.subtract, critic, knowledge.started)
    pool = trees.choose(first, knowledge.pool, pushed(knowledge.pool, vector))
    beta = jax.random.normal(key, jax.tree.leaves(pool.vectors)[0].shape[:1])
    started = trees.add(base, combination(pool, beta))
    return started, CriticKnowledge(knowledge.task + 1, base, started, pool)
