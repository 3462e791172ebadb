"""The atlas of the web page with many points, against plotly and regl-scatterplot."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser

from benchmarks.contests.page.looking import Seen, look_at_atlas, look_at_scatterplot
from benchmarks.contests.page.scatterplots import has_regl, served_plotly, served_regl
from benchmarks.contests.page.served import N_CLOUDS, served_map
from benchmarks.measuring.contest import Agreement, Contest, Goal, Round, Side, amount
from benchmarks.sides.browser import browsing


@dataclass(frozen=True, kw_only=True)
class Size:
    """Number of points, and of mouse movements per measurement. has_plotly: plotly takes minutes for a million points."""

    name: str = "page"
    n: int
    n_moves: int
    has_plotly: bool = True


FULL = Size(n=100_000, n_moves=240)
QUICK = Size(n=5_000, n_moves=40)
MILLION = Size(name="page-million", n=1_000_000, n_moves=240, has_plotly=False)
MILLION_QUICK = Size(name="page-million", n=20_000, n_moves=40, has_plotly=False)


@contextlib.contextmanager
def open_contest(size: Size, *, http: bool) -> Iterator[Contest]:
    """A service with a map of random clouds in its store, and pages of other libraries; needs HTTP.

    Raises:
        ValueError: without ``http``.
        RuntimeError: there is no Chromium here.
    """
    if not http:
        raise ValueError("expected http=True, because the page is loaded over HTTP; got False.")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
        browser = stack.enter_context(browsing())
        url, map_id = stack.enter_context(served_map(folder, size.n))
        looks: dict[str, Callable[[], Seen]] = {
            "atlas": partial(look_at_atlas, browser, f"{url}/#/atlas/{map_id}?layer=0", n_moves=size.n_moves)
        }
        if size.has_plotly:
            # A tenth of the movements, because plotly is slow.
            looks["plotly"] = _other(
                browser, stack.enter_context(served_plotly(folder / "plotly", size.n)), size, tenth=True
            )
        if has_regl():
            looks["regl-scatterplot"] = _other(browser, stack.enter_context(served_regl(folder / "regl", size.n)), size)
        yield Contest(
            name=size.name,
            work=f"{size.n:,} points in {N_CLOUDS} clouds, displayed in headless Chromium, 1280 × 800 pixels.",
            sides=[Side(name=name, run=look, metrics=Seen.metrics) for name, look in looks.items()],
            goals=_goals(looks),
            compare=partial(_compare, size),
            notes=_notes(),
        )


def _other(browser: Browser, url: str, size: Size, *, tenth: bool = False) -> Callable[[], Seen]:
    n_moves = max(10, size.n_moves // 10) if tenth else size.n_moves
    return partial(look_at_scatterplot, browser, url, n_moves=n_moves)


def _goals(sides: Mapping[str, Any]) -> list[Goal]:
    goals = [
        amount("painted_s", "atlas", label="first paint after the data", unit="s", at_most=2),
        _frames("pan_fps", "atlas", label="pan", at_least=30),
        _frames("zoom_fps", "atlas", label="zoom", at_least=30),
        _frames("hover_fps", "atlas", label="hover", at_least=30),
        amount("lasso_s", "atlas", label="from the end of a lasso to its selection", unit="s", at_most=1),
        amount("legend_s", "atlas", label="from a click in the legend to the picture", unit="s", at_most=1),
        amount("memory_mb", "atlas", label="memory of the browser above an empty page", unit="MB"),
    ]
    for name in [name for name in sides if name != "atlas"]:
        goals += [
            amount("painted_s", name, label=f"first paint after the data, {name}", unit="s"),
            _frames("pan_fps", name, label=f"pan, {name}"),
            _frames("zoom_fps", name, label=f"zoom, {name}"),
            _frames("hover_fps", name, label=f"hover, {name}"),
            amount("memory_mb", name, label=f"memory above an empty page, {name}", unit="MB"),
        ]
    if "regl-scatterplot" in sides:
        goals.append(amount("lasso_s", "regl-scatterplot", label="lasso, regl-scatterplot", unit="s"))
    return goals


def _notes() -> list[str]:
    notes = [
        "Frames are counted in the page while the mouse moves, drags or the wheel turns; the browser starts a frame only "
        "after it submits the previous one.",
        "Memory is the proportional set size of the renderer and GPU processes.",
    ]
    if not has_regl():
        notes.append("regl-scatterplot was not fetched (`make scatterplot`): that side is skipped.")
    return notes


def _frames(metric: str, side: str, *, label: str, at_least: float | None = None) -> Goal:
    def value(turn: Round) -> float:
        return turn[side][metric]

    return Goal(label=label, value=value, at_least=at_least, unit="frames/s")


def _compare(size: Size, answers: Mapping[str, Any]) -> list[Agreement]:
    shown = {name: seen.n for name, seen in answers.items()}
    holds = all(n == size.n for n in shown.values())
    detail = f"{', '.join(f'{name} {n:,}' for name, n in shown.items())}; drawn by {answers['atlas'].renderer}"
    found = [Agreement(label="all points are shown", holds=holds, detail=detail)]
    selected = {name: seen.n_selected for name, seen in answers.items() if seen.n_selected is not None}
    is_some = all(0 < n < size.n for n in selected.values())
    detail = ", ".join(f"{name} {n:,}" for name, n in selected.items())
    return [*found, Agreement(label="a lasso selects some of the points", holds=is_some, detail=detail)]
