"""The record of a study: saved, loaded, and refused if it belongs to another study."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from demo.study.plan import Size
from demo.study.record import FILE, Done, Record, WrongRecord, load_record

RECORD = Record(
    plan="a",
    size=Size(steps=7, seeds=(3, 5)),
    dtype="bfloat16",
    minutes=110.0,
    token_s=1e-3,
    n_records={"squad": 9},
    rates={"soft": 0.05},
    searched={"soft": {"0.05": 1.5}},
    runs={"first": Done(run_id="run-1", seconds=2.0, predicted_s=4.0, prompts=("a@1",), facts={"n_points": 3.0})},
    left_out=("second",),
    reasons={"fits": [{"n": 1, "log_density": None}]},
)


def test_a_record_is_loaded_as_it_was_saved(tmp_path: Path) -> None:
    assert load_record(tmp_path, plan="a") is None
    RECORD.save(tmp_path)
    assert load_record(tmp_path, plan="a") == RECORD
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_a_run_that_is_performed_later_is_no_longer_left_out() -> None:
    later = RECORD.with_run("second", Done(run_id="run-2", seconds=3.0))
    assert (later.left_out, list(later.runs), later.spent_s) == ((), ["first", "second"], 5.0)
    assert (RECORD.left_out, list(RECORD.runs)) == (("second",), ["first"])


def test_the_record_of_another_study_is_refused(tmp_path: Path) -> None:
    RECORD.save(tmp_path)
    with pytest.raises(WrongRecord, match="expected the record of the study 'b', got that of 'a'"):
        load_record(tmp_path, plan="b")


@pytest.mark.parametrize("content", ["", "[]", "{}", json.dumps({"plan": "a", "size": {"step": 1}})])
def test_a_damaged_record_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content)
    with pytest.raises(WrongRecord, match="cannot be read"):
        load_record(tmp_path, plan="a")
