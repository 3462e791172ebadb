"""squad, rows: what Hugging Face datasets writes, in each of its forms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pytest

from service.errors import InvalidRequest
from service.store.datasets.formats import lines
from service.store.datasets.formats.squad import UNANSWERABLE, Squad
from tests.service.store.datasets.formats.format_files import fields_of, records_of, refusal

ROWS: list[dict[str, Any]] = [
    {
        "id": "56be",
        "title": "Harbour",
        "context": "The pilot, Ann Ros, and Bob left at nine.",
        "question": " Who left at nine? ",
        "answers": {"text": ["Ann Ros", "Ann Ros", "the pilot, Ann Ros"], "answer_start": [11, 11, 0]},
    },
    {
        "id": "5ad3",
        "title": "Harbour",
        "context": "The pilot, Ann Ros, and Bob left at nine.",
        "question": "Who stayed?",
        "answers": {"text": [], "answer_start": []},
    },
]
RECORDS = [
    {
        "id": "56be",
        "title": "Harbour",
        "context": "The pilot, Ann Ros, and Bob left at nine.",
        "question": "Who left at nine?",
        "answer": "Ann Ros",
        "answers": ["Ann Ros", "the pilot, Ann Ros"],
        "is_impossible": False,
    },
    {
        "id": "5ad3",
        "title": "Harbour",
        "context": "The pilot, Ann Ros, and Bob left at nine.",
        "question": "Who stayed?",
        "answer": UNANSWERABLE,
        "answers": [UNANSWERABLE],
        "is_impossible": True,
    },
]


def row(**changes: Any) -> dict[str, Any]:
    return {**ROWS[0], **changes}


def jsonl(*rows: Any) -> str:
    return "\n".join(map(json.dumps, rows))


def written_by_datasets(path: Path, **options: Any) -> bytes:
    datasets.Dataset.from_list(ROWS).to_json(path, **options)
    return path.read_bytes()


def test_files_of_hugging_face_datasets(tmp_path: Path) -> None:
    assert fields_of(Squad(), written_by_datasets(tmp_path / "lines.jsonl")) == RECORDS
    assert fields_of(Squad(), written_by_datasets(tmp_path / "array.json", lines=False, orient="records")) == RECORDS
    assert fields_of(Squad(), json.dumps(datasets.Dataset.from_list(ROWS).to_dict())) == RECORDS


@pytest.mark.parametrize(
    "text",
    [
        jsonl(*ROWS),
        "\n\n" + jsonl(ROWS[0], {}).replace("{}", "\r\n") + jsonl(ROWS[1]),
        "\ufeff" + jsonl(*ROWS),
        json.dumps(ROWS),
        json.dumps(ROWS, indent=2),
        json.dumps({name: [one[name] for one in ROWS] for name in ROWS[0]}, indent=1),
        jsonl(*({**one, "is_impossible": not one["answers"]["text"]} for one in ROWS)),
        jsonl(*({**one, "answers": [{"text": text} for text in one["answers"]["text"]]} for one in ROWS)),
    ],
)
def test_all_forms_have_the_same_records(text: str) -> None:
    assert fields_of(Squad(), text) == RECORDS


def test_one_row_may_be_a_file() -> None:
    for indent in (None, 2):
        assert fields_of(Squad(), json.dumps(ROWS[0], indent=indent)) == RECORDS[:1]
    assert fields_of(Squad(), "[]") == []


def test_a_row_may_name_its_split() -> None:
    found = records_of(Squad(), jsonl(row(split="dev"), row()))
    assert [record.split for record in found] == ["validation", None]


def test_a_question_that_is_marked_has_no_answer() -> None:
    (found,) = fields_of(Squad(), jsonl(row(is_impossible=True)))
    assert found["answers"] == [UNANSWERABLE]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (row(question=None), "expected text in 'question', got null."),
        ({"id": "1", "text": "x"}, "expected a row with a field 'context', or SQuAD's nested JSON with a list 'data'"),
        (row(context=" "), "expected text in 'context', got only whitespace."),
        (row(answers="Ann"), "expected 'answers' with a list 'text', got the text \"Ann\"."),
        (row(answers={"answer_start": []}), "expected 'answers' with a list 'text', got an object without it."),
        ({**row(), "answers": None}, "expected 'answers' with a list 'text', got null."),
        (row(answers={"text": ["Ann", None]}), "expected text in answer 1 of 'answers', got null."),
        (row(answers=[{"text": ""}]), "expected text in answer 0 of 'answers', got empty text."),
        (row(answers={"text": ["Ann"], "answer_start": [0, 1]}), "expected 1 values in 'answers.answer_start'"),
        (row(is_impossible="no"), "expected 'is_impossible' to be true or false"),
        (row(is_impossible=False, answers={"text": []}), "expected at least one answer, or 'is_impossible': true"),
        ([], "expected a JSON object, got a list."),
    ],
)
def test_what_is_wrong_has_a_line_and_a_field(bad: Any, said: str) -> None:
    error = refusal(Squad(), jsonl(ROWS[0], bad), InvalidRequest)
    assert (error.loc, error.detail[: len(said) + 8]) == (("body", 2), f"Line 2: {said}")
    error = refusal(Squad(), json.dumps([ROWS[0], bad]), InvalidRequest)
    assert (error.loc, error.detail[: len(said) + 5]) == (("body", 1), f"[1]: {said}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (jsonl(ROWS[0]) + '\n{"context":', "Line 2: expected JSON, got something else at column 12"),
        ('{"context": nothing}\n' + jsonl(ROWS[0]), "Line 1: expected JSON, got something else at column 13"),
        ("context\n", "Line 1: expected JSON"),
        (json.dumps({"context": ["a", "b"], "question": ["c"]}), "a list of 2 values in the column 'question', got 1."),
        (json.dumps({"context": ["a"], "question": "c"}), "a list of 1 values in the column 'question', got the text"),
        ("{}", "Line 1: expected a row with a field 'context', or SQuAD's nested JSON with a list 'data', got the"),
    ],
)
def test_a_file_of_no_form_has_an_error(text: str, said: str) -> None:
    assert said in refusal(Squad(), text, InvalidRequest).detail


def test_a_nested_file_of_one_long_line_is_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    nested = {
        "data": [{"paragraphs": [{"context": "Ann. " * 20, "qas": [{"question": "Q?", "answers": [{"text": "Ann"}]}]}]}]
    }
    monkeypatch.setattr("service.store.datasets.formats.rows.MAX_LINE_BYTES", 40)
    (found,) = fields_of(Squad(), json.dumps(nested))
    assert found["answers"] == ["Ann"]
    assert lines.MAX_LINE_BYTES > 40


def test_a_parquet_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    datasets.Dataset.from_list(ROWS).to_parquet(path)
    assert "is a Parquet file" in refusal(Squad(), path.read_bytes(), InvalidRequest).detail
