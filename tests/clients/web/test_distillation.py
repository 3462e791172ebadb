"""Tests of what the runs view shows of a distillation."""

from __future__ import annotations

import csv
import json
import re
from collections import defaultdict
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.clients.web.conftest import OpenPage
from tests.clients.web.test_runs import short
from tests.clients.web.world import World

SPEC: dict[str, Any] = {
    "model": "demo",
    "dataset": "demo-qa",
    "name": "student",
    "teacher": {"context": "Answer the question in a word.\n"},
    "method": {"kind": "soft", "n_virtual": 4},
    "priors": [{"kind": "isotropic"}],
    "seeds": [0, 1],
    "optimizer": {"lr": 0.01, "steps": 40, "batch_size": 8},
    "eval": {
        "every": 20,
        "n": 12,
        "metrics": ["exact_match", "f1"],
        "max_tokens": 8,
        "samples": 100,
        "sampling": {"n": 2},
        "other": {"dataset": "demo-text", "n": 3},
    },
}


@pytest.fixture(scope="module")
def run_id(world: World) -> str:
    return world.finish("distill", SPEC, name="students")


def rows_of(world: World, run_id: str) -> list[dict[str, Any]]:
    text = world.http.get(f"/v1/runs/{run_id}/artifacts/evaluation.jsonl").text
    return [json.loads(line) for line in text.splitlines()]


def owner_of(row: dict[str, Any]) -> str:
    return row["member"] or ("teacher" if row["stage"] == "teacher" else "no prompt")


def accuracies(rows: list[dict[str, Any]], metric: str) -> dict[str, list[float]]:
    """For each owner, the mean of the scores at each limit of generated tokens, from 0."""
    counted = [row for row in rows if row.get("n_generated") is not None and row["stage"] != "before"]
    longest = max(int(row["n_generated"]) for row in counted)
    by_owner = defaultdict(list)
    for row in counted:
        by_owner[owner_of(row)].append(row)
    return {
        owner: [
            sum(row[metric] for row in own if row["n_generated"] <= limit) / len(own) for limit in range(longest + 1)
        ]
        for owner, own in by_owner.items()
    }


def test_the_curve_is_the_accuracy_within_each_number_of_tokens(open_page: OpenPage, world: World, run_id: str) -> None:
    page = open_page(f"runs/{run_id}?tab=evaluation")
    section = page.locator("section").filter(has=page.get_by_role("heading", name="Accuracy by generated tokens"))
    expected = accuracies(rows_of(world, run_id), "exact_match")
    assert set(expected) == {"no prompt", "teacher", "student-isotropic-0", "student-isotropic-1"}
    assert len({tuple(values) for values in expected.values()}) > 1
    chart = section.locator(".chart canvas")
    for owner, values in expected.items():
        expect(chart).to_have_attribute("aria-label", contains(f"{owner}: {short(values[-1])}"))
    with page.expect_download() as saved:
        section.get_by_role("button", name="Save the accuracies as CSV").click()
    assert saved.value.suggested_filename == "tokens-test-exact_match.csv"
    with open(saved.value.path(), encoding="utf-8", newline="") as file:
        header, *points = list(csv.reader(file))
    assert header == ["series", "generated tokens", "value"]
    for owner, values in expected.items():
        shown = {int(x): float(y) for name, x, y in points if name == owner}
        assert set(shown) >= {0, len(values) - 1}
        # Between two points the curve is their line, so that every whole number has its value.
        xs = sorted(shown)
        for limit, value in enumerate(values):
            left = max(x for x in xs if x <= limit)
            right = min(x for x in xs if x >= limit)
            share = 0.0 if left == right else (limit - left) / (right - left)
            assert shown[left] + share * (shown[right] - shown[left]) == pytest.approx(value)


def test_another_metric_and_hidden_curves(open_page: OpenPage, world: World, run_id: str) -> None:
    page = open_page(f"runs/{run_id}?tab=evaluation")
    section = page.locator("section").filter(has=page.get_by_role("heading", name="Accuracy by generated tokens"))
    section.get_by_label("Metric of answers").select_option("f1")
    expected = accuracies(rows_of(world, run_id), "f1")
    chart = section.locator(".chart canvas")
    expect(chart).to_have_attribute("aria-label", contains(f"teacher: {short(expected['teacher'][-1])}"))
    section.locator(".legend button").filter(has_text="teacher").click()
    expect(chart).not_to_have_attribute("aria-label", contains("teacher: "))


def test_the_table_has_samples_and_text_of_another_domain(open_page: OpenPage, world: World, run_id: str) -> None:
    page = open_page(f"runs/{run_id}?tab=evaluation")
    table = page.get_by_role("table", name="Metrics of each member")
    for name in ("test/pass@2", "test/majority@2", "other/loss"):
        expect(table.get_by_role("columnheader", name=name)).to_be_visible()
    metrics = world.get(f"/v1/runs/{run_id}")["metrics"]
    teacher = table.get_by_role("row").filter(has_text="teacher")
    expect(teacher).to_contain_text(short(metrics["teacher/other/loss"], digits=3))
    page.get_by_label("Filter answers").select_option("wrong")
    page.get_by_label("Member and stage").select_option("no prompt")
    rows = [row for row in rows_of(world, run_id) if row["stage"] == "bare" and row["split"] == "test"]
    wrong = [row for row in rows if row["exact_match"] < 1]
    answers = page.get_by_role("table", name="Answers").locator("tbody tr")
    assert wrong
    expect(answers).to_have_count(len(wrong))


def test_other_runs_have_no_such_curve(open_page: OpenPage, world: World) -> None:
    page = open_page(f"runs/{world.tune}?tab=evaluation")
    expect(page.get_by_role("table", name="Metrics of each member")).to_be_visible()
    expect(page.get_by_role("heading", name="Accuracy by generated tokens")).to_have_count(0)


def contains(text: str) -> re.Pattern[str]:
    return re.compile(re.escape(text))
