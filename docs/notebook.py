# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # An arm learns to push, in a notebook
#
# A Sawyer arm learns to push a puck to a goal, without a reward. It takes about five minutes on two CPU cores. Then
# we look at what it learned, command goals by hand, and swap the loss.
#
# Run it from a checkout: `make test` installs what it needs, then open `docs/notebook.ipynb` with the kernel of
# `.venv`.

# %%
from base64 import b64encode
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np
from crl_jax.configs import PRESETS
from IPython.display import HTML

import crl_jax
from crl_jax.config import with_overrides
from crl_jax.play import policy
from crl_jax.play.session import Session
from crl_jax.runs.recorded import curve_of, records_of

STEPS = 600_000  # Env steps of the first run.
COMPARED = 200_000  # Env steps of the comparison at the end.

# %% [markdown]
# ## Train
#
# A preset is a value. `with_overrides` changes some of its fields. The run ends as soon as two evaluations in a row
# succeed to 90%.

# %%
config = with_overrides(PRESETS["metaworld_cpu"], task="push", total_env_steps=STEPS, until=0.9, video=False)
result = crl_jax.train(config)
result.evaluation["success_final"]

# %% [markdown]
# The run left a folder behind. Its metrics are one JSON record a line.


# %%
def draw(folders: dict[str, Path], metrics: tuple[str, ...]) -> None:
    """One panel for each metric, one line for each run."""
    _, panels = plt.subplots(1, len(metrics), figsize=(4.5 * len(metrics), 3))
    for panel, metric in zip(panels, metrics, strict=True):
        for label, folder in folders.items():
            panel.plot(*curve_of(records_of(folder), metric), label=label)
        panel.set(xlabel="env steps", title=metric)
    panels[0].legend()
    plt.tight_layout()
    plt.show()


draw({"push": result.folder}, ("eval/success_final", "train/categorical_accuracy", "train/object_moved"))

# %% [markdown]
# `eval/success_final` is the task's own success at the last step of 128 fresh episodes. `train/categorical_accuracy`
# is how often the critic picks the right goal out of a batch. `train/object_moved` is the share of the training
# episodes in which the puck moved: a critic learns nothing about a puck that never moves.
#
# ## Look at it

# %%
trained = policy.load(result.folder)
film = policy.film(trained, result.folder / "videos" / "policy.webp", episodes=2, size=(320, 240), every=3)
HTML(f'<img src="data:image/webp;base64,{b64encode(film.read_bytes()).decode()}">')

# %% [markdown]
# ## Command goals by hand
#
# `Session` is one environment under the policy. `command` asks for the puck at a point that we choose, in metres.

# %%
session = Session(str(result.folder))
for x in (-0.1, 0.0, 0.1):
    session.begin()
    point = np.array([x, 0.85, 0.02])
    session.command(point)
    while not session.over:
        session.step()
    print(f"asked for x = {x:+.2f} m: the puck ends {100 * session.distance:.1f} cm from there")

# %% [markdown]
# ## What the critic sees
#
# f(s, a, g) is large where action `a` in state `s` is likely to be followed by goal `g`. Over an episode that
# succeeds, it rises.

# %%
plt.figure(figsize=(4.5, 3))
for _ in range(3):
    session.begin()
    while not session.over:
        session.step()
    plt.plot(*zip(*session.values, strict=True), label="success" if session.success else "no success")
plt.xlabel("env step of the episode")
plt.ylabel("f(s, a, g)")
plt.legend()
plt.show()

# %% [markdown]
# In one state, we can ask for every place on the table. The critic then tells where this state and action are likely
# to lead.

# %%
critic = jax.jit(trained.critic())
session.begin()
state = session.state
action = trained.policy()(state, jax.random.PRNGKey(0))
xs, ys = np.linspace(-0.3, 0.3, 31), np.linspace(0.5, 0.9, 21)
values = np.zeros((len(ys), len(xs)))
for row, y in enumerate(ys):
    for column, x in enumerate(xs):
        session.command(np.array([x, y, 0.02]))
        values[row, column] = critic(state.obs, action, session.state.goal)[0]
plt.figure(figsize=(5, 3))
plt.pcolormesh(xs, ys, values, shading="nearest")
plt.plot(*np.asarray(session.env.object_point(state.obs))[0, :2], "ro", label="the puck")
plt.colorbar(label="f(s, a, g)")
plt.xlabel("x (m)")
plt.ylabel("y (m)")
plt.legend()
plt.show()

# %% [markdown]
# ## Swap the loss
#
# A loss is a row of a table (`crl_jax/contrastive/losses.py`), and an option. Here are two losses at the same budget,
# one seed each. That is too little to say which is better; it shows how to ask.

# %%
folders = {}
for loss in ("fwd_infonce", "binary_nce"):
    other = with_overrides(config, loss=loss, total_env_steps=COMPARED, eval_every=50_000)
    folders[loss] = crl_jax.train(other).folder
draw(folders, ("eval/success_final", "train/categorical_accuracy"))

# %% [markdown]
# Where to go from here: [train your own](train.md), [how contrastive RL works](method.md), [extend it](extend.md).
