"""The same cells on a terminal, in Markdown and in JSON."""

from __future__ import annotations

import io
import json

from rich.console import Console

from demo.tour.report.tables import as_json, markdown, markdown_table, rich_table, rows, title
from tests.demo.tour.members import job, member, outcome

TABLE = """| prior | seed | exact match, before → after | test loss | steps to loss 0.6 | moved | to a token |
| --- | --- | --- | --- | --- | --- | --- |
| **near** | **3** | **0 % → 99 % [94, 100]** | **8.00 → 0.20** | **10** | **0.50** | **0.75 (0.25)** |
| far | 3 | 0 % → 70 % [65, 75] | 8.00 → 0.60 | 20 | 0.50 | 0.75 (0.25) |
"""


def test_a_table_in_markdown() -> None:
    assert markdown_table(outcome()) == TABLE
    assert markdown([outcome()]).startswith(f"{title(outcome())}\n\n{TABLE}")
    assert title(outcome()) == "tried: 2 prompts in one run, 20 steps, lr 0.01; the model alone: 0 %"


def test_the_same_on_a_terminal() -> None:
    console = Console(file=io.StringIO(), width=140)
    console.print(rich_table(outcome()))
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert [line.split()[0] for line in printed.splitlines()] == ["prior", "near", "far"]
    assert "0 % → 70 % [65, 75]" in printed


def test_several_learning_rates_are_a_column() -> None:
    first = member("near", losses=[8.0, 0.5], after=0.9)
    second = type(first)(**{**vars(first), "lr": 0.1})
    several = outcome(job=job(optimizer={"lr": [0.01, 0.1], "steps": 20}), members=(first, second))
    assert [row[2] for row in rows(several)] == ["0.01", "0.1"]


def test_missing_values_are_dashes() -> None:
    one = member("near", losses=[8.0], after=0.9)
    bare = type(one)(**{**vars(one), "metrics": {}, "curve": None, "distances_by_tensor": {}})
    (row,) = rows(outcome(members=(bare,)))
    assert row[2:] == ("–", "–", "–", "–", "–")
    assert "alone" not in title(outcome(members=(bare,)))


def test_json_has_all_values() -> None:
    found = json.loads(as_json([outcome()], device="cpu"))
    assert found["device"] == "cpu"
    (run,) = found["runs"]
    assert (run["run_id"], run["common_validation_loss"], run["best"]) == ("run-1", 0.6, "t-near-3@1")
    near, far = run["members"]
    assert near["prior"] == {"label": "near", "kind": "isotropic", "std": 0.02}
    assert far["steps_to_common_loss"] == 20
    assert near["distances_by_tensor"]["soft"] == near["distances"]
    assert far["metrics"]["test/exact_match_low"] == 0.70 - 0.05
