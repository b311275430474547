"""One page that follows running jobs: how far each is, the time that is left, curves and the last film.

It only reads the runs' folders, so it may run beside the jobs, on any machine that sees the folders.
"""

from __future__ import annotations

import html
import itertools
import json
import shutil
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from crl_jax.config import ConfigError
from crl_jax.report.figures import curve_figure, tasks_figure
from crl_jax.report.page import CROWDED, HEAD, duration
from crl_jax.runs.folder import CONFIG
from crl_jax.runs.lock import is_locked
from crl_jax.runs.loggers import read_metrics
from crl_jax.runs.recorded import config_of, curve_of, flat, groups_of

RECENT = 10
"""Records over which the speed of a run is taken."""
STATUS = {
    (False, False): "not begun",
    (True, False): "starting",
    (True, True): "running",
    (False, True): "stopped",
}
"""(whether a process writes in the run's folder, whether anything is recorded) -> what the page says."""

PAGE = """<!doctype html><html lang="en"><head>%s<style>
h1{font-size:1.4em} p{overflow-wrap:anywhere} td,th{white-space:nowrap;padding-right:1.2em}
td:first-child,td:nth-child(5){text-align:left} #curves{margin-top:1em}
.bar{background:#ddd;width:6em;height:.7em} .bar i{display:block;height:100%%;background:#0072B2}
</style></head><body><h1 id="said">Loading ...</h1><p>%s</p><div class="wide" id="table"></div>
<img id="curves" alt="success over env steps and over minutes" hidden><div id="films"></div><script>
const at = id => document.getElementById(id);
async function refresh() {
  try {
    const now = await (await fetch("state.json")).json();
    at("said").textContent = now.said;
    at("table").innerHTML = now.table;
    if (now.curves && !at("curves").src.endsWith(now.curves)) at("curves").src = now.curves;
    at("curves").hidden = !now.curves;
    if (at("films").dataset.made !== now.films) at("films").innerHTML = at("films").dataset.made = now.films;
  } catch (error) { at("said").textContent = "crl watch has ended; what it showed last:"; }
}
refresh(); setInterval(refresh, %d);
</script></body></html>
"""


@dataclass(frozen=True)
class Progress:
    """How far a run is."""

    name: str
    status: str
    """not begun; starting: nothing recorded yet; running; stopped: before its end; ended; reached: it ended early, by
    `until`; damaged: its files cannot be read."""
    env_steps: int
    total_env_steps: int
    evaluations: int
    success_any: float | None
    """In [0, 1], of the last evaluation."""
    success_final: float | None
    env_steps_per_s: float | None
    """Over the last `RECENT` records, evaluations included."""

    @property
    def seconds_left(self) -> float | None:
        """Seconds to the end of the budget at the present speed; None where the run is not running."""
        if self.status != "running" or not self.env_steps_per_s:
            return None
        return max(0, self.total_env_steps - self.env_steps) / self.env_steps_per_s


def progress(folder: Path) -> Progress:
    """How far the run of a folder is.

    Raises:
        ConfigError: no run folder. TypeError, ValueError: its files are damaged.
    """
    total = int(flat(config_of(folder)).get("total_env_steps") or 0)
    records = [record for record in read_metrics(folder) if "env_steps" in record]
    success = [curve_of(records, f"eval/success_{when}")[1] for when in ("any", "final")]
    steps, seconds = curve_of(records, "time/seconds")
    steps, seconds = steps[-RECENT:], seconds[-RECENT:]
    timed = len(steps) > 1 and seconds[-1] > seconds[0]
    env_steps = int(max((record["env_steps"] for record in records), default=0))
    status = STATUS[is_locked(folder), bool(records)]
    if status == "stopped":
        until = float(flat(config_of(folder)).get("until") or 0)
        reached = until > 0 and len(success[1]) > 1 and min(success[1][-2:]) >= until
        status = "ended" if env_steps >= total else f"reached {until:.0%}" if reached else status
    return Progress(
        name=Path(folder).resolve().name,
        status=status,
        env_steps=env_steps,
        total_env_steps=total,
        evaluations=len(success[1]),
        success_any=float(success[0][-1]) if len(success[0]) else None,
        success_final=float(success[1][-1]) if len(success[1]) else None,
        env_steps_per_s=float((steps[-1] - steps[0]) / (seconds[-1] - seconds[0])) if timed else None,
    )


def progress_or_damaged(folder: Path) -> Progress:
    """`progress`, or a row that says that the run's files cannot be read."""
    try:
        return progress(folder)
    except (ConfigError, TypeError, ValueError):
        return Progress(Path(folder).resolve().name, "damaged", 0, 0, 0, None, None, None)


def table(rows: Sequence[Progress]) -> str:
    """The runs as an HTML table."""
    titles = ("run", "done", "left", "success at the last step", "status", "at any step", "env steps", "env steps/s")
    percent = "{:.0%}".format
    body = []
    for row in rows:
        done = min(1.0, row.env_steps / row.total_env_steps) if row.total_env_steps else 0.0
        cells = (
            html.escape(row.name),
            f'<div class="bar"><i style="width:{100 * done:.0f}%"></i></div>',
            duration(row.seconds_left),
            "-" if row.success_final is None else percent(row.success_final),
            row.status,
            "-" if row.success_any is None else percent(row.success_any),
            f"{row.env_steps:,} of {row.total_env_steps:,}",
            "-" if row.env_steps_per_s is None else f"{row.env_steps_per_s:,.0f}",
        )
        body.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    head = "".join(f"<th>{title}</th>" for title in titles)
    return f"<table><tr>{head}</tr>{''.join(body)}</table>"


class Watch:
    """What the page shows of the runs at `paths`: run folders, or folders in which runs are or will be.

    Raises:
        ConfigError: no such folder.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = list(paths)
        for path in self.paths:
            if not path.is_dir():
                raise ConfigError(f"watch={str(path)!r}: no such folder")
        self.runs = self._found()
        self._folder = Path(tempfile.mkdtemp(prefix="crl-watch-"))
        self._drawn: dict[Path, int] = {}
        self._numbers = itertools.count()
        self.picture: Path | None = None
        """The picture of the curves that was drawn last."""
        self._busy = threading.Lock()

    def state(self) -> dict[str, str]:
        """The parts of the page that change: said, table, curves (address of a picture, or empty), films."""
        with self._busy:
            self.runs = self._found()
            rows = [progress_or_damaged(run) for run in self.runs]
            left = [row.seconds_left for row in rows if row.seconds_left is not None]
            said = f"{len(rows)} run{'s' * (len(rows) != 1)}, {sum(row.status == 'running' for row in rows)} running"
            if left:
                said += f"; the last of these ends in about {duration(max(left))}"
            shown = [(number, film) for number, run in enumerate(self.runs) if (film := self.film(number))]
            films = "".join(
                f"<h2>{html.escape(self.runs[number].resolve().name)}</h2>"
                f'<video controls loop muted autoplay src="film?run={number}&v={film.stat().st_mtime_ns}"></video>'
                for number, film in shown
            )
            return {"said": said, "table": table(rows), "curves": self._curves(rows), "films": films}

    def _found(self) -> list[Path]:
        """The runs that are there now; a folder may get its first run later."""
        return list(dict.fromkeys(file.parent for path in self.paths for file in sorted(path.rglob(CONFIG))))

    def _curves(self, rows: Sequence[Progress]) -> str:
        """Address of the picture of the curves, drawn anew when an evaluation has come in; empty before the first."""
        scored = {run: row.evaluations for run, row in zip(self.runs, rows, strict=True) if row.evaluations}
        if not scored:
            return ""
        if scored != self._drawn:
            groups, before = groups_of(list(scored)), self.picture
            draw = curve_figure if len(groups) <= CROWDED else tasks_figure
            self.picture = draw(groups, self._folder / f"curves{next(self._numbers)}.png")
            self._drawn = scored
            if before:
                before.unlink()
        return f"curves.png?v={self.picture.stem}" if self.picture else ""

    def film(self, number: int) -> Path | None:
        """The last film of the run with this number, or None."""
        films = sorted((self.runs[number] / "videos").glob("*.mp4")) if 0 <= number < len(self.runs) else []
        return films[-1] if films else None

    def close(self) -> None:
        """Remove the pictures that were drawn."""
        shutil.rmtree(self._folder, ignore_errors=True)


def serve(
    paths: Sequence[Path], host: str, port: int, every: float, told: Callable[[str], None], stop: Callable[[], bool]
) -> None:
    """Show the page at http://host:port until `stop` says so.

    Args:
        paths: run folders, or folders of them. every: seconds between two looks at them.

    Raises:
        ConfigError: no such folder, or the port cannot be had.
    """
    watch = Watch(paths)
    try:
        with _server(watch, host, port, every) as server:
            server.timeout = 0.2
            told(f"http://{host}:{server.server_address[1]} (Ctrl-C ends)")
            while not stop():
                server.handle_request()
    finally:
        watch.close()


def _server(watch: Watch, host: str, port: int, every: float) -> ThreadingHTTPServer:
    title = html.escape(", ".join(map(str, watch.paths)))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            if url.path == "/":
                self._send("text/html; charset=utf-8", (PAGE % (HEAD, title, int(1000 * every))).encode())
            elif url.path == "/state.json":
                self._send("application/json", json.dumps(watch.state()).encode())
            elif url.path == "/curves.png":
                self._send_file("image/png", watch.picture)
            elif url.path == "/film":
                number = parse_qs(url.query).get("run", [""])[0]
                self._send_file("video/mp4", watch.film(int(number)) if number.isdigit() else None)
            else:
                self.send_error(404)

        def _send_file(self, kind: str, path: Path | None) -> None:
            if path is None or not path.is_file():
                self.send_error(404)
            else:
                self._send(kind, path.read_bytes())

        def _send(self, kind: str, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing: a line for each request would fill the terminal."""

    try:
        return ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        raise ConfigError(f"port={port}: cannot serve at {host}: {error.strerror}; take another --port") from None
