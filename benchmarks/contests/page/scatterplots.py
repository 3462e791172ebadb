"""Pages of other scatter plots with the same points: plotly and regl-scatterplot."""

from __future__ import annotations

import contextlib
import importlib.resources
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.contests.page.served import N_CLOUDS, cloud_places, served_folder
from benchmarks.sides.processes import ROOT

REGL_FILES: Final = ROOT / ".regl-scatterplot"
"""What ``make scatterplot`` fetches."""

_PLOTLY: Final = """<!doctype html><div id="plot" style="width:940px;height:740px"></div>
<script src="plotly.min.js"></script><script>
fetch("points.bin").then((answer) => answer.arrayBuffer()).then(async (buffer) => {
  const start = performance.now(), all = new Float32Array(buffer), n = all.length / 3;
  const data = [{type: "scattergl", mode: "markers", x: all.subarray(0, n), y: all.subarray(n, 2 * n), marker: {size: 3}}];
  await Plotly.newPlot("plot", data, {dragmode: "pan"}, {scrollZoom: true});
  requestAnimationFrame(() => requestAnimationFrame(() => { window.paintedMs = performance.now() - start; window.n = n; }));
});</script>"""

# In its performance mode, which its documentation advises for a million points: squares without blending.
_REGL: Final = """<!doctype html>
<script type="importmap">{"imports": {"pub-sub-es": "./pub-sub-es.js", "regl": "./regl-module.js"}}</script>
<script src="regl.js"></script>
<canvas id="plot" style="width:940px;height:740px"></canvas>
<script type="module">
import createScatterplot from "./regl-scatterplot.js";
const colours = ["#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#ff8ab7", "#a463f2", "#97bbf5"];
const plot = createScatterplot({canvas: document.getElementById("plot"), width: 940, height: 740, pointSize: 3,
  colorBy: "valueA", pointColor: colours, performanceMode: true, mouseMode: location.hash === "#lasso" ? "lasso" : "panZoom"});
plot.subscribe("select", ({points}) => { window.nSelected = points.length; });
const all = new Float32Array(await (await fetch("points.bin")).arrayBuffer()), n = all.length / 3;
const start = performance.now();
await plot.draw({x: all.subarray(0, n), y: all.subarray(n, 2 * n), z: all.subarray(2 * n)}, {zDataType: "categorical"});
requestAnimationFrame(() => requestAnimationFrame(() => { window.paintedMs = performance.now() - start; window.n = n; }));
</script>"""


@contextlib.contextmanager
def served_plotly(folder: Path, n: int) -> Iterator[str]:
    """URL of a page with a scattergl of plotly."""
    folder.mkdir()
    script = importlib.resources.files("plotly") / "package_data" / "plotly.min.js"
    (folder / "plotly.min.js").write_bytes(script.read_bytes())
    with _served(folder, page=_PLOTLY, n=n) as url:
        yield url


def has_regl() -> bool:
    """Whether regl-scatterplot was fetched."""
    return (REGL_FILES / "regl-scatterplot.js").is_file()


@contextlib.contextmanager
def served_regl(folder: Path, n: int) -> Iterator[str]:
    """URL of a page with regl-scatterplot; with ``#lasso`` a drag selects."""
    shutil.copytree(REGL_FILES, folder)
    (folder / "regl-module.js").write_text("export default globalThis.createREGL;\n")
    with _served(folder, page=_REGL, n=n) as url:
        yield url


@contextlib.contextmanager
def _served(folder: Path, *, page: str, n: int) -> Iterator[str]:
    (folder / "index.html").write_text(page)
    (folder / "points.bin").write_bytes(_columns(n).tobytes())
    with served_folder(folder) as url:
        yield url


def _columns(n: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """x, y and cloud `[3, n]`; x and y in [−1, 1], as regl-scatterplot expects."""
    places = cloud_places(n // N_CLOUDS * N_CLOUDS)
    scaled = places / np.abs(places).max()
    clouds = np.repeat(np.arange(N_CLOUDS), len(places) // N_CLOUDS)
    return np.ascontiguousarray(np.column_stack([scaled, clouds]).T.astype(np.float32))
