"""The page: its blocks and pictures from a record with known answers, and the rules of the verdicts."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from demo.distillation.page import page as page_module
from demo.distillation.page.blocks import BLOCKS
from demo.distillation.page.cells import by_step, cells, chosen
from demo.distillation.page.page import PAGE, blocks_of, publish
from demo.distillation.page.picture import save_pictures
from demo.distillation.page.verdicts import earlier, steps_to, verdict_rows
from demo.distillation.record import Record
from demo.study.page.page import with_blocks
from tests.demo.distillation.records import record

RECORD = record()


def without(group: str) -> Record:
    return replace(RECORD, answers=[one for one in RECORD.answers if one.group != group])


def test_the_page_has_exactly_the_blocks() -> None:
    text = PAGE.read_text(encoding="utf-8")
    written = with_blocks(text, blocks=blocks_of(RECORD))
    assert with_blocks(written, blocks=blocks_of(RECORD)) == written


def test_verdicts_follow_their_rules() -> None:
    rows = verdict_rows(RECORD)
    # 39 of 40; 30 of 40 at half the tokens; 8 of 40 against 6 of 40 after tuning on correct answers, exactly 5 points.
    assert [answer for _, answer, _ in rows[:3]] == ["yes", "no", "yes"]
    assert "soft from steps: 97.5 %" in rows[0][2]
    assert "at 0.50 of the tokens" in rows[1][2]
    assert "+5.0" in rows[2][2]
    by_part = {question.rpartition(" of ")[2].removesuffix("?"): answer for question, answer, _ in rows[3:]}
    assert by_part == {
        "all steps": "higher and fewer steps",
        "half the tokens": "fewer steps",
        "the answer": "fewer steps",
    }


def test_verdicts_without_students_are_left_out() -> None:
    assert verdict_rows(without("student")) == []


def test_students_are_chosen_by_validation_loss() -> None:
    cell = chosen(RECORD, "all steps")
    assert cell is not None
    assert (cell.prior, cell.accuracy.value) == ("steps", 39 / 40)
    worse = [replace(one, loss=None if one.loss is None else 0.1 + (one.prior == "steps")) for one in RECORD.answers]
    other = chosen(replace(RECORD, answers=worse), "all steps")
    assert other is not None
    assert other.prior == "isotropic"


def test_of_several_rates_the_one_with_the_lowest_loss_is_kept() -> None:
    (cell,) = cells(RECORD, "capacity")
    assert [one.rate for one in cell.after] == [0.03, 0.03]
    assert cell.accuracy.value == 7 / 40


def test_steps_to_an_accuracy() -> None:
    steps = by_step(RECORD, "all steps", "isotropic")
    assert list(steps) == [0, 1, 2]
    assert steps_to(steps, last=steps[2]) == 2
    assert steps_to(steps, last=steps[1]) == 1
    assert steps_to(steps, last=by_step(RECORD, "all steps", "steps")[2]) is None


def test_an_answer_in_more_tokens_does_not_count() -> None:
    steps = by_step(RECORD, "the answer", "steps")
    longer = {step: [replace(one, n_tokens=[18] * len(one.n_tokens)) for one in found] for step, found in steps.items()}
    assert steps_to(steps, last=steps[2]) == 1
    assert steps_to({**steps, 1: longer[1]}, last=steps[2]) == 2


def test_an_earlier_step_counts_only_if_the_other_prior_is_less_accurate_there() -> None:
    own, other = (by_step(RECORD, "all steps", prior) for prior in ("steps", "isotropic"))
    assert earlier(own, other) == (1, 2)
    assert earlier(other, own)[0] is None
    nearly = {**other, 1: [replace(one, right=[*one.right[:-2], 0, 0]) for one in own[1]]}
    assert earlier(own, {**nearly, 2: own[2]}) == (None, 2)


def test_the_table_has_every_cell() -> None:
    table = BLOCKS["table"](RECORD)
    assert len(table.splitlines()) == 2 + 4 + 2 + 2 + 6
    assert "| no prompt | header: all steps (the teacher) |" in table
    assert "100.0 % (100.0 to 100.0)" in table
    assert "| control, soft | wrong steps | isotropic |" in table


def test_probes_are_shown_at_their_best_layer() -> None:
    assert "| header: all steps | 50 % (layer 5) |" in BLOCKS["capacity"](RECORD)


@pytest.mark.parametrize("group", ["baseline", "capacity", "source"])
def test_what_was_left_out_leaves_the_rest(group: str) -> None:
    for make in BLOCKS.values():
        assert make(replace(without(group), probes=(), spread={}))


def test_publishing_writes_pictures_and_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "PICTURES", tmp_path)
    target = tmp_path / "page.md"
    target.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    console = Console(file=io.StringIO())
    publish(RECORD, page=None, console=console)
    assert not (tmp_path / PAGE.stem).exists()
    publish(RECORD, page=target, console=console)
    assert sorted(path.name for path in (tmp_path / PAGE.stem).iterdir()) == ["map.png", "results.png"]
    assert "97.5 %" in target.read_text(encoding="utf-8")


def test_a_record_without_a_map_has_one_picture(tmp_path: Path) -> None:
    (path,) = save_pictures(replace(RECORD, spread={}, probes=()), folder=tmp_path)
    assert path.read_bytes().startswith(b"\x89PNG")
