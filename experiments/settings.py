"""The table of hyperparameters in docs/train.md: the main presets side by side."""

from __future__ import annotations

from typing import Any

from configs import PRESETS
from crl_jax.runs.recorded import flat

SHOWN = ("metaworld_cpu", "metaworld_gpu", "jaxgcrl", "scaling_crl", "sgcrl")
ROWS: tuple[tuple[str, str], ...] = (
    ("environments", "num_envs"),
    ("env steps for which an action is held", "action_repeat"),
    ("what an action is", "control"),
    ("discount per decision", "discount"),
    ("decisions of an unroll", "unroll_length"),
    ("updates after each unroll", "updates_per_iteration"),
    ("batch size", "batch_size"),
    ("replay ring, transitions", "replay_capacity"),
    ("random transitions before the first update", "min_replay"),
    ("width of the networks", "width"),
    ("hidden layers of phi and psi", "critic_depth"),
    ("hidden layers of the actor", "actor_depth"),
    ("size of phi(s, a) and psi(g)", "embedding"),
    ("LayerNorm", "layer_norm"),
    ("energy", "energy"),
    ("loss", "loss"),
    ("logsumexp penalty", "logsumexp_penalty"),
    ("step size of the critic", "critic_lr"),
    ("step size of the actor", "actor_lr"),
    ("step size of alpha", "alpha_lr"),
    ("entropy coefficient", "entropy"),
    ("target entropy per action dimension, nats", "target_entropy"),
    ("goals of the actor's loss", "actor_goals"),
    ("noise on the critic's goals (1 is 15 cm across, 10 cm up)", "critic_goal_noise"),
    ("running mean of the actor", "actor_average"),
    ("goals while collecting", "behaviour_goals"),
)
"""What a row says, and its option."""


def section() -> str:
    """The table as Markdown."""
    values = {name: flat(PRESETS[name].to_dict()) for name in SHOWN}
    lines = [f"| setting | option | {' | '.join(f'`{name}`' for name in SHOWN)} |", "|---" * (len(SHOWN) + 2) + "|"]
    for title, field in ROWS:
        cells = [_told(values[name][field]) for name in SHOWN]
        lines.append(f"| {title} | `--{field.replace('_', '-')}` | {' | '.join(cells)} |")
    ratio = [f"{PRESETS[name].env_steps_per_iteration() / values[name]['updates_per_iteration']:.3g}" for name in SHOWN]
    lines.append(f"| env steps per update | (follows from the rows above) | {' | '.join(ratio)} |")
    return "\n".join(lines)


def _told(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)
