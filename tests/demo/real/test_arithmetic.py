"""Questions and answers on alternate lines, and operands that no two splits share."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo.real.arithmetic import arithmetic, operands
from demo.real.folder import BadData, MissingData
from tests.demo.real.real_files import MATHS, write_maths


def test_all_questions_are_read_once(tmp_path: Path) -> None:
    write_maths(tmp_path)
    found = arithmetic(tmp_path)
    by_question = {record["question"]: record for record in found.records}
    assert len(by_question) == len(found.records) == 9
    assert found.n_left_out == 1  # 3 * 80 is in two files
    one = by_question["Calculate -18.1 + 0.144."]
    assert (one["answer"], one["answers"], one["level"], one["module"]) == (
        "-17.956",
        ["-17.956"],
        "medium",
        "add_or_sub",
    )
    assert found.text(one) == ("Question: Calculate -18.1 + 0.144.\nAnswer:", " -17.956")


def test_equal_operands_are_in_one_split(tmp_path: Path) -> None:
    write_maths(tmp_path)
    for seed in range(8):
        found = arithmetic(tmp_path, seed=seed)
        splits = {record["question"]: record["split"] for record in found.records}
        assert splits["What is 1 plus 2?"] == splits["2+1"]
        assert set(splits.values()) == {"train", "validation", "test"}


def test_operands_have_no_signs_and_no_order() -> None:
    assert operands("What is -0.37 - -220?") == operands("220 + 0.37") == ("0.37", "220")
    assert operands("3 * 30") != operands("3 * 3")


def test_modules_and_levels_can_be_chosen(tmp_path: Path) -> None:
    write_maths(tmp_path)
    found = arithmetic(tmp_path, modules=("add_or_sub",), levels=("easy", "medium"))
    assert {record["module"] for record in found.records} == {"add_or_sub"}


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    write_maths(tmp_path, {key: text for key, text in MATHS.items() if key != ("medium", "mul")})
    with pytest.raises(MissingData, match=r"train-medium/arithmetic__mul\.txt"):
        arithmetic(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 + 1\n2\n3 + 4\n", "alternate lines, got 3 lines"),
        ("", "alternate lines, got 0 lines"),
        ("1 + 1\n2\nWhat?\n4\n", "a question with numbers in line 3, got 'What\\?'"),
        ("1 + 1\ntwo\n", "a number in line 2, got 'two'"),
        ("1 + 1\n2\n\n2 + 2\n4\n5 + 5\n", "a question with numbers in line 3, got ''"),
    ],
)
def test_another_layout_is_refused(tmp_path: Path, text: str, message: str) -> None:
    write_maths(tmp_path, {**MATHS, ("easy", "mul"): text})
    with pytest.raises(BadData, match=rf"arithmetic__mul\.txt: expected .*{message}"):
        arithmetic(tmp_path)
