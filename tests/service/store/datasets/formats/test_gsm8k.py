"""gsm8k: the worked answer is taken apart at its mark."""

from __future__ import annotations

import json

import pytest

from service.errors import InvalidRequest
from service.store.datasets.formats.gsm8k import Gsm8k
from tests.service.store.datasets.formats.format_files import fields_of, real_file, records_of, refusal


def test_the_result_stands_behind_the_mark() -> None:
    answer = "He has 2*3 = <<2*3=6>>6.\nThat is #### not it yet.\n#### 1,006"
    (found,) = fields_of(Gsm8k(), json.dumps({"question": "How many?", "answer": answer}))
    assert found == {
        "question": "How many?",
        "answer": answer,
        "reasoning": "He has 2*3 = 6.\nThat is #### not it yet.",
        "final": "1,006",
        "answers": ["1,006"],
    }


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"question": "Q"}, "expected a field 'answer', got the fields 'question'"),
        ({"question": "Q", "answer": "six"}, "expected an 'answer' that ends in #### and the result"),
        ({"question": "Q", "answer": "six ####  "}, "expected an 'answer' that ends in #### and the result"),
        ({"question": "Q", "answer": "#### 6\nand more"}, "expected an 'answer' that ends in #### and the result"),
        ({"question": 6, "answer": "#### 6"}, "expected text in 'question', got a number"),
    ],
)
def test_a_bad_record_names_its_line(line: object, said: str) -> None:
    good = json.dumps({"question": "Q", "answer": "#### 6"})
    error = refusal(Gsm8k(), f"{good}\n{json.dumps(line)}", InvalidRequest)
    assert error.detail.startswith("Line 2: ")
    assert said in error.detail


def test_the_real_file() -> None:
    found = records_of(Gsm8k(), real_file("gsm8k-train.jsonl").read_bytes())
    assert len(found) == 7473
    assert found[0].fields["final"] == "72"
    assert not any("<<" in record.fields["reasoning"] for record in found)
    # Some results of the file are written with a thousands comma or a unit; all are one line.
    assert all(record.fields["final"] and "\n" not in record.fields["final"] for record in found)
