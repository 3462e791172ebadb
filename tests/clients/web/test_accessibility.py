"""Tests of contrast, accessible names and titles."""

from __future__ import annotations

import re
from typing import Any, Literal
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from tests.clients.web.conftest import OpenPage
from tests.clients.web.world import RUN_NAME, World, live_run, tune_spec

MIN_CONTRAST = 4.5
"""Of text, WCAG 2.2, success criterion 1.4.3 (AA)."""

# For each visible text: its colour and the colours of all backgrounds below it, innermost first, as sRGB bytes and alpha.
COLLECT = """() => {
  const context = Object.assign(document.createElement("canvas"), {width: 1, height: 1}).getContext("2d");
  const rgba = (css) => {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = css;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data];
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].filter((node) => node.nodeType === 3 && node.data.trim());
    if (!own.length || element.closest(".visually-hidden, [disabled], option, script, noscript, svg, .skip")) continue;
    if (!element.checkVisibility({checkOpacity: true, checkVisibilityCSS: true})) continue;
    const backgrounds = [];
    for (let at = element; at; at = at.parentElement) backgrounds.push(rgba(getComputedStyle(at).backgroundColor));
    found.push({text: own[0].data.trim().slice(0, 40), colour: rgba(getComputedStyle(element).color), backgrounds});
  }
  return found;
}"""


def luminance(colour: list[float]) -> float:
    """Relative luminance of sRGB bytes (WCAG 2.2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (byte / 255 for byte in colour[:3])]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def over(front: list[float], back: list[float]) -> list[float]:
    """Alpha compositing of ``front`` over an opaque ``back``."""
    alpha = front[3] / 255
    return [alpha * f + (1 - alpha) * b for f, b in zip(front[:3], back[:3], strict=True)] + [255]


def contrast(item: dict[str, Any]) -> float:
    """Contrast ratio of a text with the backgrounds below it."""
    back: list[float] = [255, 255, 255, 255]
    for layer in reversed(item["backgrounds"]):
        back = over(layer, back)
    high, low = sorted((luminance(over(item["colour"], back)), luminance(back)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def routes(world: World) -> dict[str, str]:
    """A route by view, and the selector of an element that the view shows when it is loaded."""
    text = quote("Mira went to the mill.")
    return {
        f"atlas/{world.map}?layer=0": ".atlas-legend button",
        "runs": "tbody tr",
        f"runs/{world.tune}": ".legend button",
        f"runs/{world.tune}?tab=evaluation": "tbody tr",
        f"runs/{world.tune}?tab=log": ".log li",
        f"runs/compare?ids={world.tune},{world.map}": ".legend button",
        "runs/new/tune": ".spec-card",
        "datasets": "tbody tr",
        "datasets/demo-qa": ".row-tokens .token",
        "prompts": "tbody tr",
        "prompts/qa-vocabulary-0/1": ".measures .measure",
        "prompts/qa-isotropic-0/1?with=qa-vocabulary-0@1": ".cosine",
        f"playground?text={text}&tokens=3": ".lens td",
        f"playground?text={text}&tokens=3&view=attention": ".attention .heat",
        f"playground?text={text}&tokens=3&view=steer": ".scale",
        f"playground?text={text}&tokens=3&view=concat&prompts=qa-isotropic-0@1,qa-vocabulary-0@1": ".sequence li",
        f"reports/{world.report}": ".finding",
        "runs/run-nothing": "[role=alert]",
        "nonsense": "[role=alert]",
    }


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_all_text_has_enough_contrast(open_page: OpenPage, world: World, theme: Literal["light", "dark"]) -> None:
    page = open_page("runs", theme=theme)
    n, low = 0, []
    for route, loaded in routes(world).items():
        page.goto(f"{world.url}/#/{route}")
        page.reload()
        page.locator(loaded).first.wait_for()
        items = page.evaluate(COLLECT)
        n += len(items)
        low += [(route, item["text"], round(contrast(item), 2)) for item in items if contrast(item) < MIN_CONTRAST]
    assert low == []
    assert n > 300


def test_contrast_is_measured_correctly() -> None:
    """Reference values: black on white is 21:1; #777 on white is 4.48:1."""
    white, black, grey = [255, 255, 255, 255], [0, 0, 0, 255], [0x77, 0x77, 0x77, 255]
    clear = [0, 0, 0, 0]
    assert contrast({"colour": black, "backgrounds": [clear, white]}) == pytest.approx(21)
    assert contrast({"colour": grey, "backgrounds": [clear, white]}) == pytest.approx(4.48, abs=0.005)


def test_progress_bars_have_names(open_page: OpenPage, world: World) -> None:
    with live_run(world, name="with a bar"):
        page = open_page("runs?status=running")
        bar = page.get_by_role("progressbar", name="Progress of with a bar")
        expect(bar).to_have_attribute("aria-valuenow", re.compile(r"\d+"))
        page.get_by_role("link", name="with a bar").click()
        expect(page.get_by_role("heading", name="with a bar")).to_be_visible()
        expect(bar).to_have_attribute("aria-valuenow", re.compile(r"\d+"))


def test_titles_of_tabs_have_kind_name_and_short_id(open_page: OpenPage, world: World) -> None:
    twins = [world.start("tune", tune_spec(name="twin"), name="twin") for _ in range(2)]
    for run_id in twins:
        world.http.post(f"/v1/runs/{run_id}/cancel")
    known = [(world.tune, "tune", RUN_NAME), (world.map, "map", "small map"), (world.report, "report", "small report")]
    expected = {
        run_id: f"{kind} · {name} · {run_id[-6:]} · Prompt Atlas"
        for run_id, kind, name in [*known, *((run_id, "tune", "twin") for run_id in twins)]
    }
    page = open_page("runs")
    assert page.title() == "Runs · Prompt Atlas"
    for run_id, title in expected.items():
        _show(page, f"{world.url}/#/runs/{run_id}", title)
    assert len(set(expected.values())) == 5
    _show(page, f"{world.url}/#/atlas/{world.map}", expected[world.map])
    _show(page, f"{world.url}/#/reports/{world.report}", expected[world.report])
    _show(page, f"{world.url}/#/prompts/qa-isotropic-0/1", "qa-isotropic-0@1 · Prompts · Prompt Atlas")


def _show(page: Page, url: str, title: str) -> None:
    page.goto(url)
    expect(page).to_have_title(title)
