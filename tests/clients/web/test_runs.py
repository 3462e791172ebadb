"""Tests of the runs view."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import datetime
from functools import partial
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.clients.web.conftest import OpenPage
from tests.clients.web.world import RUN_NAME, World, live_run


def test_the_list_has_every_run_and_shows_names_as_text(open_page: OpenPage, world: World) -> None:
    page = open_page("runs")
    expect(page.get_by_role("link", name=RUN_NAME, exact=True)).to_be_visible()
    assert page.evaluate("window.broken") is None
    page.get_by_label("Kind").select_option("map")
    expect(page.get_by_role("link", name="small map")).to_be_visible()
    expect(page.get_by_role("link", name=RUN_NAME, exact=True)).to_have_count(0)
    page.get_by_label("Status").select_option("failed")
    expect(page.get_by_text("No matching runs")).to_be_visible()


def test_curves_end_at_the_last_metrics(open_page: OpenPage, world: World) -> None:
    page = open_page(f"runs/{world.tune}")
    expect(page.get_by_role("heading", name=RUN_NAME)).to_be_visible()
    points = world.get(f"/v1/runs/{world.tune}/metrics")["data"]
    last = {point["member"]: point["loss"] for point in points if "loss" in point}
    chart = page.locator(".chart canvas")
    for member, loss in last.items():
        expect(chart).to_have_attribute("aria-label", _contains(f"{member}: {short(loss)}"))
    page.locator(".legend button").first.click()
    expect(chart).not_to_have_attribute("aria-label", _contains(f"{next(iter(last))}: "))
    page.get_by_label("Metric", exact=True).select_option("grad_norm")
    expect(chart).to_have_attribute("aria-label", _contains("qa-vocabulary-1: "))


def test_curves_over_seconds_are_those_of_the_reported_times(open_page: OpenPage, world: World) -> None:
    page = open_page(f"runs/{world.tune}")
    chart = page.locator(".chart canvas")
    expect(chart).to_have_attribute("aria-label", _contains("Chart over step."))
    page.get_by_label("Horizontal axis").select_option("seconds")
    expect(chart).to_have_attribute("aria-label", _contains("Chart over seconds."))
    rows = _saved_csv(page)
    start = datetime.fromisoformat(world.get(f"/v1/runs/{world.tune}")["started_at"])
    points = [p for p in world.get(f"/v1/runs/{world.tune}/metrics")["data"] if "loss" in p]
    expected = {
        (point["member"], point["loss"]): (datetime.fromisoformat(point["time"]) - start).total_seconds()
        for point in points
    }
    training = [row for row in rows if not row["series"].endswith(", validation")]
    found = {(row["series"], float(row["value"])): float(row["seconds"]) for row in training}
    assert found == pytest.approx(expected, abs=0.002)  # JavaScript's times have milliseconds


def test_compared_curves_over_seconds(open_page: OpenPage, world: World) -> None:
    page = open_page(f"runs/compare?ids={world.tune},{world.map}")
    page.get_by_label("Horizontal axis").select_option("seconds")
    expect(page.locator(".chart canvas")).to_have_attribute("aria-label", _contains("Chart over seconds."))
    rows = _saved_csv(page)
    page.get_by_label("Horizontal axis").select_option("step")
    by_step = _saved_csv(page)
    assert [row["value"] for row in rows] == [row["value"] for row in by_step]
    assert {float(row["step"]).is_integer() for row in by_step} == {True}
    assert {float(row["seconds"]).is_integer() for row in rows} != {True}


def _saved_csv(page: Page) -> list[dict[str, str]]:
    """The points of the chart."""
    with page.expect_download() as saved:
        page.get_by_role("button", name="CSV").click()
    return list(csv.DictReader(io.StringIO(saved.value.path().read_text())))


def test_the_list_is_filtered_by_fields(open_page: OpenPage, world: World) -> None:
    page = open_page("runs")
    table = page.get_by_role("table", name="Runs")
    page.get_by_text("Filters", exact=True).click()
    page.get_by_label("Prior").select_option("vocabulary")
    page.get_by_label("Task").select_option("demo-qa")
    shown = [
        run["id"]
        for run in world.get("/v1/runs", limit=100)["data"]
        if "vocabulary" in [prior["kind"] for prior in run["spec"].get("priors", [])]
        and run["spec"].get("dataset") == "demo-qa"
    ]
    expect(table.locator("tbody tr")).to_have_count(len(shown))
    assert world.tune in shown
    assert "prior=vocabulary" in page.url
    page.reload()
    expect(table.locator("tbody tr")).to_have_count(len(shown))
    page.get_by_label("Created since").fill("2100-01-01")
    expect(table.locator("tbody tr")).to_have_count(0)
    expect(page.locator("main")).to_contain_text("0 runs of")
    page.get_by_role("button", name="Clear the filters").click()
    expect(page.get_by_role("link", name="small map")).to_be_visible()
    assert "prior=" not in page.url


def test_training_and_validation_curves_have_different_swatches(open_page: OpenPage, world: World) -> None:
    page = open_page(f"runs/{world.tune}")
    keys = page.locator(".legend button")
    training = keys.filter(has_text=re.compile(r"^qa-vocabulary-1$")).locator(".line-swatch")
    validation = keys.filter(has_text="qa-vocabulary-1, validation").locator(".line-swatch")
    colours = [
        swatch.evaluate("swatch => swatch.style.getPropertyValue('--colour')") for swatch in (training, validation)
    ]
    assert colours[0] == colours[1]  # one member, one colour
    images = [
        swatch.evaluate("swatch => getComputedStyle(swatch).backgroundImage") for swatch in (training, validation)
    ]
    assert images[0] == "none"  # solid
    assert images[1].startswith("repeating-linear-gradient")  # dashed


def test_runs_open_on_a_tab_with_content(open_page: OpenPage, world: World) -> None:
    assert world.get(f"/v1/runs/{world.map}/metrics")["data"] == []
    page = open_page(f"runs/{world.map}")
    expect(page.get_by_role("tab", selected=True).first).to_have_text("Artifacts")
    expect(page.get_by_role("tab", name="Curves")).to_have_count(0)
    page = open_page(f"runs/{world.tune}")
    expect(page.get_by_role("tab", selected=True).first).to_have_text("Curves")
    page.get_by_role("tab", name="Spec").click()
    assert page.url.endswith("?tab=spec")
    page.reload()
    expect(page.get_by_role("tab", selected=True).first).to_have_text("Spec")
    expect(page.get_by_role("tab", name="Curves")).to_be_visible()


def test_kinds_of_runs_come_from_the_server(open_page: OpenPage, world: World) -> None:
    capabilities = world.get("/v1/capabilities")
    kinds = ["tune", "map", "a-kind-of-tomorrow"]
    answers = {"with": {**capabilities, "run_kinds": kinds}}
    answers["without"] = {name: value for name, value in capabilities.items() if name != "run_kinds"}
    present = sorted({run["kind"] for run in world.get("/v1/runs", limit=100)["data"]})
    for answer, expected in ((answers["with"], kinds), (answers["without"], present)):
        page = open_page("reports")
        page.route("**/v1/capabilities", partial(_answer, answer))
        page.goto(f"{world.url}/#/runs")
        expect(page.get_by_label("Kind").locator("option")).to_have_text(["all kinds", *expected])


def _answer(body: dict[str, Any], route: Route) -> None:
    route.fulfill(json=body)


def test_the_evaluation_matches_the_artifacts(open_page: OpenPage, world: World) -> None:
    page = open_page(f"runs/{world.tune}?tab=evaluation")
    members = world.get(f"/v1/runs/{world.tune}/artifacts/members.json")
    table = page.get_by_role("table", name="Metrics of each member")
    for member in members:
        row = table.get_by_role("row").filter(has_text=member["prompt"])
        expect(row).to_contain_text(short(member["metrics"]["test/loss"], digits=3))
    rows = [
        json.loads(line)
        for line in world.http.get(f"/v1/runs/{world.tune}/artifacts/evaluation.jsonl").text.splitlines()
    ]
    own = [row for row in rows if row["member"] == "qa-vocabulary-0" and row["stage"] == "after"]
    page.get_by_label("Member and stage").select_option("qa-vocabulary-0, after")
    answers = page.get_by_role("table", name="Answers").locator("tbody tr")
    expect(answers).to_have_count(len(own))
    expect(answers.first).to_contain_text(own[0]["input"])


def test_spec_log_and_artifacts_are_shown(open_page: OpenPage, world: World) -> None:
    page = open_page(f"runs/{world.tune}?tab=spec")
    expect(page.locator("pre").first).to_contain_text('"n_virtual": 4')
    page.get_by_role("tab", name="Log").click()
    expect(page.locator(".log")).to_contain_text("The best of 4")
    page.get_by_role("tab", name="Artifacts").click()
    run = world.get(f"/v1/runs/{world.tune}")
    expect(page.get_by_role("table", name="Artifacts").locator("tbody tr")).to_have_count(len(run["artifacts"]))
    with page.expect_download() as saved:
        page.get_by_role("button", name="Download members.json").click()
    assert len(json.loads(saved.value.path().read_text())) == 4


def test_notes_and_tags_are_edited_and_narrow_the_list(open_page: OpenPage, world: World) -> None:
    page = open_page(f"runs/{world.map}")
    page.get_by_role("button", name="Add notes and tags").click()
    note = "Layer 3 separates the tasks.\n<b>Layer 0</b> does not."
    page.get_by_label("Notes", exact=True).fill(note)
    page.get_by_role("textbox", name="Tags").fill("two/words")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status").filter(has_text="tags.0")).to_be_visible()  # the form stays, with the refusal
    page.get_by_role("textbox", name="Tags").fill("pilot, layers:0-3")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".notes")).to_have_text(note)
    expect(page.get_by_role("button", name="Edit notes and tags")).to_be_focused()
    run = world.get(f"/v1/runs/{world.map}")
    assert (run["notes"], run["tags"]) == (note, ["pilot", "layers:0-3"])
    page.reload()
    expect(page.locator(".notes")).to_have_text(note)
    page.get_by_role("link", name="layers:0-3").click()
    table = page.get_by_role("table", name="Runs")
    expect(table.locator("tbody tr")).to_have_count(1)
    expect(table).to_contain_text("small map")
    expect(page.get_by_label("Tag", exact=True)).to_have_value("layers:0-3")
    page.get_by_label("Tag", exact=True).select_option("")
    expect(page.get_by_role("link", name=RUN_NAME, exact=True)).to_be_visible()
    page.get_by_label("Tag", exact=True).select_option("pilot")
    expect(table.locator("tbody tr")).to_have_count(1)
    assert page.url.endswith("?tag=pilot")


def test_discarded_notes_are_not_saved(open_page: OpenPage, world: World) -> None:
    page = open_page(f"runs/{world.report}")
    page.get_by_role("button", name="Add notes and tags").click()
    page.get_by_label("Notes", exact=True).fill("never")
    page.get_by_role("button", name="Discard").click()
    expect(page.get_by_role("button", name="Add notes and tags")).to_be_focused()
    assert world.get(f"/v1/runs/{world.report}")["notes"] == ""


def test_a_live_run_is_followed_cancelled_and_resumed(open_page: OpenPage, world: World) -> None:
    with live_run(world, name="a long one") as run_id:
        page = open_page(f"runs/{run_id}")
        expect(page.get_by_text("running", exact=True)).to_be_visible()
        chart = page.locator(".chart canvas")
        expect(chart).to_have_attribute("aria-label", _contains("live-vocabulary"))
        seen = chart.get_attribute("aria-label")
        expect(chart).not_to_have_attribute("aria-label", seen or "")  # it is updated without a reload
        page.get_by_role("button", name="Cancel").click()
        expect(page.get_by_text("cancelled", exact=True)).to_be_visible()
        assert world.get(f"/v1/runs/{run_id}")["status"] == "cancelled"
        page.get_by_role("button", name="Resume").click()
        expect(page.get_by_role("button", name="Cancel")).to_be_visible()
        page.get_by_role("button", name="Cancel").click()
        expect(page.get_by_text("cancelled", exact=True)).to_be_visible()


def short(value: float, digits: int = 4) -> str:
    """A number in the format of the page."""
    if value == int(value):
        return f"{int(value):,}"
    if abs(value) < 1e-3:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{mantissa}e{int(exponent)}".replace("-", "−")
    return f"{float(f'{value:.{digits}g}'):.10g}".replace("-", "−")


def _contains(text: str) -> re.Pattern[str]:
    return re.compile(re.escape(text))
