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
