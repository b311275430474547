"""Write docs/fidelity.md and docs/fidelity.png from results/fidelity.json and results/scripted_policies.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks import common

DOCS = Path(__file__).parent.parent / "docs"
ENGINES = ("warp", "jax")
Rows = dict[str, dict[str, Any]]

HEAD = """# Fidelity of the engines

Made by `crl fidelity` ([benchmarks/fidelity.py](../benchmarks/fidelity.py)) from
[fidelity.json](../benchmarks/results/fidelity.json) and
[scripted_policies.json](../benchmarks/results/scripted_policies.json); an empty cell
is not measured, `crl fidelity --missing` goes on with those. On {processor}, {versions}.

**The reference** is engine `c`: state equal to the official package's to the last bit on all 50 tasks
(`tests/envs_mjx/metaworld/test_parity.py`). `official` and `c` are success rates of the official scripted policies, in
percent, in the official package and through `c`: {c_episodes} episodes of 500 steps from the same starts.

**Engines `warp` and `jax`** start from `c`'s own states, {episodes} environments per task, {horizon} steps at most:

- *one step*: the furthest of the points that the task reads after one env step of random actions, from states along
  scripted episodes (free flight, grasp, transport); median / maximum, millimetres. Objects that a `jax`
  scene lets float (reach) are among the points.
- *rollout*: distance of the achieved point from where `c` has it after {rollout} steps of random actions; median / 90th
  percentile, millimetres.
- *success*: scripted policy through the engine / through `c` from the same starts, percent.
- **Faithful** means: these two differ by at most {points} points. `crl envs` marks a task that an engine is not known
  to carry, and `make` refuses it without `allow_unfaithful=True`. One episode of {episodes} is {grain:.0f} points.

**Scene** is the simplified scene of `jax` stepped by MuJoCo's C engine in the official package: success there / in the
official scene, {scene_episodes} episodes. It says what the simplification alone costs and makes no task faithful.

`pairs` are the pairs of geoms that may collide: in the official scene, which `c` and `warp` simulate, and in the
simplified one of `jax` ([jax_scenes.py](../envs_mjx/metaworld/jax_scenes.py)).

{counts}

![Errors and success](fidelity.png)

"""
ROBOTICS = """
## Fetch and PointMaze

Engine `c` is the official package to the last bit (`tests/envs_mjx/robotics/`). Engine `warp` against it, by
`crl bench robotics_fidelity`: {episodes} environments, {steps} env steps of random actions. *One step*: distance of the
object (or gripper, or ball) after one env step from `c`'s own states, median / maximum; *rollout*: after all steps from
the same starts, median / 90th percentile; millimetres. *Same success*: share of the single steps, percent.
"""
ROBOTICS_TITLES = ("task", "one step", "rollout", "same success")
WHAT = ("one step", "rollout", "success", "faithful")
TITLES = (
    *("task", "pairs", "jax pairs", "official", "c", "scene"),
    *(f"{engine} {what}" for engine in ENGINES for what in WHAT),
)


def write(points: int) -> list[Path]:
    """Write page and plot; returns their paths."""
    content = json.loads((common.RESULTS / "fidelity.json").read_text())
    tables: dict[str, Rows] = {engine: {} for engine in ("c", "scene", *ENGINES)}
    for row in content["rows"]:
        tables[row["engine"]][row["task"]] = row
    known = json.loads((common.RESULTS / "scripted_policies.json").read_text())["rows"]
    page, plot = DOCS / "fidelity.md", DOCS / "fidelity.png"
    text = [_head(content, tables, known, points), _line(TITLES), _line("-" * len(TITLES))]
    text += [_line(_cells(row, tables)) for row in known]
    text += _robotics()
    page.write_text("\n".join(text) + "\n")
    _draw(tables, plot, points)
    return [page, plot]


def _robotics() -> list[str]:
    """The section on Fetch and PointMaze."""
    content = json.loads((common.RESULTS / "robotics_fidelity.json").read_text())
    steps, episodes = content["settings"]["steps"], content["settings"]["episodes"]
    text = [ROBOTICS.format(steps=steps, episodes=episodes), _line(ROBOTICS_TITLES), _line("-" * len(ROBOTICS_TITLES))]
    for row in content["rows"]:
        one, all_ = (
            " / ".join(f"{1000 * row[name]:.2g}" for name in names)
            for names in (("one_step_median_m", "one_step_max_m"), ("rollout_median_m", "rollout_p90_m"))
        )
        text.append(_line([row["task"], one, all_, f"{100 * row['same_success']:.0f}"]))
    return text


def _head(content: dict[str, Any], tables: dict[str, Rows], known: list[dict[str, Any]], points: int) -> str:
    machine, settings = content["machine"], content["settings"]
    versions = ", ".join(f"{name} {machine['versions'][name]}" for name in ("mujoco", "mujoco-mjx", "warp-lang", "jax"))
    counts = [
        f"{title}: {sum(row['faithful'] for row in tables[engine].values())} of {len(tables[engine])} measured tasks"
        for engine, title in (("warp", "`warp`"), ("jax", "`jax`"), ("scene", "scenes of `jax`, stepped by C"))
    ]
    return HEAD.format(
        processor=f"{machine['processor']} ({', '.join(machine['devices'])})",
        versions=versions,
        c_episodes="/".join(str(count) for count in sorted({row["episodes"] for row in known})),
        **{key: settings[key] for key in ("horizon", "rollout")},
        episodes=_episodes(tables, *ENGINES),
        scene_episodes=_episodes(tables, "scene"),
        grain=100 / min(row["episodes"] for engine in ENGINES for row in tables[engine].values()),
        points=points,
        counts="Within the tolerance: " + "; ".join(counts) + ".",
    )


def _episodes(tables: dict[str, Rows], *engines: str) -> str:
    return "/".join(str(one) for one in sorted({row["episodes"] for name in engines for row in tables[name].values()}))


def _cells(known: dict[str, Any], tables: dict[str, Rows]) -> list[str]:
    """The cells of one task's line in the table."""
    task = known["task"]
    pairs = [str(tables[engine][task]["pairs"]) if task in tables[engine] else "" for engine in ("c", "scene")]
    cells = [task, *pairs, f"{known['official']:.0f}", f"{known['ours']:.0f}"]
    cells.append(_success(tables["scene"][task]) if task in tables["scene"] else "")
    for engine in ENGINES:
        row = tables[engine].get(task)
        cells += _measured(row) if row else [""] * 4
    return cells


def _measured(row: dict[str, Any]) -> list[str]:
    def millimetres(*names: str) -> str:
        return " / ".join(f"{1000 * row[name]:.2g}" for name in names)

    errors = (millimetres("one_step_median_m", "one_step_max_m"), millimetres("rollout_median_m", "rollout_p90_m"))
    return [*errors, _success(row), "yes" if row["faithful"] else "**no**"]


def _success(row: dict[str, Any]) -> str:
    return f"{row['success']:.0f} / {row['c_success']:.0f}"


def _line(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def _draw(tables: dict[str, Rows], path: Path, points: int) -> None:
    """Plot three panels over the tasks: one-step error, rollout error, success minus that of engine `c` in points."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    tasks = sorted({task for engine in ENGINES for task in tables[engine]})
    figure, panels = plt.subplots(3, 1, figsize=(max(6, 0.24 * len(tasks)), 8), sharex=True, layout="constrained")
    titles = ("one step, maximum (mm)", "rollout, 90th percentile (mm)", "scripted success - c's (points)")
    for engine in ENGINES:
        rows = [tables[engine][task] for task in tasks if task in tables[engine]]
        places = [place for place, task in enumerate(tasks) if task in tables[engine]]
        values = (
            [1000 * row["one_step_max_m"] for row in rows],
            [1000 * row["rollout_p90_m"] for row in rows],
            [row["success"] - row["c_success"] for row in rows],
        )
        for panel, heights in zip(panels, values, strict=True):
            panel.plot(places, heights, "o", color=common.COLOURS[engine], label=engine, markersize=5, alpha=0.8)
    for panel, title in zip(panels, titles, strict=True):
        panel.set_title(title, fontsize=10, loc="left")
        panel.grid(alpha=0.3)
    for panel in panels[:2]:
        panel.set_yscale("log")
    panels[2].axhspan(-points, points, color="tab:grey", alpha=0.15)
    panels[0].legend()
    panels[2].set_xticks(range(len(tasks)), tasks, rotation=90, fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)
