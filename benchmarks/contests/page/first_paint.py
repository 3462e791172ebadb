"""Time until the web page shows something, with an empty cache, against a page of one heading."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser

from benchmarks.contests.page.served import served_folder, served_page
from benchmarks.measuring.contest import Agreement, Contest, Metrics, Side, amount
from benchmarks.sides.browser import browsing, open_page

VIEWS: Final = ("atlas", "datasets", "runs", "prompts", "playground", "reports")
MAX_PAINTED_S: Final = 0.6
MAX_BYTES: Final = 2_000_000
"""Of scripts, styles, fonts and data, before a map."""

_HEADING: Final = '<!doctype html><html lang="en"><title>Heading</title><h1>Heading</h1></html>'
_LOADED: Final = "() => document.querySelector('h1, main h2') !== null"
# Without compression a body is as long as its file.
_TIMES: Final = """() => {
  const loaded = performance.now();
  const [painted] = performance.getEntriesByName("first-contentful-paint");
  const files = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")];
  const n_bytes = files.reduce((sum, file) => sum + file.decodedBodySize, 0);
  return {painted_s: painted.startTime / 1000, loaded_s: loaded / 1000, n_bytes, n_files: files.length};
}"""


@dataclass(frozen=True, kw_only=True)
class Size:
    """Views that are opened in a round, each in an empty browser context."""

    views: Sequence[str]


FULL = Size(views=VIEWS)
QUICK = Size(views=("runs",))


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A loaded page. painted_s and loaded_s: since the navigation began. n_bytes: of all files and answers."""

    painted_s: float
    loaded_s: float
    n_bytes: int
    n_files: int


@contextlib.contextmanager
def open_contest(size: Size, *, http: bool) -> Iterator[Contest]:
    """A service with an empty store; needs HTTP.

    Raises:
        ValueError: without ``http``.
        RuntimeError: there is no Chromium here.
    """
    if not http:
        raise ValueError("expected http=True, because the page is loaded over HTTP; got False.")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
        browser = stack.enter_context(browsing())
        url = stack.enter_context(served_page(folder))
        (folder / "heading").mkdir()
        (folder / "heading" / "index.html").write_text(_HEADING)
        heading = stack.enter_context(served_folder(folder / "heading"))
        routes = [f"{url}/#/{view}" for view in size.views]
        yield Contest(
            name="page-first-paint",
            work=f"{len(routes)} views of an empty store, each loaded with an empty cache in headless Chromium.",
            sides=[
                Side(name="page", run=partial(_open_all, browser, routes), metrics=_slowest),
                Side(name="heading", run=partial(_open_all, browser, [heading] * len(routes)), metrics=_slowest),
            ],
            goals=[
                amount("painted_s", "page", label="first paint, slowest view", unit="s", at_most=MAX_PAINTED_S),
                amount("loaded_s", "page", label="view with its data, slowest", unit="s"),
                amount("megabytes", "page", label="files and data, largest view", unit="MB", at_most=MAX_BYTES / 1e6),
                amount("painted_s", "heading", label="first paint, a page of one heading", unit="s"),
            ],
            compare=partial(_compare, size),
            notes=["Paint is Chromium's first-contentful-paint, counted from the start of the navigation."],
        )


def _open_all(browser: Browser, urls: Sequence[str]) -> Sequence[Opened]:
    return [_open(browser, url) for url in urls]


def _open(browser: Browser, url: str) -> Opened:
    page = open_page(browser, url)
    page.wait_for_function(_LOADED)
    page.wait_for_function("() => performance.getEntriesByName('first-contentful-paint').length > 0")
    opened = Opened(**page.evaluate(_TIMES))
    page.context.close()
    return opened


def _slowest(opened: Sequence[Opened]) -> Metrics:
    return {
        "painted_s": max(one.painted_s for one in opened),
        "loaded_s": max(one.loaded_s for one in opened),
        "megabytes": max(one.n_bytes for one in opened) / 1e6,
        "files": max(one.n_files for one in opened),
    }


def _compare(size: Size, answers: Mapping[str, Any]) -> list[Agreement]:
    n_files = [one.n_files for one in answers["page"]]
    holds = len(n_files) == len(size.views) and min(n_files) > 10
    return [
        Agreement(label="every view loads its files", holds=holds, detail=f"{min(n_files)} to {max(n_files)} files")
    ]
