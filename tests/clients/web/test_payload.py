"""Tests of how much the page loads before it shows a view, and of the list of modules that it loads at once."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Browser, Page, Request

from tests.clients.web.conftest import SLOW_MS
from tests.clients.web.test_accessibility import routes
from tests.clients.web.world import KEY, World
from tests.integration.running import ROOT

MAX_BYTES = 2_000_000
"""Of files and answers, without the points of maps."""

WEB = ROOT / "clients" / "web"
STATIC_IMPORT = re.compile(r'^(?:import|export)[^;]*? from "(\.[^"]+)";', re.MULTILINE)


def loaded_bytes(page: Page, url: str, shown: str) -> tuple[int, int]:
    """Bytes of all files and answers that a view loads with an empty cache, without those of maps; and their number."""
    requests: list[Request] = []

    def count(request: Request) -> None:
        requests.append(request)

    page.on("requestfinished", count)
    page.goto(url)
    page.locator(shown).first.wait_for()
    page.wait_for_load_state("networkidle")
    page.remove_listener("requestfinished", count)
    counted = [one for one in requests if "/v1/maps/" not in one.url]
    return sum(one.sizes()["responseBodySize"] for one in counted), len(counted)


def test_no_view_loads_more_than_two_megabytes(browser: Browser, world: World) -> None:
    found = {}
    for route, shown in routes(world).items():
        context = browser.new_context()  # each has an empty cache
        context.add_init_script(f"if (window === window.top) sessionStorage.setItem('promptatlas-key', {KEY!r})")
        page = context.new_page()
        page.set_default_timeout(SLOW_MS)
        n_bytes, n_files = loaded_bytes(page, f"{world.url}/#/{route}", shown)
        context.close()
        assert n_files > 30, route
        found[route] = n_bytes
    on_disk = sum(path.stat().st_size for path in WEB.rglob("*.css"))
    assert min(found.values()) > on_disk  # every view loads all styles, so that the bytes are those of an empty cache
    assert {route: n for route, n in found.items() if n > MAX_BYTES} == {}


def test_the_entry_point_names_the_modules_of_the_frame() -> None:
    """Modules that ``main.js`` imports, directly or not, are requested at once instead of level by level."""
    preloaded = re.findall(r'rel="modulepreload" href="/web/([^"]+)"', (WEB / "index.html").read_text())
    assert len(preloaded) == len(set(preloaded))
    assert set(preloaded) == closure(WEB / "js" / "main.js")


def closure(entry: Path) -> set[str]:
    """Paths of all modules that a module needs before it runs, relative to the page."""
    found: set[Path] = set()
    waiting = [entry]
    while waiting:
        module = waiting.pop()
        for name in STATIC_IMPORT.findall(module.read_text()):
            path = (module.parent / name).resolve()
            if path not in found:
                found.add(path)
                waiting.append(path)
    return {path.relative_to(WEB).as_posix() for path in found}
