"""The frame around the views: keys, theme, places, states."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.clients.web.conftest import OpenPage
from tests.clients.web.world import KEY, World


def test_a_key_is_asked_for_and_kept_in_the_tab(open_page: OpenPage, world: World) -> None:
    page = open_page("runs", key=None)
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("This server asks for an API key")
    dialog.get_by_label("Key").fill("wrong")
    dialog.get_by_role("button", name="Use this key").click()
    expect(dialog).to_contain_text("not one of this server's")
    dialog.get_by_label("Key").fill(KEY)
    page.keyboard.press("Enter")
    expect(page.get_by_role("cell", name="small map")).to_be_visible()
    page.reload()
    expect(page.get_by_role("cell", name="small map")).to_be_visible()
    assert KEY not in page.url
    assert page.evaluate("Object.keys(localStorage).length") == 0


def test_without_a_key_it_says_what_to_do(open_page: OpenPage) -> None:
    page = open_page("prompts", key=None)
    page.get_by_role("button", name="Not now").click()
    expect(page.get_by_role("alert")).to_contain_text("Enter a key of this server")
    expect(page.get_by_role("button", name="Try again")).to_be_visible()


def test_the_theme_is_the_systems_until_another_is_chosen(open_page: OpenPage) -> None:
    page = open_page("runs", theme="dark")
    root = page.locator("html")
    expect(root).to_have_attribute("data-theme", "dark")
    dark = page.evaluate("getComputedStyle(document.body).color")
    page.get_by_role("button", name="Turn light").click()
    expect(root).to_have_attribute("data-theme", "light")
    assert page.evaluate("getComputedStyle(document.body).color") != dark
    page.reload()
    expect(root).to_have_attribute("data-theme", "light")


def test_every_view_can_be_reached_by_keys(open_page: OpenPage) -> None:
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


def test_back_goes_back(open_page: OpenPage) -> None:
    page = open_page("runs")
    page.get_by_role("link", name="small map").click()
    expect(page.get_by_role("heading", name="small map")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("heading", name="Runs")).to_be_visible()


def test_what_is_not_there_is_said_in_the_servers_words(open_page: OpenPage) -> None:
    page = open_page("runs/run-nothing")
    expect(page.get_by_role("alert")).to_contain_text("Not found")
    expect(page.get_by_role("alert")).to_contain_text("Go back to the list")


def test_a_server_that_is_gone_is_said_and_tried_again(open_page: OpenPage) -> None:
    page = open_page("runs")
    expect(page.get_by_role("cell", name="small map")).to_be_visible()
    page.route("**/v1/prompts*", lambda route: route.abort())
    page.get_by_role("link", name="Prompts", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("Is the server still running?")
    page.unroute("**/v1/prompts*")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("link", name="qa-isotropic-0")).to_be_visible()


def test_an_empty_server_says_how_to_begin(open_page: OpenPage) -> None:
    page = open_page("runs")
    expect(page.get_by_role("cell", name="small map")).to_be_visible()
    nothing = '{"object": "list", "data": [], "has_more": false, "next": null}'
    for path in ("runs", "maps", "prompts"):
        page.route(f"**/v1/{path}?*", lambda route: route.fulfill(body=nothing, content_type="application/json"))
    for place, words in (("runs?x", "Nothing has run yet"), ("atlas", "no map yet"), ("reports", "no report yet")):
        page.evaluate("place => location.hash = place", f"#/{place}")
        page.reload()
        expect(page.locator(".state")).to_contain_text(words)
