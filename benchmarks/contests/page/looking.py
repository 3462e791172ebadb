"""What is measured of a page with many points: first paint, frame rates, a lasso, the legend, and memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from playwright.sync_api import Browser, Page

from benchmarks.measuring.contest import Metrics
from benchmarks.sides.browser import (
    Motion,
    browser_memory_bytes,
    drag,
    hover,
    new_page,
    renderer,
    zoom,
)

_MIDDLE: Final = (450.0, 430.0)
_CORNERS: Final = ((300.0, 300.0), (600.0, 300.0), (600.0, 560.0), (300.0, 560.0), (305.0, 305.0))
"""Of a lasso, in pixels of the page."""

# The second frame after an event begins when the first one, which has the change, was submitted.
_NOTE_PAINT: Final = """(type) => addEventListener(type, () => {
  const start = performance.now();
  const isDone = () => window.isChanged === undefined || window.isChanged();
  const wait = () => requestAnimationFrame(() => requestAnimationFrame(() => {
    if (isDone()) window.changedS = (performance.now() - start) / 1000; else wait();
  }));
  window.changedS = null;
  wait();
}, {capture: true, once: true})"""
_ATLAS_STATUS: Final = "document.querySelector('.panel:has(.picked) [role=status]')"


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Measurements.

    n: points that the page reports. painted_s: from the last byte of the points to their first paint. lasso_s, legend_s: from
    the end of the gesture to the frame after its picture. memory_bytes: above an empty page.
    """

    n: int
    painted_s: float
    panned: Motion
    zoomed: Motion
    hovered: Motion
    memory_bytes: int
    renderer: str
    lasso_s: float | None = None
    n_selected: int | None = None
    legend_s: float | None = None

    def metrics(self) -> Metrics:
        found = {
            "painted_s": self.painted_s,
            "pan_fps": self.panned.frames_per_s,
            "zoom_fps": self.zoomed.frames_per_s,
            "hover_fps": self.hovered.frames_per_s,
            "longest_frame_ms": max(motion.longest_ms for motion in (self.panned, self.zoomed, self.hovered)),
            "memory_mb": self.memory_bytes / 1e6,
        }
        optional = {"lasso_s": self.lasso_s, "legend_s": self.legend_s}
        return found | {name: value for name, value in optional.items() if value is not None}


def look_at_atlas(browser: Browser, url: str, *, n_moves: int) -> Seen:
    """Open a map of the page and move, select and hide points."""
    page = new_page(browser)
    before = browser_memory_bytes(browser)
    page.goto(url)
    page.wait_for_function("() => performance.getEntriesByName('atlas-painted').length > 0")
    painted_ms = page.evaluate(
        """() => {
          const own = performance.getEntriesByType("resource").filter((entry) => entry.name.includes("/v1/maps/"));
          return performance.getEntriesByName("atlas-painted")[0].startTime - own[0].responseEnd;
        }"""
    )
    page.wait_for_timeout(1000)  # it has found out by now how long a drawing takes
    n = sum(int(text.replace(",", "")) for text in page.locator(".atlas-legend .number").all_inner_texts())
    memory = browser_memory_bytes(browser) - before
    panned, zoomed, hovered = _move(page, n_moves=n_moves)
    page.locator(".point-map").press("1")
    page.locator(".point-map").press("l")
    lasso_s = _lasso(page, is_changed=f"{_ATLAS_STATUS} !== null && /[1-9]/.test({_ATLAS_STATUS}.textContent)")
    n_selected = int(page.evaluate(f"{_ATLAS_STATUS}.textContent.replace(/[^0-9]/g, '')"))
    page.locator(".point-map").press("Escape")
    page.evaluate("() => { delete window.isChanged; }")
    page.evaluate(_NOTE_PAINT, "click")
    page.locator(".atlas-legend button").first.click()
    legend_s = _changed_s(page)
    seen = Seen(
        n=n,
        painted_s=painted_ms / 1000,
        panned=panned,
        zoomed=zoomed,
        hovered=hovered,
        memory_bytes=memory,
        renderer=renderer(page),
        lasso_s=lasso_s,
        n_selected=n_selected,
        legend_s=legend_s,
    )
    page.context.close()
    return seen


def look_at_scatterplot(browser: Browser, url: str, *, n_moves: int) -> Seen:
    """Open the page of another library, move its points, and select some if it has a lasso."""
    page = new_page(browser)
    before = browser_memory_bytes(browser)
    page.goto(url)
    page.wait_for_function("() => window.paintedMs > 0")
    n, painted_ms = page.evaluate("() => [window.n, window.paintedMs]")
    page.wait_for_timeout(1000)
    memory = browser_memory_bytes(browser) - before
    panned, zoomed, hovered = _move(page, n_moves=n_moves)
    name = renderer(page)
    page.context.close()
    lasso_s, n_selected = _lasso_elsewhere(browser, f"{url}#lasso")
    return Seen(
        n=n,
        painted_s=painted_ms / 1000,
        panned=panned,
        zoomed=zoomed,
        hovered=hovered,
        memory_bytes=memory,
        renderer=name,
        lasso_s=lasso_s,
        n_selected=n_selected,
    )


def _move(page: Page, *, n_moves: int) -> tuple[Motion, Motion, Motion]:
    return (
        drag(page, middle=_MIDDLE, n_moves=n_moves),
        zoom(page, middle=_MIDDLE, n_moves=n_moves),
        hover(page, middle=_MIDDLE, n_moves=n_moves),
    )


def _lasso_elsewhere(browser: Browser, url: str) -> tuple[float | None, int | None]:
    page = new_page(browser)
    page.goto(url)
    page.wait_for_function("() => window.paintedMs > 0")
    found: tuple[float | None, int | None] = (None, None)
    if page.evaluate("() => document.querySelector('script[type=importmap]') !== null"):  # plotly's page has no lasso
        page.wait_for_timeout(500)
        found = _lasso(page, is_changed="window.nSelected > 0"), page.evaluate("() => window.nSelected")
    page.context.close()
    return found


def _lasso(page: Page, *, is_changed: str) -> float:
    page.evaluate(f"() => {{ window.isChanged = () => {is_changed}; }}")
    page.mouse.move(*_CORNERS[0])
    page.mouse.down()
    for corner in _CORNERS[1:]:
        page.mouse.move(*corner, steps=4)
        page.wait_for_timeout(50)  # lines of a lasso are sampled in time
    page.evaluate(_NOTE_PAINT, "pointerup")
    page.mouse.up()
    return _changed_s(page)


def _changed_s(page: Page) -> float:
    page.wait_for_function("() => typeof window.changedS === 'number'")
    return float(page.evaluate("() => window.changedS"))
