"""Tests of the reports view: findings, and the sandbox of the report's HTML page."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.clients.web.conftest import OpenPage
from tests.clients.web.world import World


def test_findings_match_the_artifact(open_page: OpenPage, world: World) -> None:
    page = open_page("reports")
    page.get_by_role("link", name="small report").click()
    report = world.get(f"/v1/runs/{world.report}/artifacts/report.json")
    strip = page.get_by_role("group", name="Verdicts").get_by_role("button")
    expect(strip).to_have_count(len(report["findings"]))
    for i, finding in enumerate(report["findings"]):
        expect(strip.nth(i)).to_contain_text(finding["verdict"])
    strip.last.click()
    expect(page.locator(".finding").last).to_be_in_viewport()
    cards = page.locator(".finding")
    expect(cards).to_have_count(len(report["findings"]))
    for i, finding in enumerate(report["findings"]):
        expect(cards.nth(i).get_by_role("heading")).to_have_text(f"{finding['number']}. {finding['title']}")
        expect(cards.nth(i).locator(".badge")).to_have_text(finding["verdict"])


def test_keys_have_labels_and_one_value_has_no_interval(open_page: OpenPage, world: World) -> None:
    report = world.get(f"/v1/runs/{world.report}/artifacts/report.json")
    finding = report["findings"][2]
    numbers = {
        "parts": {"some prior does not collapse": True, "depends on the rate": None, "alike: soft for a:b": False},
        "n_prompts": 2,
        "priors_without_collapse": ["isotropic 0.02"],
        "nearest_cosine_differs_by_prior": {"h": 2.5, "p_value": 0.25},
        "share_within_radius": {"value": 0.5, "low": 0.5, "high": 0.5, "n": 1},
        "norm_ratio": {"value": 0.5, "low": 0.25, "high": 0.75, "n": 4},
        "unknown_key": False,
    }
    made = {**report, "findings": [{**finding, "missing": None, "numbers": numbers}]}
    page = open_page("datasets")
    page.route("**/artifacts/report.json", lambda route: route.fulfill(json=made))
    page.goto(f"{world.url}/#/reports/{world.report}")
    card = page.locator(".finding")
    expect(card.locator("li")).to_have_text(
        [
            "some prior has no collapsed prompt: holds",
            "collapse depends on the learning rate: open",
            "mean scores differ by at most the tolerance: soft for a:b: does not hold",
        ]
    )
    names = card.locator("dl.numbers dt").all_inner_texts()
    values = card.locator("dl.numbers dd").all_inner_texts()
    assert dict(zip(names, values, strict=True)) == {
        "prompts": "2",
        "priors without a collapsed prompt": "isotropic 0.02",
        "cosine to nearest token differs between priors · Kruskal-Wallis H": "2.5",
        "cosine to nearest token differs between priors · p-value": "0.25",
        "share within neighbour radius": "0.5 (too few for an interval)",
        "norm relative to tokens": "0.5 (0.25 to 0.75)",
        "unknown key": "no",
    }


def test_the_numbers_of_a_report_have_no_keys(open_page: OpenPage, world: World) -> None:
    page = open_page(f"reports/{world.report}")
    page.locator(".finding").first.wait_for()
    names = page.locator(".finding dl.numbers dt").all_inner_texts()
    assert names
    assert [name for name in names if "_" in name.replace("qa-", "")] == []


def test_the_page_of_a_report_is_sandboxed(open_page: OpenPage, world: World) -> None:
    page = open_page(f"reports/{world.report}?tab=page", expected="Content Security Policy")
    frame = page.frame_locator("iframe")
    report = world.get(f"/v1/runs/{world.report}/artifacts/report.json")
    expect(frame.get_by_role("heading").first).to_have_text(report["title"])
    expect(frame.locator("body")).to_contain_text(report["findings"][0]["title"])
    inner = page.frames[1]
    tried = inner.evaluate(
        """async () => {
          const attempt = async (work) => { try { await work(); return "done"; } catch (error) { return error.name; } };
          return {
            origin: self.origin,
            parent: await attempt(() => parent.document.title),
            key: await attempt(() => sessionStorage.length),
            fetched: await attempt(() => fetch("/ready")),
          };
        }"""
    )
    assert tried["origin"] == "null"
    assert tried["parent"] == "SecurityError"
    assert tried["key"] == "SecurityError"
    assert tried["fetched"] == "TypeError"
