"""deepmind-math: pairs of lines."""

from __future__ import annotations

import pytest

from service.errors import InvalidRequest
from service.store.datasets.formats.deepmind_math import DeepmindMath
from tests.service.store.datasets.formats.format_files import fields_of, real_file, records_of, refusal


def test_lines_alternate() -> None:
    assert fields_of(DeepmindMath(), "What is 1 + 1?\n2\r\nAnd 2?\n 2 \n\n \n") == [
        {"question": "What is 1 + 1?", "answer": "2", "answers": ["2"]},
        {"question": "And 2?", "answer": "2", "answers": ["2"]},
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\n1\nb", "Line 4: expected the answer to the question above, got the end of the file."),
        ("a\n1\nb\n", "Line 4: expected the answer to the question above, got the end of the file."),
        ("a\n\n1", "Line 2: expected the answer to the question above, got a blank line."),
        ("a\n1\n\n\nb\n2", "Line 3: expected a question, got a blank line."),
        ("\na\n1", "Line 1: expected a question, got a blank line."),
    ],
)
def test_a_line_too_few_or_too_many_is_named(text: str, said: str) -> None:
    assert refusal(DeepmindMath(), text, InvalidRequest).detail == said


@pytest.mark.parametrize("level", ["easy", "medium", "hard"])
@pytest.mark.parametrize("module", ["mixed", "simplify_surd", "add_or_sub_in_base", "nearest_integer_root"])
def test_the_real_files(level: str, module: str) -> None:
    data = real_file("deepmind-math", f"train-{level}", f"arithmetic__{module}.txt").read_bytes()
    found = records_of(DeepmindMath(), data)
    lines = data.decode().splitlines()
    assert [record.fields["question"] for record in found] == lines[::2]
    assert [record.fields["answer"] for record in found] == lines[1::2]
