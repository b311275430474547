"""InfoNCE forward and backward: distances by one matmul, by a (B, B, D) difference, and in chunks of rows.

At each batch size the forms take turns, several times. The critics of JaxGCRL and scaling-crl use the difference form.
Memory is that of the compiled program's temporaries, without its arguments. (`python -m benchmarks.loss_kernels`)

Axis letters: B batch, D embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import common
from crl_jax.cli.options import script
from crl_jax.cli.progress import doing

FIGURE = Path(__file__).parent.parent / "docs" / "loss_kernels.png"
COLOURS = {"matmul": "tab:blue", "difference": "tab:red", "chunked": "tab:green"}
PENALTY = 0.1


@dataclass(frozen=True)
class Settings:
    """What is measured: each form at the batch sizes in its list."""

    matmul: tuple[int, ...] = (512, 2048, 8192)
    """Batch sizes of the matmul form, which computes all (B, B) logits at once."""
    difference: tuple[int, ...] = (512, 2048)
    """Batch sizes of the difference form. At 8,192 its (B, B, D) tensor takes 17 GB unless XLA fuses it away."""
    chunked: tuple[int, ...] = (2048, 8192)
    """Batch sizes of the matmul form in chunks of rows."""
    chunk: int = 512
    """Rows of a chunk."""
    width: int = 64
    """D, size of the embeddings."""
    loss: str = "fwd_infonce"
    """A loss of crl_jax/contrastive/losses.py."""
    repeats: int = 15
    """Times that every form is run, in turn; medians are reported."""


def _difference(phi: Any, psi: Any) -> Any:
    """(B, B) negative distances, computed from the differences of all pairs as in JaxGCRL."""
    import jax.numpy as jnp

    return -jnp.sqrt(jnp.sum(jnp.square(phi[:, None, :] - psi[None, :, :]), axis=-1) + 1e-6)


def forms(settings: Settings) -> dict[str, Callable[[Any, Any], Any]]:
    """name -> (phi (B, D), psi (B, D)) -> () loss."""
    from crl_jax.contrastive.chunked import chunked
    from crl_jax.contrastive.energies import ENERGIES
    from crl_jax.contrastive.losses import LOSSES

    matmul, loss = ENERGIES["norm"].pairwise, LOSSES[settings.loss]
    in_chunks = chunked(matmul, settings.loss, settings.chunk)
    return {
        "difference": lambda phi, psi: loss(_difference(phi, psi), PENALTY),
        "matmul": lambda phi, psi: loss(matmul(phi, psi), PENALTY),
        "chunked": lambda phi, psi: in_chunks(phi, psi, PENALTY)[0],
    }


def measure(batch: int, settings: Settings) -> list[dict[str, Any]]:
    """One row per form at this batch size: median ms of value and gradient, bytes of temporaries, value of the loss."""
    import jax

    phi, psi = jax.random.normal(jax.random.PRNGKey(0), (2, batch, settings.width))
    compiled: dict[str, Any] = {
        name: jax.jit(jax.value_and_grad(function, (0, 1))).lower(phi, psi).compile()
        for name, function in forms(settings).items()
        if batch in getattr(settings, name)
    }
    cases = {name: lambda run=run: run(phi, psi) for name, run in compiled.items()}
    values = {name: float(case()[0]) for name, case in cases.items()}  # warm-up, too
    measured = common.interleaved(cases, settings.repeats)
    return [
        {
            "batch": batch,
            "form": name,
            "ms": 1e3 * common.median(took),
            "ms_all": [1e3 * one for one in took],
            "temporaries_bytes": float(compiled[name].memory_analysis().temp_size_in_bytes),
            "loss": values[name],
        }
        for name, took in measured.items()
    ]


def with_ratios(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Add `ratio`, a form's time over that of matmul at the same batch size, where matmul was measured."""
    base = {row["batch"]: row["ms"] for row in rows if row["form"] == "matmul"}
    return [{**row, "ratio": row["ms"] / base[row["batch"]]} if row["batch"] in base else dict(row) for row in rows]


def figure(rows: Sequence[Mapping[str, Any]], title: str, path: Path = FIGURE) -> Path:
    """Plot milliseconds and temporaries against the batch size, a line for each form."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    drawing, panels = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    batches = sorted({row["batch"] for row in rows})
    for axes, key, unit, label in (
        (panels[0], "ms", 1, "ms, forward + backward"),
        (panels[1], "temporaries_bytes", 1e6, "temporaries, MB"),
    ):
        for form in dict.fromkeys(row["form"] for row in rows):
            points = [row for row in rows if row["form"] == form]
            values = [row[key] / unit for row in points]
            axes.plot([row["batch"] for row in points], values, "o-", color=COLOURS[form], label=form)
        axes.set(xlabel="batch", ylabel=label)
        common.by_doublings(axes, batches)
    drawing.suptitle(title)
    path.parent.mkdir(exist_ok=True)
    drawing.savefig(path, dpi=120)
    pyplot.close(drawing)
    return path


def main(settings: Settings) -> None:
    """Measure, print, write results/loss_kernels.json and the plot."""
    console, rows = Console(stderr=True), []
    for batch in sorted({*settings.matmul, *settings.difference, *settings.chunked}):
        with doing(f"batch {batch}: every form in turn, {settings.repeats} times", console):
            rows += measure(batch, settings)
    rows = with_ratios(rows)
    table = [
        [
            f"{row['batch']:,}",
            row["form"],
            f"{row['ms']:.2f}",
            f"{row['ratio']:.2f}" if "ratio" in row else "",
            f"{row['temporaries_bytes'] / 1e6:,.1f}",
            f"{row['loss']:.6f}",
        ]
        for row in rows
    ]
    titles = ["batch", "form", "ms", "x matmul", "temporaries, MB", "loss"]
    common.publish("loss_kernels", titles, table, rows, asdict(settings))
    title = f"{settings.loss}, width {settings.width}: {common.here()}"
    console.print(f"written: {figure(rows, title)}")


if __name__ == "__main__":
    script(main, Settings, __doc__)
