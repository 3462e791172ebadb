"""The right format of an answer, on rows written by hand."""

from __future__ import annotations

import json

import pytest

from demo.tour.formats import Format, format_shares, has_format

SPAN_INPUT = "The Una is 90 km long.\nQuestion: How long is the Danube?\nAnswer:"


def row(output: str, *, finish_reason: str = "stop", text: str = SPAN_INPUT) -> dict[str, object]:
    return {"output": output, "finish_reason": finish_reason, "input": text}


@pytest.mark.parametrize(
    ("form", "output", "expected"),
    [
        ("number", " -17.956", True),
        ("number", "12\n", True),
        ("number", " 1,200", False),
        ("number", " The answer is 5", False),
        ("number", " 5.", False),
        ("number", "", False),
        ("span", " 90 km", True),
        ("span", " 90 kilometres", False),
        ("span", " Danube", False),  # in the question only
        ("span", " 90\nkm", False),
        ("span", " ", False),
    ],
)
def test_formats(form: Format, output: str, expected: bool) -> None:
    assert has_format(row(output), form=form) is expected


def test_an_answer_that_was_cut_has_no_format() -> None:
    assert not has_format(row(" 90 km", finish_reason="length"), form="span")


def lines(*rows: dict[str, object]) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in rows)


def test_shares_by_stage_of_a_member() -> None:
    def tuned(member: str | None, stage: str, output: str, split: str = "test") -> dict[str, object]:
        return {**row(output), "member": member, "stage": stage, "split": split}

    found = lines(
        tuned(None, "bare", " no"),
        tuned(None, "bare", " 1"),
        tuned("a", "before", " x"),
        tuned("a", "after", " 7"),
        tuned("a", "after", " 8"),
        tuned("a", "after", " y", split="validation"),
        tuned("b", "after", " z"),
    )
    shares = format_shares(found, form="number", member="a")
    assert shares == {"bare/test/format": 0.5, "draw/test/format": 0.0, "test/format": 1.0}
    assert format_shares(found, form="number", member="b") == {"bare/test/format": 0.5, "test/format": 0.0}


def test_the_share_of_a_model_without_a_prompt() -> None:
    found = lines({**row(" 90 km"), "split": "test"}, {**row(" far"), "split": "test"})
    assert format_shares(found, form="span") == {"bare/test/format": 0.5}
    assert format_shares(b"", form="span") == {}
