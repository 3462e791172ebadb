from __future__ import annotations

import re
from typing import Any

import pytest

from tests.workers.reports.evidence_made_up import evidence, tuned
from workers.reports.rendering.figures import draw_figures
from workers.reports.rendering.page import number, render, tables_of

HOSTILE = '"><img src=http://x onerror=alert(1)>&'
REPORT: dict[str, Any] = {
    "title": HOSTILE,
    "model": HOSTILE,
    "revision": "0123456789abcdef",
    "findings": [
        {
            "number": 1,
            "title": HOSTILE,
            "rule": HOSTILE,
            "verdict": "mixed",
            "missing": None,
            "numbers": {
                "parts": {HOSTILE: True, "b": None, "c": False},
                "by_prior": {"moved": {HOSTILE: {"value": 1.0, "low": 0.5, "high": 2.0, "n": 3}}},
            },
        },
        {"number": 2, "title": "b", "rule": "r", "verdict": "not measured", "missing": HOSTILE, "numbers": {}},
    ],
    "collapse": {HOSTILE: {"prior": HOSTILE, "seed": None, "nearest_distance": 0.25}},
    "spec": {"datasets": [HOSTILE], "prompts": [], "seed": 0, "samples": 99},
    "versions": {},
}


def test_all_text_is_escaped() -> None:
    page = render(REPORT, figures={"prompts": "<svg></svg>"})
    assert "<img" not in page
    assert page.count("&lt;img") >= 8
    assert page.count("<svg></svg>") == 1
    assert "mixed" in page
    assert "1 (0.5 to 2)" in page


def test_parts_are_told() -> None:
    page = render(REPORT, figures={})
    found = re.findall(r"<li>(.*?): <b>(.*?)</b>", page)
    assert [state for _, state in found] == ["holds", "open", "does not hold"]


def test_figures_with_odd_names_are_text() -> None:
    prior = "<b>$x_{$</b>&"
    found = evidence(*[tuned(prior, seed, moved=0.1, score=1, steps=5) for seed in range(2)])
    figures = draw_figures(found, separation=[], trajectories=[], shapes=[])
    assert set(figures) == {"prompts", "curves", "tasks"}
    assert all("<b>" not in svg for svg in figures.values())
    assert "&lt;b&gt;$x_{$&lt;/b&gt;&amp;" in figures["curves"]


def test_figures_are_the_same_bytes_each_time() -> None:
    found = evidence(tuned("near", 0, moved=0.1, score=1, steps=5))
    once, twice = (draw_figures(found, separation=[], trajectories=[], shapes=[]) for _ in range(2))
    assert once == twice


def test_one_value_has_no_interval() -> None:
    (table,) = tables_of({"by_prior": {"moved": {"x": {"value": 1.0, "low": 1.0, "high": 1.0, "n": 1}}}})
    assert table.rows == [("x", ["1 (too few for an interval)"])]


def test_tables_of_intervals_and_of_records() -> None:
    interval = {"value": 1.0, "low": 0.0, "high": 2.0, "n": 3}
    first, second = tables_of(
        {
            "parts": {"a": True},
            "test": {"h": 1.0, "p_value": 0.5},
            "by_prior": {"moved": {"x": interval}, "steps": {"x": {**interval, "n_never": 2.0}, "y": {"n_never": 3.0}}},
            "pairs": {"a | b": {"apart_at": [0, 2], "n": 3}, "a | c": {"apart_at": [], "n": 3}},
        }
    )
    assert (first.caption, first.columns) == ("by prior", ["moved", "steps"])
    assert first.rows == [("x", ["1 (0 to 2)", "1 (0 to 2), 2 never"]), ("y", ["–", "–, 3 never"])]
    assert (second.caption, second.columns) == ("pairs", ["apart_at", "n"])
    assert second.rows == [("a | b", ["0, 2", "3"]), ("a | c", ["none", "3"])]


@pytest.mark.parametrize(("value", "shown"), [(None, "–"), (0.123456, "0.1235"), (3, "3"), ("x", "x")])
def test_values_of_tables(value: Any, shown: str) -> None:
    assert number(value) == shown


def test_json_keys_are_shown_as_labels() -> None:
    report = {
        **REPORT,
        "findings": [
            {**REPORT["findings"][0], "numbers": {"parts": {"alike: soft for a: b": True, "other": True}, "x": {}}},
        ],
        "collapse": {"a@1": {"nearest_distance": 0.25, "effective_rank": 2.0}},
    }
    page = render(report, figures={})
    assert "<li>mean scores differ by at most the tolerance: soft for a: b: <b>holds</b></li>" in page
    assert "<li>other: <b>holds</b></li>" in page
    assert "<th>distance to nearest token</th>" in page
    assert "_" not in "".join(re.findall(r"<th>(.*?)</th>", page))
