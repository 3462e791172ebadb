"""Sentence boundaries."""

from __future__ import annotations

import pytest

from demo.real.sentences import sentence_spans


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        (" It has 3.5 km.  Then it ends.\n", ["It has 3.5 km.", "Then it ends."]),
        ("Dr. Li and J. Smith met. 1931 passed.", ["Dr. Li and J. Smith met.", "1931 passed."]),
        ('He said "No." She left.', ['He said "No."', "She left."]),
        ("It is e.g. small. no capital follows.", ["It is e.g. small. no capital follows."]),
        ("No end", ["No end"]),
        ("  ", []),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert [text[start:end] for start, end in sentence_spans(text)] == expected
