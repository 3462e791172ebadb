"""Tests of the frame: API key, theme, navigation and states."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import httpx
from playwright.sync_api import Page, expect

from tests.clients.web.conftest import OpenPage
from tests.clients.web.world import KEY, World


def test_a_key_is_requested_and_kept_in_the_tab(open_page: OpenPage, world: World) -> None:
    page = open_page("runs", key=None)
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("This server requires an API key")
    dialog.get_by_label("Key").fill("wrong")
    dialog.get_by_role("button", name="Use this key").click()
    expect(dialog).to_contain_text("The server refused this key")
    dialog.get_by_label("Key").fill(KEY)
    page.keyboard.press("Enter")
    expect(page.get_by_role("cell", name="small map")).to_be_visible()
    page.reload()
    expect(page.get_by_role("cell", name="small map")).to_be_visible()
    assert KEY not in page.url
    assert page.evaluate("Object.keys(localStorage).length") == 0


def test_without_a_key_the_failure_says_what_to_do(open_page: OpenPage) -> None:
    page = open_page("prompts", key=None)
    page.get_by_role("button", name="Not now").click()
    expect(page.get_by_role("alert")).to_contain_text("Enter a key of this server")
    expect(page.get_by_role("button", name="Try again")).to_be_visible()


def test_the_theme_follows_the_system_until_it_is_switched(open_page: OpenPage) -> None:
    page = open_page("runs", theme="dark")
    root = page.locator("html")
    expect(root).to_have_attribute("data-theme", "dark")
    dark = page.evaluate("getComputedStyle(document.body).color")
    page.get_by_role("button", name="Switch to the light theme").click()
    expect(root).to_have_attribute("data-theme", "light")
    assert page.evaluate("getComputedStyle(document.body).color") != dark
    page.reload()
    expect(root).to_have_attribute("data-theme", "light")


def test_every_view_is_reachable_by_keyboard(open_page: OpenPage) -> None:
    page = open_page("runs")
    expect(page.get_by_role("heading", name="Runs")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    assert page.url.endswith("#/runs")
    for name in ("Prompts", "Playground", "Reports"):
        page.get_by_role("link", name=name, exact=True).focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible()
        expect(page.get_by_role("link", name=name, exact=True)).to_have_attribute("aria-current", "page")


def test_the_back_button_returns_to_the_previous_view(open_page: OpenPage) -> None:
    page = open_page("runs")
    page.get_by_role("link", name="small map").click()
    expect(page.get_by_role("heading", name="small map")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("heading", name="Runs")).to_be_visible()


NOTHING = {"object": "list", "data": [], "has_more": False, "next": None}


def empty_views(open_page: OpenPage, *, key: str | None = KEY) -> Iterator[tuple[str, Page]]:
    """The views of a server without runs, maps and prompts, by route."""
    page = open_page("runs", key=key)
    for path in ("runs", "maps", "prompts"):
        page.route(f"**/v1/{path}?*", lambda route: route.fulfill(json=NOTHING))
    for route in ("runs?x", "atlas", "reports", "prompts"):
        page.evaluate("route => location.hash = route", f"#/{route}")
        page.reload()
        yield route, page


def test_empty_views_show_the_first_step(open_page: OpenPage) -> None:
    words = {"runs?x": "No runs yet", "atlas": "No maps yet", "reports": "No reports yet", "prompts": "No prompts yet"}
    for route, page in empty_views(open_page):
        expect(page.locator(".state")).to_contain_text(words[route])


def test_example_commands_work_as_shown(open_page: OpenPage, world: World) -> None:
    """The shell's reading of each curl command is sent to the server, which must start the run."""
    kinds = []
    for route, page in empty_views(open_page):
        command = page.locator(".state pre").inner_text()
        if route == "prompts":
            assert all(line.startswith("promptatlas ") for line in command.splitlines())
            continue
        assert KEY not in command
        program, _, url, *options = shlex.split(command.replace("\\\n", ""))
        assert program == "curl"
        headers = [value for name, value in zip(options[::2], options[1::2], strict=True) if name == "-H"]
        (body,) = [value for name, value in zip(options[::2], options[1::2], strict=True) if name == "-d"]
        sent = dict(header.replace("$PROMPTATLAS_API_KEY", KEY).split(": ", 1) for header in headers)
        answer = httpx.post(url, headers=sent, content=body)
        assert answer.status_code == 202, answer.text
        kinds.append(answer.json()["kind"])
        world.http.post(f"/v1/runs/{answer.json()['id']}/cancel")
    assert kinds == ["tune", "map", "report"]
