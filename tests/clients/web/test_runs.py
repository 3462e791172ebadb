"""Runs, done and at work."""

from __future__ import annotations

import json
import re

from playwright.sync_api import expect

from tests.clients.web.conftest import OpenPage
from tests.clients.web.world import RUN_NAME, World, tune_spec


def test_the_list_has_every_run_and_names_are_only_names(open_page: OpenPage, world: World) -> None:
    page = open_page("runs")
    expect(page.get_by_role("link", name=RUN_NAME)).to_be_visible()
    assert page.evaluate("window.broken") is None
    page.get_by_label("Kind").select_option("map")
    expect(page.get_by_role("link", name="small map")).to_be_visible()
    expect(page.get_by_role("link", name=RUN_NAME)).to_have_count(0)
    page.get_by_label("Status").select_option("failed")
    expect(page.get_by_text("No such run")).to_be_visible()


def test_curves_end_where_the_run_ended(open_page: OpenPage, world: World) -> None:
    page = open_page(f"runs/{world.tune}")
    expect(page.get_by_role("heading", name=RUN_NAME)).to_be_visible()
    points = world.get(f"/v1/runs/{world.tune}/metrics")["data"]
    last = {point["member"]: point["loss"] for point in points if "loss" in point}
    chart = page.locator(".chart canvas")
    for member, loss in last.items():
        expect(chart).to_have_attribute("aria-label", _contains(f"{member}: {_short(loss)}"))
    page.locator(".legend button").first.click()
    expect(chart).not_to_have_attribute("aria-label", _contains(f"{next(iter(last))}: "))
    page.get_by_label("Measure").select_option("grad_norm")
    expect(chart).to_have_attribute("aria-label", _contains("qa-vocabulary-1: "))


def test_the_evaluation_is_the_members_own(open_page: OpenPage, world: World) -> None:
    page = open_page(f"runs/{world.tune}?tab=evaluation")
    members = world.get(f"/v1/runs/{world.tune}/artifacts/members.json")
    table = page.get_by_role("table", name="Scores of each member")
    for member in members:
        row = table.get_by_role("row").filter(has_text=member["prompt"])
        expect(row).to_contain_text(_short(member["metrics"]["test/loss"], digits=3))
    rows = [
        json.loads(line)
        for line in world.http.get(f"/v1/runs/{world.tune}/artifacts/evaluation.jsonl").text.splitlines()
    ]
    own = [row for row in rows if row["member"] == "qa-vocabulary-0" and row["stage"] == "after"]
    page.get_by_label("Whose answers").select_option("qa-vocabulary-0, after")
    answers = page.get_by_role("table", name="Answers").locator("tbody tr")
    expect(answers).to_have_count(len(own))
    expect(answers.first).to_contain_text(own[0]["input"])


def test_spec_log_and_artifacts(open_page: OpenPage, world: World) -> None:
    page = open_page(f"runs/{world.tune}?tab=spec")
    expect(page.locator("pre").first).to_contain_text('"n_virtual": 4')
    page.get_by_role("tab", name="Log").click()
    expect(page.locator(".log")).to_contain_text("The best of 4")
    page.get_by_role("tab", name="Artifacts").click()
    run = world.get(f"/v1/runs/{world.tune}")
    expect(page.get_by_role("table", name="Artifacts").locator("tbody tr")).to_have_count(len(run["artifacts"]))
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save members.json").click()
    assert len(json.loads(saved.value.path().read_text())) == 4


def test_a_run_is_followed_stopped_and_gone_on_with(open_page: OpenPage, world: World) -> None:
    spec = tune_spec(name="long", seeds=[0], optimizer={"lr": 0.01, "steps": 5000, "batch_size": 2}, checkpoint_every=5)
    run_id = world.start("tune", spec, name="a long one")
    page = open_page(f"runs/{run_id}")
    expect(page.get_by_text("running", exact=True)).to_be_visible()
    chart = page.locator(".chart canvas")
    expect(chart).to_have_attribute("aria-label", _contains("long-vocabulary"))
    seen = chart.get_attribute("aria-label")
    expect(chart).not_to_have_attribute("aria-label", seen or "")  # it grows by itself
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("cancelled", exact=True)).to_be_visible()
    assert world.get(f"/v1/runs/{run_id}")["status"] == "cancelled"
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("cancelled", exact=True)).to_be_visible()


def _short(value: float, digits: int = 4) -> str:
    """A number as the page writes it."""
    if value == int(value):
        return f"{int(value):,}"
    if abs(value) < 1e-3:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{mantissa}e{int(exponent)}".replace("-", "−")
    return f"{float(f'{value:.{digits}g}'):.10g}".replace("-", "−")


def _contains(text: str) -> re.Pattern[str]:
    return re.compile(re.escape(text))
