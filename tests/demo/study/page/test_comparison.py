"""The table that compares the paper, the demo model and the study's model."""

from __future__ import annotations

import pytest

from demo.study.page.comparison import PAPER, comparison, headline, verdicts_of
from demo.study.page.page import DEMO_PAGE
from tests.demo.study.page.test_page import PAGE, report, with_findings


def test_verdicts_are_read_from_a_page() -> None:
    page = with_findings(PAGE, report=report())
    found = verdicts_of(page)
    assert {number: verdict.split(" (")[0] for number, verdict in found.items()} == {
        finding.number: finding.verdict for finding in report().findings
    }
    assert verdicts_of("nothing") == {}


def test_the_page_of_the_demo_model_has_all_verdicts() -> None:
    assert sorted(verdicts_of(DEMO_PAGE.read_text(encoding="utf-8"))) == sorted(PAPER)


def test_every_finding_has_one_row_with_both_verdicts() -> None:
    table = comparison(report(), others={1: "mixed (1 open)"})
    rows = table.strip().splitlines()[2:]
    assert len(rows) == 7
    assert "| mixed (1 open) |" in rows[0]
    assert "| – |" in rows[1]
    for row, finding in zip(rows, report().findings, strict=True):
        assert f"**{finding.verdict}**" in row
        assert PAPER[finding.number] in row


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1, "own draw nearest: soft at 0.01 1"),
        (2, "range of mean scores: soft for qa at 0.01 "),
        (3, "6 of 12 prompts collapsed; share within the radius of a token "),
        (4, "smallest radius of gyration, relative to a random walk: "),
        (5, "apart at all layers: "),
        (6, "soft for qa at 0.01 0.9, others 0.9"),
        (7, "shares of 4 clouds: "),
    ],
)
def test_headlines_have_the_numbers_that_decide(number: int, text: str) -> None:
    assert headline(report().findings[number - 1]).startswith(text)


def test_a_finding_that_was_not_measured_names_what_was_missing() -> None:
    finding = report().findings[0].model_copy(update={"numbers": {}, "missing": "two prompts"})
    assert headline(finding) == "requires two prompts"
