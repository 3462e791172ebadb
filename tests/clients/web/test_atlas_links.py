"""Tests of what the link of the atlas keeps."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.clients.web.conftest import OpenPage
from tests.clients.web.test_atlas import ready
from tests.clients.web.test_atlas_views import expect_link, query_of
from tests.clients.web.world import World


def test_the_link_keeps_hidden_groups_zoom_and_a_lasso(open_page: OpenPage, world: World) -> None:
    page = ready(open_page(f"atlas/{world.map}?layer=3"))
    page.get_by_role("group", name="Legend").get_by_role("button", name="prompts").click()
    page.locator(".point-map").focus()
    for key in ("+", "ArrowLeft", "l"):
        page.keyboard.press(key)
    expect_link(page, "view")
    box = page.locator(".point-map").bounding_box()
    assert box is not None
    corners = [(0.1, 0.15), (0.9, 0.12), (0.8, 0.9), (0.2, 0.85)]
    page.mouse.move(box["x"] + corners[0][0] * box["width"], box["y"] + corners[0][1] * box["height"])
    page.mouse.down()
    for x, y in corners[1:]:
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=40)
    page.mouse.up()
    status = page.locator(".panel [role=status]")
    expect(status).to_contain_text("points")
    selected, before = status.inner_text(), query_of(page)
    assert {"hide", "view", "lasso"} <= set(before)
    assert len(page.url) < 2500
    labels = page.locator(".map-label").evaluate_all(
        "(all) => all.map((e) => [e.textContent, e.style.left, e.style.top])"
    )
    again = ready(open_page(page.url.partition("#/")[2]))
    expect(again.locator(".panel [role=status]")).to_have_text(selected)
    assert query_of(again) == before
    own = again.locator(".map-label")
    assert [name for name, *_ in labels] == own.all_text_contents()
    pressed = again.get_by_role("group", name="Legend").get_by_role("button", name="prompts")
    expect(pressed).to_have_attribute("aria-pressed", "false")
    again.keyboard.press("Escape")
    again.locator(".point-map").focus()
    again.keyboard.press("Escape")
    expect(again).not_to_have_url(re.compile("lasso="))


def test_the_link_keeps_a_search(open_page: OpenPage, world: World) -> None:
    page = ready(open_page(f"atlas/{world.map}?layer=0"))
    page.get_by_label("Find points").fill("clock")
    expect_link(page, "find")
    selected = page.locator(".panel [role=status]").inner_text()
    again = ready(open_page(page.url.partition("#/")[2]))
    expect(again.get_by_label("Find points")).to_have_value("clock")
    expect(again.locator(".panel [role=status]")).to_have_text(selected)
    again.get_by_label("Layer", exact=True).focus()
    again.keyboard.press("ArrowRight")
    expect(again.locator(".atlas-status")).to_contain_text("layer 3")
    expect(again).not_to_have_url(re.compile("find="))
