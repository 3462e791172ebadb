"""The whole loop in a browser alone: upload, tune under three priors, compare, map, probe, save a figure."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.clients.web.conftest import OpenPage
from tests.clients.web.test_datasets import as_csv, upload
from tests.clients.web.test_figures import png_size, saved
from tests.clients.web.world import ARTIFACTS, World

RUN_MS = 600_000
"""Timeout of a run in milliseconds, generous for busy machines."""

RECORDS = [{"question": f"Mira has {i} apples. How many?", "answer": str(i)} for i in range(60)]
PRIORS = ("isotropic", "vocabulary", "xavier")


def picture(page: Page, name: str) -> None:
    page.screenshot(path=ARTIFACTS / f"walk-{name}.png")


def start_and_wait(page: Page) -> None:
    expect(page.get_by_text("The server accepts this spec")).to_be_visible()
    page.get_by_role("button", name="Start the run").click()
    expect(page.get_by_text("succeeded", exact=True)).to_be_visible(timeout=RUN_MS)


def test_a_researcher_does_the_whole_loop_in_the_browser(open_page: OpenPage, world: World) -> None:
    page = open_page("datasets")
    dialog = upload(page, "apples.csv", as_csv(RECORDS))
    dialog.get_by_role("button", name="Store the dataset").click()
    expect(page.locator(".row-tokens .token").first).to_be_visible()
    picture(page, "1-dataset")

    page.get_by_role("link", name="Tune on this").click()
    page.get_by_role("button", name=re.compile("^xavier")).click()
    page.get_by_label("name", exact=True).fill("apples")
    page.get_by_text("optimizer", exact=True).click()
    page.get_by_label("steps", exact=True).fill("12")
    page.get_by_text("eval", exact=True).click()
    # The first n is that of eval, the second one that of its sampling.
    page.get_by_label("n", exact=True).first.fill("4")
    expect(page.get_by_text("The server accepts this spec")).to_be_visible()
    page.get_by_role("heading", name="New run").scroll_into_view_if_needed()
    picture(page, "2-new-run")
    start_and_wait(page)

    page.get_by_role("link", name="Prompts", exact=True).click()
    for prior in PRIORS:
        page.get_by_label(f"Choose apples-{prior}-0@1").check()
    page.get_by_role("button", name="Compare").click()
    table = page.get_by_role("table", name="Metrics and measures")
    for prior in PRIORS:
        expect(table).to_contain_text(f"apples-{prior}-0@1")
    expect(page.locator(".legend button")).to_have_count(3)
    picture(page, "3-compare")

    page.get_by_role("link", name="New map of these").click()
    start_and_wait(page)
    page.get_by_role("link", name="Open the map").click()
    expect(page.locator(".atlas-legend button").first).to_be_visible()
    assert {"draw", "posterior"} <= set(world.get(f"/v1/maps/{page.url.split('/atlas/')[1].split('?')[0]}")["role"])
    picture(page, "4-map")
    name, data = saved(page, "Save the map as PNG")
    assert name.startswith("map-")
    assert min(png_size(data)) > 500

    page.goto(f"{world.url}/#/prompts/apples-xavier-0/1")
    page.get_by_role("link", name="Open in the playground").click()
    page.get_by_label("Text", exact=True).fill("Mira has 7 apples. How many? ")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator(".lens td").first).to_be_visible()
    expect(page.locator(".answer-token").first).to_be_visible()
    picture(page, "5-probe")
