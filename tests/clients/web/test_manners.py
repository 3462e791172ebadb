"""Tests of conduct that all views share: recovery, accessible names, shortcuts, the palette, and narrow screens."""

from __future__ import annotations

from importlib import resources
from typing import Any, Literal

import pytest
from playwright.sync_api import Page, expect

from tests.clients.web.conftest import OpenPage
from tests.clients.web.test_accessibility import routes
from tests.clients.web.test_errors import proxied
from tests.clients.web.world import World

NAMED_ROLES = {
    *("button", "checkbox", "combobox", "dialog", "group", "image", "link", "listbox", "option", "progressbar"),
    *("radio", "region", "searchbox", "slider", "spinbutton", "tab", "table", "tabpanel", "textbox"),
}
"""Roles whose elements need an accessible name (WCAG 2.2, success criteria 1.1.1, 2.4.4 and 4.1.2)."""

AXE = resources.files("axe_playwright_python") / "axe.min.js"
"""axe-core (MPL 2.0), from a wheel, so that the tests download nothing."""

WIDE = """(limit) => [...document.querySelectorAll("body *")]
  .filter((element) => element.getBoundingClientRect().right > limit + 1 && !element.closest(".scroll, .lens, nav"))
  .map((element) => `${element.tagName} ${element.className}`).slice(0, 5)"""
"""The first elements that end to the right of the screen."""

N_PHONE_PX = 390
"""Width of the screen of common phones, in CSS pixels."""


def shown(open_page: OpenPage, world: World, **options: Any) -> Any:
    """Each route of the page with its loaded view."""
    page = open_page("runs", **options)
    for route, loaded in routes(world).items():
        page.goto(f"{world.url}/#/{route}")
        page.reload()
        page.locator(loaded).first.wait_for()
        yield route, page


def unnamed(page: Page) -> list[str]:
    """Roles of the elements without a name, as the browser computes both for screen readers."""
    client = page.context.new_cdp_session(page)
    nodes = client.send("Accessibility.getFullAXTree")["nodes"]
    client.detach()
    return [
        node["role"]["value"]
        for node in nodes
        if not node.get("ignored")
        and node["role"]["value"].lower() in NAMED_ROLES
        and not node.get("name", {}).get("value", "").strip()
        and not (node["role"]["value"] == "group" and "focusable" not in _properties(node))
    ]


def serious_faults(page: Page) -> list[tuple[str, str]]:
    """Rule and markup of every element in which axe finds a serious or critical fault."""
    page.evaluate(AXE.read_text())
    result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    serious = [fault for fault in result["violations"] if fault["impact"] in ("serious", "critical")]
    return [(fault["id"], node["html"][:200]) for fault in serious for node in fault["nodes"]]


def _properties(node: dict[str, Any]) -> set[str]:
    return {one["name"] for one in node.get("properties", ())}


def test_every_control_of_every_view_has_a_name(open_page: OpenPage, world: World) -> None:
    found = {route: unnamed(page) for route, page in shown(open_page, world)}
    assert {route: roles for route, roles in found.items() if roles} == {}


def test_controls_without_a_name_are_found(open_page: OpenPage) -> None:
    page = open_page("nonsense")
    page.get_by_role("alert").wait_for()
    assert unnamed(page) == []
    page.evaluate("""() => {
      const add = (tag, set) => document.querySelector("main").append(Object.assign(document.createElement(tag), set));
      add("button", {}); add("input", {type: "text"}); add("div", {role: "progressbar"});
    }""")
    assert sorted(unnamed(page)) == ["button", "progressbar", "textbox"]


def test_ids_are_unique_in_every_view(open_page: OpenPage, world: World) -> None:
    script = """() => [...document.querySelectorAll("[id]")].map((element) => element.id)
      .filter((id, i, all) => all.indexOf(id) !== i)"""
    found = {route: page.evaluate(script) for route, page in shown(open_page, world)}
    assert {route: ids for route, ids in found.items() if ids} == {}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_no_serious_fault(open_page: OpenPage, world: World, theme: Literal["light", "dark"]) -> None:
    found = {route: serious_faults(page) for route, page in shown(open_page, world, theme=theme)}
    assert len(found) == len(routes(world))
    assert {route: faults for route, faults in found.items() if faults} == {}


def test_axe_finds_faults_that_were_made(open_page: OpenPage) -> None:
    page = open_page("nonsense")
    page.get_by_role("alert").wait_for()
    page.evaluate("document.querySelector('main').append(document.createElement('button'))")
    assert [identifier for identifier, _ in serious_faults(page)] == ["button-name"]


def test_a_failed_view_loads_again_when_the_server_is_back(open_page: OpenPage, world: World) -> None:
    with proxied(world) as proxy:
        page = open_page()
        page.goto(f"{proxy.url}/#/runs")
        expect(page.get_by_role("cell", name="small map")).to_be_visible()
        page.evaluate("import('/web/js/prompts/view.js')")  # a view that was visited before
        proxy.cut()
        page.get_by_role("link", name="Prompts", exact=True).click()
        expect(page.get_by_role("alert")).to_contain_text("Is the server still running?")
        expect(page.locator(".server")).to_contain_text("no response")
        proxy.restore()
        expect(page.get_by_role("link", name="qa-isotropic-0")).to_be_visible()  # without a click


def test_the_metric_of_a_run_says_whose_it_is(open_page: OpenPage, world: World) -> None:
    run = world.get(f"/v1/runs/{world.tune}")
    members = world.get(f"/v1/runs/{world.tune}/artifacts/members.json")
    own = {name: value for name, value in run["metrics"].items() if name == "validation/loss"}
    (best,) = [
        one["prompt"].split("@")[0] for one in members if one["metrics"]["validation/loss"] == own["validation/loss"]
    ]
    page = open_page("runs")
    row = page.get_by_role("row").filter(has_text=world.tune)
    expect(row).to_contain_text(f"{best} best of 4")
    expect(page.get_by_role("row").filter(has_text=world.map)).not_to_contain_text("best of")


def test_shortcuts_are_listed_and_work(open_page: OpenPage) -> None:
    page = open_page("prompts")
    expect(page.get_by_role("table")).to_be_visible()
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keyboard shortcuts")
    for words in ("open the command palette", "go to Runs", "choose the lasso"):
        expect(dialog).to_contain_text(words)
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    page.keyboard.press("/")
    expect(page.get_by_label("Filter prompts")).to_be_focused()
    page.keyboard.type("g?r")  # a text, not shortcuts
    expect(page.get_by_label("Filter prompts")).to_have_value("g?r")
    expect(dialog).to_have_count(0)
    page.get_by_role("heading", name="Prompts").click()
    page.keyboard.press("g")
    page.keyboard.press("r")
    expect(page.get_by_role("heading", name="Runs", exact=True)).to_be_visible()


def test_the_palette_opens_views_and_objects_by_name(open_page: OpenPage, world: World) -> None:
    page = open_page("runs")
    expect(page.get_by_role("table")).to_be_visible()
    page.keyboard.press("Control+k")
    palette = page.get_by_role("dialog", name="Command palette")
    box = palette.get_by_role("combobox")
    expect(box).to_be_focused()
    assert unnamed(page) == []
    box.fill("vocabulary-1")
    expect(palette.get_by_role("option")).to_have_count(1)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="qa-vocabulary-1@1")).to_be_visible()
    expect(palette).to_have_count(0)
    page.get_by_role("button", name="Command palette").click()
    box.fill("small rep")
    expect(palette.get_by_role("option").first).to_contain_text("small report")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="small report")).to_be_visible()
    page.keyboard.press("Control+k")
    box.fill("no such thing")
    expect(palette).to_contain_text("No command or name matches")
    page.keyboard.press("Enter")
    box.fill("theme")
    page.keyboard.press("Enter")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    expect(page.get_by_role("button", name="Switch to the light theme")).to_be_visible()


def test_no_view_is_wider_than_a_phone(open_page: OpenPage, world: World) -> None:
    wide = {}
    for route, page in shown(open_page, world):
        page.set_viewport_size({"width": N_PHONE_PX, "height": 844})
        page.wait_for_function(f"innerWidth === {N_PHONE_PX}")
        if page.evaluate("document.documentElement.scrollWidth") > N_PHONE_PX:
            wide[route] = page.evaluate(WIDE, N_PHONE_PX)
    assert wide == {}
