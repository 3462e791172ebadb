"""Before and after, with a missing value, as cells, in Markdown and as fields."""

from __future__ import annotations

import io

from rich.console import Console

from demo.tour.outcomes import Outcome
from demo.tour.report.comparison import as_fields, comparison, markdown_table, rich_table
from tests.demo.tour.members import job, member, outcome

TABLE = """| variant | exact match | format | loss |
| --- | --- | --- | --- |
| bare | 0 % | – | – |
| instructed | 12 % | 50 % | 2.00 |
| near, draw | 0 % | – | 8.00 |
| near, tuned | 90 % [85, 95] | 75 % | 0.20 |
"""


def run() -> Outcome:
    one = member("near", losses=[8.0, 0.2], after=0.9)
    metrics = {**one.metrics, "test/format": 0.75}
    return outcome(members=(type(one)(**{**vars(one), "metrics": metrics}),), job=job(format="number"))


BASELINES = {"d": {"bare/test/exact_match": 0.12, "bare/test/loss": 2.0, "bare/test/format": 0.5}}


def test_all_variants_in_markdown() -> None:
    assert markdown_table(comparison(run(), baselines=BASELINES, reference="instructed")) == TABLE


def test_the_same_on_a_terminal() -> None:
    file = io.StringIO()
    Console(file=file, width=120).print(rich_table(comparison(run(), baselines=BASELINES, reference="instructed")))
    printed = [line.split() for line in file.getvalue().splitlines()]
    assert printed[0] == ["variant", "exact", "match", "format", "loss"]
    assert printed[-1] == ["near,", "tuned", "90", "%", "[85,", "95]", "75", "%", "0.20"]


def test_fields_have_what_was_measured() -> None:
    bare, *_, tuned = as_fields(comparison(run(), baselines=BASELINES, reference="instructed"))
    assert bare == {"variant": "bare", "exact_match": {"value": 0.0, "low": None, "high": None}}
    assert tuned["exact_match"] == {"value": 0.9, "low": 0.9 - 0.05, "high": 0.9 + 0.05}
    assert tuned["format"]["value"] == 0.75


def test_without_an_instructed_model_its_row_is_missing() -> None:
    rows = comparison(run(), baselines={}, reference="instructed")
    assert [row.variant for row in rows] == ["bare", "near, draw", "near, tuned"]
