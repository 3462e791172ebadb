"""Headless browser, and the frame rate of a moving picture."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from demo.browser import FLAGS, find_chromium

_WIDTH, _HEIGHT = 1280, 800
_TIMEOUT_MS = 120_000
_LIMIT_S = 8.0
"""Of one gesture: a picture of a million points takes a second in software, and a gesture has hundreds of movements."""

_COUNT = """() => {
  window.__frames = [];
  const note = (time) => { window.__frames.push(time); window.__counting = requestAnimationFrame(note); };
  window.__counting = requestAnimationFrame(note);
}"""
_TAKE = "() => { cancelAnimationFrame(window.__counting); return window.__frames; }"


@dataclass(frozen=True, kw_only=True)
class Motion:
    """Frames of one movement: frames per second, and the longest frame time."""

    frames_per_s: float
    longest_ms: float


@contextlib.contextmanager
def browsing() -> Iterator[Browser]:
    """Headless Chromium.

    Raises:
        RuntimeError: there is none here.
    """
    path = find_chromium()
    if path is None:
        raise RuntimeError("expected a Chromium on the PATH, or in PROMPTATLAS_TEST_CHROMIUM; found none.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


def new_page(browser: Browser) -> Page:
    """An empty page in a fresh context."""
    page = browser.new_page(viewport={"width": _WIDTH, "height": _HEIGHT})
    page.set_default_timeout(_TIMEOUT_MS)
    return page


def open_page(browser: Browser, url: str) -> Page:
    """A new page at ``url`` in a fresh context."""
    page = new_page(browser)
    page.goto(url)
    return page


def browser_memory_bytes(browser: Browser) -> int:
    """Proportional set size of the browser's renderer and GPU processes; Linux only."""
    client = browser.new_browser_cdp_session()
    processes = client.send("SystemInfo.getProcessInfo")["processInfo"]
    client.detach()
    return sum(_proportional_bytes(one["id"]) for one in processes if one["type"] in ("renderer", "GPU"))


def _proportional_bytes(pid: int) -> int:
    with contextlib.suppress(OSError):  # it may have ended by now
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return 1024 * int(line.split()[1])
    return 0


def renderer(page: Page) -> str:
    """Name of the renderer: the graphics card, or the software renderer."""
    return str(
        page.evaluate(
            """() => {
              const gl = document.createElement("canvas").getContext("webgl2");
              const names = gl && gl.getExtension("WEBGL_debug_renderer_info");
              return names ? gl.getParameter(names.UNMASKED_RENDERER_WEBGL) : "none";
            }"""
        )
    )


def moves(n: int, *, limit_s: float = _LIMIT_S) -> Iterator[int]:
    """0, 1, … n − 1; fewer if the time is over before. The browser takes a movement when it has drawn the one before."""
    began = time.monotonic()
    for i in range(n):
        if time.monotonic() - began > limit_s:
            return
        yield i


def drag(page: Page, *, middle: tuple[float, float], n_moves: int) -> Motion:
    """Drag the picture back and forth around ``middle`` (page pixels)."""
    x, y = middle
    page.mouse.move(x, y)
    page.mouse.down()
    page.evaluate(_COUNT)
    for i in moves(n_moves):
        page.mouse.move(x + 60 * _swing(i, n_moves), y + 30 * _swing(i, n_moves))
    motion = _motion(page.evaluate(_TAKE))
    page.mouse.up()
    return motion


def zoom(page: Page, *, middle: tuple[float, float], n_moves: int) -> Motion:
    """Zoom in and out at ``middle`` with the wheel."""
    page.mouse.move(*middle)
    page.evaluate(_COUNT)
    for i in moves(n_moves):
        page.mouse.wheel(0, -40 if i % 40 < 20 else 40)
    return _motion(page.evaluate(_TAKE))


def hover(page: Page, *, middle: tuple[float, float], n_moves: int) -> Motion:
    """Move the pointer over the picture around ``middle``, without a button."""
    x, y = middle
    page.evaluate(_COUNT)
    for i in moves(n_moves):
        page.mouse.move(x + 200 * _swing(i, n_moves), y + 120 * _swing((7 * i) % n_moves, n_moves))
    return _motion(page.evaluate(_TAKE))


def _swing(i: int, n: int) -> float:
    """Triangle wave 0 → 1 → −1 → 0."""
    at = 4 * i / n
    return at if at < 1 else 2 - at if at < 3 else at - 4


def _motion(times_ms: Sequence[float]) -> Motion:
    gaps = [later - earlier for earlier, later in pairwise(times_ms)]
    if not gaps:
        return Motion(frames_per_s=0.0, longest_ms=float("inf"))
    return Motion(frames_per_s=1000 * len(gaps) / sum(gaps), longest_ms=max(gaps))
