"""Contexts cut to sentences around the answer, splits by article, and files that are not SQuAD's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from demo.real.folder import BadData
from demo.real.squad import cut, squad
from tests.demo.real.real_files import ARTICLES, squad_value, write_squad

RIVERS = ARTICLES["Rivers"][0]


def words(text: str) -> int:
    return len(text.split())


def test_every_answer_is_in_its_context(tmp_path: Path) -> None:
    write_squad(tmp_path)
    found = squad(tmp_path, max_tokens=12, count=words)
    assert len(found.records) == 6
    assert found.n_left_out == 0
    for record in found.records:
        assert record["answer"] in record["context"]
        assert record["answers"] == [record["answer"]]
        assert words(record["context"]) <= 12
    one = next(record for record in found.records if record["title"] == "Hills")
    assert found.text(one) == ("Mount Or has 900 m. It is bare.\nQuestion: How high is Mount Or?\nAnswer:", " 900 m")


def test_an_article_is_in_one_split(tmp_path: Path) -> None:
    write_squad(tmp_path)
    for seed in range(6):
        records = squad(tmp_path, max_tokens=50, count=words, seed=seed).records
        of_rivers = {record["split"] for record in records if record["title"] == "Rivers"}
        assert len(of_rivers) == 1
        assert {record["split"] for record in records} == {"train", "validation", "test"}


def test_a_cut_is_whole_sentences_around_the_answer() -> None:
    start = RIVERS.index("Dr. Ana Li")
    span = (start, start + len("Dr. Ana Li"))
    own = cut(RIVERS, span=span, max_tokens=7, count=words, seed="0")
    assert own is not None
    assert RIVERS[slice(*own)] == "Dr. Ana Li measured it in 1931!"
    whole = cut(RIVERS, span=span, max_tokens=99, count=words, seed="0")
    assert whole == (0, len(RIVERS))
    assert cut(RIVERS, span=span, max_tokens=6, count=words, seed="0") is None


def test_the_answer_is_not_always_in_the_middle() -> None:
    context = " ".join(f"Sentence {i} is here." for i in range(9))
    start = context.index("4")
    cuts = {cut(context, span=(start, start + 1), max_tokens=8, count=words, seed=str(i)) for i in range(20)}
    assert {context[slice(*one)] for one in cuts if one} == {
        "Sentence 3 is here. Sentence 4 is here.",
        "Sentence 4 is here. Sentence 5 is here.",
    }


def test_an_answer_over_two_sentences_keeps_both() -> None:
    start, end = RIVERS.index("1931"), RIVERS.index("had done")
    found = cut(RIVERS, span=(start, end), max_tokens=12, count=words, seed="0")
    assert found is not None
    assert RIVERS[slice(*found)] == "Dr. Ana Li measured it in 1931! Nobody had done so before."


def test_questions_with_long_sentences_are_left_out(tmp_path: Path) -> None:
    write_squad(tmp_path)
    found = squad(tmp_path, max_tokens=6, count=words)
    assert found.n_left_out == 1  # who measured the river: 7 words
    assert "Rivers-1" not in {record["id"] for record in found.records}


def test_other_answers_count_if_they_are_in_the_cut(tmp_path: Path) -> None:
    value = squad_value()
    answers = value["data"][0]["paragraphs"][0]["qas"][0]["answers"]
    answers += [
        {"text": "90", "answer_start": RIVERS.index("90")},
        {"text": "lake", "answer_start": RIVERS.index("lake")},
    ]
    write_squad(tmp_path, value)
    records = squad(tmp_path, max_tokens=6, count=words).records
    assert next(record["answers"] for record in records if record["id"] == "Rivers-0") == ["90 km", "90"]


def test_unanswerable_questions_are_skipped(tmp_path: Path) -> None:
    value = squad_value()
    value["data"][0]["paragraphs"][0]["qas"].append({"id": "x", "question": "?", "answers": [], "is_impossible": True})
    write_squad(tmp_path, value)
    assert len(squad(tmp_path, max_tokens=50, count=words).records) == 6


def no_title(value: Any) -> None:
    del value["data"][1]["title"]


def no_paragraphs(value: Any) -> None:
    value["data"][0]["paragraphs"] = None


def no_answers(value: Any) -> None:
    value["data"][0]["paragraphs"][0]["qas"][0]["answers"] = []


def wrong_start(value: Any) -> None:
    value["data"][2]["paragraphs"][0]["qas"][0]["answers"][0]["answer_start"] = 1


def few_articles(value: Any) -> None:
    del value["data"][2:]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (no_title, r"text 'title' in data\[1\], got NoneType"),
        (no_paragraphs, r"a list 'paragraphs' in data\[0\], got NoneType"),
        (no_answers, r"at least one answer in data\[0\]\.paragraphs\[0\]\.qas\[0\], got none"),
        (wrong_start, r"the answer 'two' at answer_start in data\[2\].*, got 1"),
        (few_articles, r"articles for three splits, got expected at least 3 groups"),
    ],
)
def test_another_layout_is_refused(tmp_path: Path, damage: Callable[[Any], None], message: str) -> None:
    value = squad_value()
    damage(value)
    write_squad(tmp_path, value)
    with pytest.raises(BadData, match=rf"squad-en\.json: expected {message}"):
        squad(tmp_path, max_tokens=50, count=words)


@pytest.mark.parametrize(
    ("text", "message"), [("[1, 2]", "a list 'data' in the file, got NoneType"), ("{", "JSON, got")]
)
def test_other_json_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "squad-en.json").write_text(text)
    with pytest.raises(BadData, match=message):
        squad(tmp_path, max_tokens=50, count=words)
