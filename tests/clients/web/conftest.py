"""Fixtures: a service with finished runs, and pages in a headless Chromium. Tests are skipped only without a Chromium."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from demo.browser import FLAGS, find_chromium
from service.queueing.embedded_redis import find_server
from tests.clients.web.world import ARTIFACTS, KEY, World, build, key_setting
from tests.integration.running import ROOT, running_service

SLOW_MS = 60_000
"""Timeout of the browser, generous for busy machines."""

OpenPage = Callable[..., Page]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Raise the timeout: the first test waits for the runs of the service, which may take minutes on a busy machine."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of the Chromium executable."""
    path = find_chromium()
    if path is None:
        pytest.skip("no Chromium on the PATH or in PROMPTATLAS_TEST_CHROMIUM")
    return path


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """A browser per module: Playwright's event loop runs in this thread and would conflict with other tests' loops."""
    expect.set_options(timeout=SLOW_MS)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=FLAGS, timeout=3 * SLOW_MS)
        yield started
        started.close()


@pytest.fixture(scope="session")
def world(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A service with a tuning run, a map and a report; it starts only if there is a Chromium."""
    if find_server() is None:
        pytest.skip("redis-server is not installed")
    folder = tmp_path_factory.mktemp("page")
    settings = {"API_KEYS": key_setting(), "WORKERS": "1", "DEVICE": "cpu"}
    with running_service(folder, models=f"demo={ROOT / 'demo' / 'model'}", **settings) as service:
        service.wait_until_ready()
        built = build(service)
        yield built
        built.http.close()


@pytest.fixture
def open_page(browser: Browser, world: World, request: pytest.FixtureRequest) -> Iterator[OpenPage]:
    """Open the page at a route: ``open_page("runs", key=…, theme=…)``.

    Errors in the browser console fail the test, except those that contain ``expected``.
    """
    complaints: list[str] = []
    known: list[str] = []
    pages: list[Page] = []

    def make(
        route: str = "", *, key: str | None = KEY, theme: Literal["light", "dark"] = "light", expected: str = ""
    ) -> Page:
        known.extend([expected] if expected else [])
        context = browser.new_context(
            viewport={"width": 1280, "height": 800}, color_scheme=theme, accept_downloads=True
        )
        if key is not None:
            context.add_init_script(f"if (window === window.top) sessionStorage.setItem('promptatlas-key', {key!r})")
        page = context.new_page()
        page.set_default_timeout(SLOW_MS)
        page.on("console", lambda message: complaints.extend(_complaint(message)))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"{world.url}/#/{route}")
        pages.append(page)
        return page

    yield make
    for i, page in enumerate(pages):
        page.screenshot(path=_picture(request.node.name, i))
        page.context.close()
    assert [text for text in complaints if not any(one in text for one in known)] == []


def _complaint(message: ConsoleMessage) -> list[str]:
    # Chromium logs every 4xx response; tests of refusals check the page instead.
    is_refusal = "Failed to load resource" in message.text
    return [message.text] if message.type == "error" and not is_refusal else []


def _picture(name: str, i: int) -> Path:
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    return ARTIFACTS / f"{re.sub(r'[^a-z0-9]+', '-', name.lower())[:80]}{f'-{i}' if i else ''}.png"
