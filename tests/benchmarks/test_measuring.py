"""Holding a contest and writing it down, with sides that are made up."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.measuring.agreement import states_agree, tokens_agree
from benchmarks.measuring.contest import Agreement, Contest, Goal, Result, Side, amount, hold, quotient, speedup
from benchmarks.measuring.machine import Machine
from benchmarks.measuring.report import BEGIN, END, load_all, record_of, render, save, write_page

MACHINE = Machine(
    cpu="Some CPU",
    n_cores=2,
    n_threads=2,
    memory_bytes=8 << 30,
    python="3.11",
    versions={"torch": "2"},
    date="2026-01-02",
)


class Stage:
    """Two sides whose runs take made-up times, and a log of the order in which they ran."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.order: list[str] = []
        self._takes_s = {"ours": iter([50, 2, 1, 2]), "theirs": iter([50, 3, 4, 8])}

    def contest(self, *goals: Goal, holds: bool = True) -> Contest:
        return Contest(
            name="made-up",
            work="Nothing.",
            goals=goals,
            notes=["A note."],
            sides=[
                Side(name="ours", run=lambda: self.run("ours"), metrics=lambda n: {"MB": n}),
                Side(name="theirs", run=lambda: self.run("theirs")),
            ],
            compare=lambda answers: [Agreement(label="both", holds=holds, detail=str(sorted(answers)))],
        )

    def run(self, name: str) -> float:
        self.order.append(name)
        self.now_s += next(self._takes_s[name])
        return 5.0

    def hold(self, *goals: Goal, holds: bool = True) -> Result:
        return hold(self.contest(*goals, holds=holds), n_rounds=3, say=lambda line: None, clock=lambda: self.now_s)


def test_sides_run_in_turn_after_a_warm_up_that_does_not_count() -> None:
    stage = Stage()
    result = stage.hold()
    assert stage.order == ["ours", "theirs"] * 4
    assert result.metrics["ours"] == {"seconds": [2, 1, 2], "MB": [5.0] * 3}
    assert result.metrics["theirs"] == {"seconds": [3, 4, 8]}
    assert result.agreements[0].detail == "['ours', 'theirs']"


def test_a_ratio_is_taken_round_by_round() -> None:
    (goal,) = Stage().hold(speedup("ours", "theirs", at_least=2.0)).goals
    assert (goal.low, goal.median, goal.high) == (1.5, 4.0, 4.0)
    assert goal.reached


@pytest.mark.parametrize(
    ("goal", "reached"),
    [
        (speedup("ours", "theirs", at_least=4.0), True),
        (speedup("ours", "theirs", at_least=4.1), False),
        (speedup("ours", "theirs"), None),
        (quotient("seconds", "ours", "theirs", label="time", at_most=0.25), True),
        (quotient("seconds", "ours", "theirs", label="time", at_most=0.24), False),
        (amount("MB", "ours", label="size", unit="MB", at_most=5), True),
        (amount("MB", "ours", label="size", unit="MB", at_most=4), False),
    ],
)
def test_the_median_must_keep_the_bound(goal: Goal, reached: bool | None) -> None:
    assert Stage().hold(goal).goals[0].reached is reached


def test_wrong_answers_void_a_result() -> None:
    result = Stage().hold(speedup("ours", "theirs", at_least=1.0), holds=False)
    assert not result.is_right
    assert "| wrong answers |" in render([record_of(result, MACHINE)])


def test_tokens_agree_counts_every_difference() -> None:
    agreement = tokens_agree("x", [[1, 2, 3], [4]], [[1, 9, 3], [4, 5]])
    assert not agreement.holds
    assert agreement.detail == "2 of 5 tokens differ"
    assert tokens_agree("x", [[1]], [[1]]).holds


def test_tokens_of_other_rows_are_an_error() -> None:
    with pytest.raises(ValueError, match="expected 2 rows, got 1"):
        tokens_agree("x", [[1]], [[1], [2]])


def test_states_agree_within_a_tolerance_and_shape() -> None:
    zeros = torch.zeros(2, 3)
    assert states_agree("x", zeros + 9e-5, zeros).holds
    assert not states_agree("x", zeros + 2e-4, zeros).holds
    assert not states_agree("x", torch.zeros(2, 1), zeros).holds
    assert not states_agree("x", zeros + torch.nan, zeros).holds


def test_results_survive_their_files(tmp_path: Path) -> None:
    record = record_of(Stage().hold(speedup("ours", "theirs", at_least=2.0)), MACHINE)
    save(record, tmp_path / "results")
    (loaded,) = load_all(tmp_path / "results", order=["missing", "made-up"])
    assert loaded == json.loads(json.dumps(record))


def test_the_page_keeps_its_prose(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    record = record_of(Stage().hold(speedup("ours", "theirs", at_least=2.0)), MACHINE)
    for _ in range(2):
        write_page(page, [record])
    text = page.read_text()
    assert text.startswith(f"before\n{BEGIN}\n")
    assert text.endswith(f"{END}\nafter\n")
    assert "old" not in text
    assert text.count("| made-up | ours : theirs | 4 × (1.5–4) | ≥ 2 | yes |") == 1
    assert "Some CPU, 2 cores, 2 threads, 8 GiB; Python 3.11, torch 2; 2026-01-02" in text


def test_results_of_several_machines_are_told_apart() -> None:
    result = Stage().hold()
    other = replace(result, name="other")
    text = render([record_of(result, MACHINE), record_of(other, replace(MACHINE, cpu="Another"))])
    assert "made-up: Some CPU" in text
    assert "other: Another" in text


def test_a_page_without_markers_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("prose only\n")
    with pytest.raises(ValueError, match="markers"):
        write_page(page, [])
    assert page.read_text() == "prose only\n"
