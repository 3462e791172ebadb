"""Tests of comparisons: chosen rows, tables with the best marked, overlaid curves, cosines, and sorted lists."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page, expect
from safetensors.numpy import load

from tests.clients.web.conftest import OpenPage
from tests.clients.web.test_manners import unnamed
from tests.clients.web.test_runs import short
from tests.clients.web.world import World

REFS = ("qa-isotropic-0", "qa-isotropic-1", "qa-vocabulary-0")


def names_in(page: Page) -> list[str]:
    return page.get_by_role("table").locator("tbody tr td:nth-child(2) a").all_inner_texts()


def test_the_prompt_list_is_one_request_and_sorts(open_page: OpenPage, world: World) -> None:
    page = open_page("reports")
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.get_by_role("link", name="Prompts", exact=True).click()
    expect(page.get_by_role("table", name="Prompts")).to_be_visible()
    assert len([url for url in requests if "/v1/prompts" in url]) == 1
    rows = world.get("/v1/prompts", manifests=True)["data"]
    loss = {row["name"]: row["manifest"]["metrics"]["test/f1"] for row in rows if row["name"].startswith("qa-")}
    page.get_by_label("Filter prompts").fill("qa-")
    page.get_by_role("button", name="Metric").click()
    expect(page.get_by_role("columnheader", name="Metric")).to_have_attribute("aria-sort", "ascending")
    assert [loss[name] for name in names_in(page)] == sorted(loss.values())
    page.get_by_role("button", name="Metric").click()
    expect(page.get_by_role("columnheader", name="Metric")).to_have_attribute("aria-sort", "descending")
    assert [loss[name] for name in names_in(page)] == sorted(loss.values(), reverse=True)
    page.get_by_label("Filter prompts").fill("soft vocabulary")
    assert sorted(names_in(page)) == sorted(
        row["name"] for row in rows if (row["manifest"]["prior"] or {}).get("kind") == "vocabulary"
    )


def test_chosen_prompts_are_compared(open_page: OpenPage, world: World) -> None:
    page = open_page("prompts")
    compare = page.get_by_role("button", name="Compare")
    for i, name in enumerate(REFS):
        expect(compare).to_be_disabled() if i < 2 else expect(compare).to_be_enabled()
        page.get_by_label(f"Choose {name}@1").check()
    compare.click()
    expect(page.get_by_role("heading", name="Compare prompts")).to_be_visible()
    manifests = [world.get(f"/v1/prompts/{name}/versions/1") for name in REFS]
    table = page.get_by_role("table", name="Metrics and measures")
    for metric, best in (("test/loss", min), ("validation/loss", min)):
        values = [manifest["metrics"][metric] for manifest in manifests]
        row = table.get_by_role("row").filter(has=page.get_by_role("cell", name=metric, exact=True))
        marked = row.locator(".best")
        expect(marked).to_have_count(values.count(best(values)))
        expect(marked.first).to_have_text(short(best(values)))
    low, high = (manifests[0]["metrics"][f"test/loss_{end}"] for end in ("low", "high"))
    expect(table).to_contain_text(f"{short(low, digits=3)} to {short(high, digits=3)}")
    assert unnamed(page) == []
    vectors = [load(world.http.get(f"/v1/prompts/{name}/versions/1/content").content)["soft"].ravel() for name in REFS]
    units = np.stack([one / np.linalg.norm(one) for one in np.stack(vectors).astype(np.float64)])
    cosines = units @ units.T
    cells = page.get_by_role("table", name="Cosines of soft").locator("tbody td")
    expect(cells).to_have_count(9)
    shown = [float(text.replace("−", "-")) for text in cells.all_inner_texts()]
    np.testing.assert_allclose(shown, cosines.ravel(), rtol=5e-3, atol=5e-4)


def test_seeds_of_a_prior_are_shown_as_mean_and_range(open_page: OpenPage, world: World) -> None:
    page = open_page("prompts/qa-isotropic-0/1?with=qa-isotropic-1@1,qa-vocabulary-0@1")
    chart = page.locator(".chart canvas")
    points = world.get(f"/v1/runs/{world.tune}/metrics")["data"]
    last = {point["member"]: point["loss"] for point in points if "loss" in point}
    expect(chart).to_have_attribute("aria-label", re.compile(f"qa-isotropic-0@1: {short(last['qa-isotropic-0'])}"))
    page.get_by_label("seeds as mean and range").check()
    mean = (last["qa-isotropic-0"] + last["qa-isotropic-1"]) / 2
    expect(chart).to_have_attribute("aria-label", re.compile(rf"isotropic, std 0.02 \(mean of 2\): {short(mean)}"))
    page.get_by_label("log y").check()
    page.get_by_label("log x").check()
    expect(page.locator(".legend button")).to_have_count(2)


def test_smoothing_is_an_exponential_moving_average(open_page: OpenPage) -> None:
    page = open_page("runs")
    values = np.random.default_rng(3).normal(size=17)
    script = """async ([points, weight]) => (await import("/web/js/runs/overlay.js")).smoothed(points, weight)"""
    for weight in (0.0, 0.3, 0.9):
        shown = page.evaluate(script, [[[i, value] for i, value in enumerate(values.tolist())], weight])
        weights = [weight ** np.arange(n, -1, -1) for n in range(len(values))]
        expected = [
            float(np.average(values[: n + 1], weights=w)) if weight else values[n] for n, w in enumerate(weights)
        ]
        np.testing.assert_allclose([y for _, y in shown], expected, rtol=1e-9)


def test_runs_are_compared(open_page: OpenPage, world: World) -> None:
    page = open_page("runs")
    for run_id in (world.tune, world.map):
        page.get_by_label(f"Choose {run_id}").check()
    with page.expect_response("**/v1/runs?*"):  # the list is loaded again and keeps the choice
        pass
    expect(page.get_by_label(f"Choose {world.map}")).to_be_checked()
    page.get_by_role("button", name="Compare").click()
    table = page.get_by_role("table", name="Metrics of the runs")
    run = world.get(f"/v1/runs/{world.tune}")
    row = table.get_by_role("row").filter(has=page.get_by_role("cell", name="test/loss", exact=True))
    expect(row).to_contain_text(short(run["metrics"]["test/loss"]))
    expect(table).to_contain_text("best of 4")
    specs = page.get_by_role("table", name="Differences of the specs")
    expect(specs.get_by_role("row").filter(has_text="optimizer.steps")).to_contain_text("30")
    expect(specs.get_by_role("row").filter(has=page.get_by_role("cell", name="model", exact=True))).to_have_count(0)
    expect(page.locator(".legend button")).to_have_count(4)
    assert unnamed(page) == []


def test_at_most_eight_rows_are_chosen(open_page: OpenPage, world: World) -> None:
    rows = world.get("/v1/prompts", manifests=True)["data"]
    many: dict[str, Any] = {"object": "list", "has_more": False, "next": None}
    many["data"] = [{**rows[0], "name": f"copy-{i}"} for i in range(9)]
    page = open_page("reports")
    page.route("**/v1/prompts?*", lambda route: route.fulfill(json=many))
    page.get_by_role("link", name="Prompts", exact=True).click()
    for i in range(8):
        page.get_by_label(f"Choose copy-{i}@").check()
    page.get_by_label("Choose copy-8@").click()
    expect(page.get_by_label("Choose copy-8@")).not_to_be_checked()
    expect(page.get_by_text("8 prompts chosen, the most at once")).to_be_visible()


@pytest.mark.parametrize("ref", REFS)
def test_a_sibling_is_preselected(open_page: OpenPage, world: World, ref: str) -> None:
    page = open_page(f"prompts/{ref}/1")
    picker = page.get_by_label("Compare with")
    value = picker.input_value()
    assert value.startswith("qa-")
    assert value != f"{ref}@1"
