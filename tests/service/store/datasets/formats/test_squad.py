"""squad, nested: the file, questions without an answer, and the place of what is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service.errors import InvalidRequest
from service.store.datasets.formats.squad import UNANSWERABLE, Squad
from tests.service.store.datasets.formats.format_files import fields_of, real_file, records_of, refusal

QUESTION = {"id": "q1", "question": "Who?", "answers": [{"text": "Ann", "answer_start": 0}]}


def file_of(*questions: Any, context: Any = "Ann and Bob.") -> str:
    paragraphs = [{"context": context, "qas": list(questions)}]
    return json.dumps({"version": "v2.0", "data": [{"title": "People", "paragraphs": paragraphs}]})


def test_a_question_is_a_record_with_all_its_different_answers() -> None:
    many = {**QUESTION, "answers": [{"text": "Bob"}, {"text": " Bob"}, {"text": "Bobby"}]}
    assert fields_of(Squad(), file_of(QUESTION, many)) == [
        {
            "id": "q1",
            "title": "People",
            "context": "Ann and Bob.",
            "question": "Who?",
            "answer": "Ann",
            "answers": ["Ann"],
            "is_impossible": False,
        },
        {
            "id": "q1",
            "title": "People",
            "context": "Ann and Bob.",
            "question": "Who?",
            "answer": "Bob",
            "answers": ["Bob", "Bobby"],
            "is_impossible": False,
        },
    ]


def test_a_question_without_answer_is_answered_so() -> None:
    impossible = {"question": "Why?", "is_impossible": True, "answers": [], "plausible_answers": [{"text": "Ann"}]}
    (found,) = fields_of(Squad(), file_of(impossible))
    assert (found["answer"], found["answers"], found["is_impossible"]) == (UNANSWERABLE, [UNANSWERABLE], True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '{"data":{}}',
            "The file: expected a list 'data' of SQuAD's nested JSON (data, paragraphs, qas, answers), got",
        ),
        ('{"data":[{"paragraphs":3}]}', "data[0]: expected a list 'paragraphs'"),
        ('{"data":[7]}', "data[0]: expected an object, got a number."),
        (file_of(QUESTION, {**QUESTION, "answers": []}), "data[0].paragraphs[0].qas[1]: expected at least one answer"),
        (
            file_of({**QUESTION, "question": None}),
            "data[0].paragraphs[0].qas[0]: expected text in 'question', got null.",
        ),
        (file_of({**QUESTION, "answers": [{"text": 5}]}), "qas[0].answers[0]: expected text in 'text', got a number."),
        (file_of({**QUESTION, "is_impossible": "no"}), "'is_impossible' to be true or false"),
        (file_of(QUESTION, context=""), "data[0].paragraphs[0]: expected text in 'context', got empty text."),
        ('{\n"data": [}', "line 2, column 10"),
    ],
)
def test_what_is_wrong_has_a_place(text: str, said: str) -> None:
    assert said in refusal(Squad(), text, InvalidRequest).detail


def test_the_real_file() -> None:
    data = real_file("squad-en.json").read_bytes()
    found = records_of(Squad(), data)
    expected = [
        (question["id"], question["question"].strip(), question["answers"][0]["text"].strip())
        for article in json.loads(data)["data"]
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    ]
    assert [(one.fields["id"], one.fields["question"], one.fields["answer"]) for one in found] == expected
    assert len(found) > 1000
