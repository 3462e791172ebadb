"""The atlas of the web page with many points, against plotly: time to first paint, and frame rate while moving."""

from __future__ import annotations

import contextlib
import http.server
import importlib.resources
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Browser

from benchmarks.measuring.contest import Agreement, Contest, Goal, Metrics, Round, Side, amount
from benchmarks.sides.browser import Motion, browsing, drag, open_page, renderer, zoom
from benchmarks.sides.models import LlamaSize, save_llama
from benchmarks.sides.processes import free_port, running
from service.store.artifacts.store import ArtifactStore
from service.store.artifacts.tensor_codec import encode
from service.store.maps.points import Labels, Points
from service.store.maps.store import MAP, MapFacts, points_path
from service.store.runs.store import RunStore

_MODEL = LlamaSize(d_model=32, n_layers=1, n_heads=2, n_kv_heads=1, d_mlp=32, n_vocab=97, n_positions=64)
_MIDDLE = (450.0, 430.0)
_CLOUDS = 8

_PLOTLY_PAGE = """<!doctype html><div id="plot" style="width:940px;height:740px"></div>
<script src="plotly.min.js"></script><script>
fetch("points.bin").then((answer) => answer.arrayBuffer()).then(async (buffer) => {
  const start = performance.now(), all = new Float32Array(buffer), n = all.length / 2;
  const data = [{type: "scattergl", mode: "markers", x: all.subarray(0, n), y: all.subarray(n), marker: {size: 3}}];
  await Plotly.newPlot("plot", data, {dragmode: "pan"}, {scrollZoom: true});
  requestAnimationFrame(() => requestAnimationFrame(() => { window.paintedMs = performance.now() - start; window.n = n; }));
});</script>"""


@dataclass(frozen=True, kw_only=True)
class Size:
    """Number of points, and of mouse movements per measurement."""

    n: int
    n_moves: int


FULL = Size(n=100_000, n_moves=240)
QUICK = Size(n=5_000, n_moves=40)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Measurements. n: points that the page reports. painted_s: from the last byte of the points to their first paint."""

    n: int
    painted_s: float
    panned: Motion
    zoomed: Motion
    renderer: str

    def metrics(self) -> Metrics:
        return {
            "painted_s": self.painted_s,
            "pan_fps": self.panned.frames_per_s,
            "zoom_fps": self.zoomed.frames_per_s,
            "longest_frame_ms": max(self.panned.longest_ms, self.zoomed.longest_ms),
        }


@contextlib.contextmanager
def open_contest(size: Size, *, http: bool) -> Iterator[Contest]:
    """A service with a map of random clouds in its store, and a page with plotly; needs HTTP.

    Raises:
        ValueError: without ``http``.
        RuntimeError: there is no Chromium here.
    """
    if not http:
        raise ValueError("expected http=True, because the page is loaded over HTTP; got False.")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
        browser = stack.enter_context(browsing())
        url, map_id = stack.enter_context(_served_map(folder, size))
        plotly = stack.enter_context(_served_plotly(folder / "plotly", size))
        yield Contest(
            name="page",
            work=f"{size.n:,} points in {_CLOUDS} clouds, displayed in headless Chromium, 1280 × 800 pixels.",
            sides=[
                Side(name="atlas", run=partial(_look_at_atlas, browser, url, map_id, size), metrics=Seen.metrics),
                Side(name="plotly", run=partial(_look_at_plotly, browser, plotly, size), metrics=Seen.metrics),
            ],
            goals=[
                amount("painted_s", "atlas", label="first paint after the data", unit="s", at_most=2),
                _frames("pan_fps", "atlas", label="pan", at_least=30),
                _frames("zoom_fps", "atlas", label="zoom", at_least=30),
                _frames("pan_fps", "plotly", label="pan, plotly"),
                _frames("zoom_fps", "plotly", label="zoom, plotly"),
            ],
            compare=partial(_compare, size),
            notes=[
                "Frames are counted in the page while the mouse drags or the wheel turns; the browser starts a frame only "
                "after it submits the previous one."
            ],
        )


def _frames(metric: str, side: str, *, label: str, at_least: float | None = None) -> Goal:
    def value(turn: Round) -> float:
        return turn[side][metric]

    return Goal(label=label, value=value, at_least=at_least, unit="frames/s")


def _compare(size: Size, answers: Mapping[str, Any]) -> list[Agreement]:
    shown = {name: seen.n for name, seen in answers.items()}
    holds = all(n == size.n for n in shown.values())
    detail = f"{', '.join(f'{name} {n:,}' for name, n in shown.items())}; drawn by {answers['atlas'].renderer}"
    return [Agreement(label="all points are shown", holds=holds, detail=detail)]


def _look_at_atlas(browser: Browser, url: str, map_id: str, size: Size) -> Seen:
    page = open_page(browser, f"{url}/#/atlas/{map_id}?layer=0")
    page.wait_for_function("() => performance.getEntriesByName('atlas-painted').length > 0")
    painted_ms = page.evaluate(
        """() => {
          const own = performance.getEntriesByType("resource").filter((entry) => entry.name.includes("/v1/maps/"));
          return performance.getEntriesByName("atlas-painted")[0].startTime - own[0].responseEnd;
        }"""
    )
    page.wait_for_timeout(1000)  # it has found out by now how long a drawing takes
    n = sum(int(text.replace(",", "")) for text in page.locator(".atlas-legend .number").all_inner_texts())
    seen = Seen(
        n=n,
        painted_s=painted_ms / 1000,
        renderer=renderer(page),
        panned=drag(page, middle=_MIDDLE, n_moves=size.n_moves),
        zoomed=zoom(page, middle=_MIDDLE, n_moves=size.n_moves),
    )
    page.close()
    return seen


def _look_at_plotly(browser: Browser, url: str, size: Size) -> Seen:
    page = open_page(browser, url)
    page.wait_for_function("() => window.paintedMs > 0")
    n, painted_ms = page.evaluate("() => [window.n, window.paintedMs]")
    # A tenth of the movements, because plotly is slow.
    n_moves = max(10, size.n_moves // 10)
    seen = Seen(
        n=n,
        painted_s=painted_ms / 1000,
        renderer=renderer(page),
        panned=drag(page, middle=_MIDDLE, n_moves=n_moves),
        zoomed=zoom(page, middle=_MIDDLE, n_moves=n_moves),
    )
    page.close()
    return seen


@contextlib.contextmanager
def _served_map(folder: Path, size: Size) -> Iterator[tuple[str, str]]:
    """A service, and the id of a map in its store."""
    save_llama(_MODEL, folder / "model")
    port = free_port()
    environ = {
        "PROMPTATLAS_HOST": "127.0.0.1",
        "PROMPTATLAS_PORT": str(port),
        "PROMPTATLAS_HOME": str(folder / "home"),
        "PROMPTATLAS_MODELS": f"benchmark={folder / 'model'}",
        "PROMPTATLAS_WORKERS": "0",
        "PROMPTATLAS_DEVICE": "cpu",
        "PROMPTATLAS_API_KEYS": "",
    }
    url = f"http://127.0.0.1:{port}"
    with running("service", [], environ=environ, ready_url=f"{url}/ready", log=folder / "service.log"):
        yield url, _store_map(folder / "home", _points(size))


def _store_map(home: Path, points: Points) -> str:
    """Store points as the map of a run; returns its id."""
    runs = RunStore(ArtifactStore(str(home)))
    run = runs.create("map", spec={"model": "benchmark"}, name="clouds")
    writer = runs.claim(run.id, worker="benchmark")
    facts = MapFacts(
        model="benchmark",
        revision="none",
        method="pca",
        n_components=2,
        layers=[0],
        sources=points.texts["source"].values,
        n_points=len(points),
        quality=[],
        added=[],
        max_tokens=64,
    )
    writer.put_output(points_path(0), encode(points.tensors()))
    writer.put_output(MAP, facts.to_bytes())
    writer.finish("succeeded")
    return run.id


def _points(size: Size) -> Points:
    """Clouds of tokens in separate texts, as in a map of a dataset's tokens."""
    labels = Labels(layer=0)
    n_each = size.n // _CLOUDS
    for cloud in range(_CLOUDS):
        texts = [
            f"Text {i // 40} of cloud {cloud}, which goes on for a while so that it is as long as texts are."
            for i in range(n_each)
        ]
        tokens = [f" word{i % 997}" for i in range(n_each)]
        labels.add(
            n_each, source=f"cloud {cloud}", role="state", positions=np.arange(n_each) % 40, text=texts, token=tokens
        )
    return labels.points(_places(n_each * _CLOUDS))


def _places(n: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    rng = np.random.default_rng(0)
    centres = np.repeat(rng.normal(size=(_CLOUDS, 2)) * 4, n // _CLOUDS, axis=0)
    return (centres + rng.normal(size=(n, 2))).astype(np.float32)


@contextlib.contextmanager
def _served_plotly(folder: Path, size: Size) -> Iterator[str]:
    """The same points in a page with a plotly scattergl."""
    folder.mkdir()
    script = importlib.resources.files("plotly") / "package_data" / "plotly.min.js"
    (folder / "plotly.min.js").write_bytes(script.read_bytes())
    (folder / "points.bin").write_bytes(np.ascontiguousarray(_places(size.n // _CLOUDS * _CLOUDS).T).tobytes())
    (folder / "index.html").write_text(_PLOTLY_PAGE)
    handler = partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name of the base class)
        """Nothing."""
