"""Tests of lists that are longer than a page: filters cover all rows, also those that no page has shown yet."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Page, Route, expect

from tests.clients.web.conftest import OpenPage
from tests.clients.web.world import World

Row = dict[str, Any]

NEWEST = datetime(2026, 5, 20, 12, tzinfo=UTC)
PRIORS = ("isotropic", "vocabulary", "xavier")


def made_up_runs(world: World, n: int) -> list[Row]:
    """Runs like a real one, newest first, an hour apart; every 50th is of another task and has another prior."""
    real = world.get(f"/v1/runs/{world.tune}")
    runs = []
    for i in range(n):
        run = copy.deepcopy(real)
        is_rare = i % 50 == 49
        run |= {"id": f"run-made-up-{i:04}", "name": f"made up {i}", "tags": []}
        run["created_at"] = (NEWEST - timedelta(hours=i)).isoformat()
        run["spec"] |= {"dataset": "rare-task" if is_rare else "demo-qa"}
        run["spec"]["priors"] = [{"kind": "xavier" if is_rare else PRIORS[i % 2]}]
        runs.append(run)
    return runs


def made_up_prompts(world: World, n: int) -> list[Row]:
    """Prompts like a real one, by name; every 50th has another prior and a better score, from a run of another task."""
    [real] = [row for row in world.get("/v1/prompts", manifests=True)["data"] if row["name"] == "qa-isotropic-0"]
    rows = []
    for i in range(n):
        row, is_rare = copy.deepcopy(real), i % 50 == 49
        row["name"] = f"made-up-{i:04}"
        row["manifest"]["name"] = row["name"]
        row["manifest"]["prior"] = {"kind": "xavier" if is_rare else PRIORS[i % 2]}
        row["manifest"]["metrics"] = {"test/exact_match": 0.99 if is_rare else 0.01 * (i % 50)}
        row["manifest"]["run_id"] = f"run-made-up-{i:04}"
        rows.append(row)
    return rows


def serve(page: Page, path: str, rows: Sequence[Row], *, key: str) -> list[int]:
    """Answer requests of a list from ``rows``, in pages as the service makes them; returns the sizes of the pages."""
    sizes: list[int] = []

    def answer(route: Route) -> None:
        query = {name: value for name, [value] in parse_qs(urlsplit(route.request.url).query).items()}
        limit = int(query.get("limit", 20))
        kept = [row for row in rows if query.get("kind") in (None, row["kind"])] if path == "/v1/runs" else list(rows)
        start = 1 + [row[key] for row in kept].index(query["after"]) if "after" in query else 0
        found = kept[start : start + limit]
        has_more = start + limit < len(kept)
        sizes.append(len(found))
        body = {"object": "list", "data": found, "has_more": has_more, "next": found[-1][key] if has_more else None}
        route.fulfill(status=200, content_type="application/json", body=json.dumps(body))

    page.route(lambda url: urlsplit(url).path == path, answer)
    return sizes


def shown(page: Page) -> list[str]:
    """Names of the rows of the table."""
    return [text.splitlines()[0] for text in page.locator("tbody tr td:nth-child(2)").all_inner_texts()]


def test_filters_of_runs_cover_every_page(open_page: OpenPage, world: World) -> None:
    runs = made_up_runs(world, 650)
    page = open_page("datasets")
    serve(page, "/v1/runs", runs, key="id")
    page.goto(f"{world.url}/#/runs")
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(100)
    expect(page.locator("main")).to_contain_text("The first 100 runs.")
    page.get_by_text("Filters", exact=True).click()
    page.get_by_label("Task").select_option("demo-qa")
    expect(rows).to_have_count(100)
    page.get_by_label("Task").select_option("")
    page.goto(f"{world.url}/#/runs?task=rare-task")
    expected = [run["name"] for run in runs if run["spec"]["dataset"] == "rare-task"]
    assert len(expected) == 13
    expect(rows).to_have_count(len(expected))
    expect(page.locator("main")).to_contain_text("13 runs of 650 runs.")
    assert shown(page) == expected
    page.get_by_label("Prior").select_option("isotropic")
    expect(rows).to_have_count(0)
    page.get_by_label("Prior").select_option("xavier")
    expect(rows).to_have_count(len(expected))


def test_a_first_day_ends_the_reading(open_page: OpenPage, world: World) -> None:
    runs = made_up_runs(world, 1500)
    page = open_page("datasets")
    sizes = serve(page, "/v1/runs", runs, key="id")
    since = (NEWEST - timedelta(days=6)).date()
    page.goto(f"{world.url}/#/runs?prior=xavier&since={since}")
    zone = page.evaluate("new Date(2026, 4, 14).getTimezoneOffset()")
    first = datetime(since.year, since.month, since.day, tzinfo=UTC) + timedelta(minutes=zone)
    expected = [
        run["name"]
        for run in runs
        if datetime.fromisoformat(run["created_at"]) >= first and run["spec"]["priors"] == [{"kind": "xavier"}]
    ]
    assert 1 < len(expected) < 5
    expect(page.locator("main")).to_contain_text(f"{len(expected)} runs of the first 600 runs.")
    assert shown(page) == expected
    assert 500 in sizes
    assert sum(sizes[:2]) == 600  # one page more than the days need, and none after it


def test_more_runs_are_shown_on_request_and_stay_when_the_list_is_renewed(open_page: OpenPage, world: World) -> None:
    runs = made_up_runs(world, 250)
    page = open_page("datasets")
    serve(page, "/v1/runs", runs, key="id")
    page.goto(f"{world.url}/#/runs")
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(100)
    page.get_by_role("button", name="Show more").click()
    expect(rows).to_have_count(200)
    page.get_by_role("button", name="Show more").click()
    expect(rows).to_have_count(250)
    expect(page.get_by_role("button", name="Show more")).to_have_count(0)
    # The poll reads the first page: a new run comes first, and a deleted one is gone.
    newest = copy.deepcopy(runs[0]) | {"id": "run-newest", "name": "newest"}
    newest["created_at"] = (NEWEST + timedelta(hours=1)).isoformat()
    del runs[3]
    runs.insert(0, newest)
    expect(page.get_by_role("link", name="newest", exact=True)).to_be_visible()
    expect(page.get_by_role("link", name="made up 3", exact=True)).to_have_count(0)
    assert shown(page) == [run["name"] for run in runs]


def test_filters_of_prompts_cover_every_page(open_page: OpenPage, world: World) -> None:
    prompts = made_up_prompts(world, 1150)
    page = open_page("datasets")
    serve(page, "/v1/prompts", prompts, key="name")
    serve(page, "/v1/runs", made_up_runs(world, 1150), key="id")
    page.goto(f"{world.url}/#/prompts")
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(500)
    page.get_by_text("Filters", exact=True).click()
    page.get_by_label("Metric at least").fill("0.9")
    expected = [row["name"] for row in prompts if row["manifest"]["metrics"]["test/exact_match"] >= 0.9]
    assert len(expected) == 23
    expect(page.locator("main")).to_contain_text("23 prompts of 1,150 prompts.")
    assert shown(page) == expected
    page.get_by_label("Metric at least").fill("")
    page.get_by_label("Filter prompts").fill("up-1149")
    expect(rows).to_have_count(1)
    page.goto(f"{world.url}/#/prompts?task=rare-task&prior=xavier")
    expect(rows).to_have_count(len(expected))
    assert shown(page) == expected
