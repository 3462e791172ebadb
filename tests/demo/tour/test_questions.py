"""The inputs of variants, and the criterion for a correct answer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from promptatlas.types import DatasetItem

from demo.tour.questions import Answer, Answers, Question, Variant, _gauge, n_correct, read_questions

QUESTION = Question("Who?", ("Ana", "the doctor"))


def test_only_a_finished_answer_is_correct() -> None:
    assert Answer(" the doctor", ended=True).is_correct(QUESTION)
    assert not Answer(" Ana", ended=False).is_correct(QUESTION)
    assert not Answer(" Ana and so on", ended=True).is_correct(QUESTION)


def test_a_frame_goes_around_the_question() -> None:
    assert Variant("typed", frame="Do it.\n{input}").input("Now?") == "Do it.\nNow?"
    assert Variant("chat", frame="<u>{input}{}</u>").input("Now?") == "<u>Now?{}</u>"
    assert Variant("bare").input("Now?") == "Now?"


def test_rows_and_correct_answers_are_counted() -> None:
    right, wrong = Answer("Ana", ended=True), Answer("no", ended=True)
    answers = Answers(({"bare": (wrong, right), "typed": (right, right)}, {"bare": (wrong,)}), n_steps=3, seconds=1.0)
    assert answers.n_rows == 5
    assert [n_correct(answers.by_question_set[0][label], [QUESTION] * 2) for label in ("bare", "typed")] == [1, 2]


def test_questions_are_those_of_the_test_split() -> None:
    options_sent: dict[str, Any] = {}

    def peek(name: str, **options: Any) -> SimpleNamespace:
        options_sent.update(options, name=name)
        return SimpleNamespace(data=[DatasetItem(input="Who?", target=" Ana", answers=["Ana", "the doctor"])])

    client: Any = SimpleNamespace(datasets=SimpleNamespace(peek=peek))
    assert read_questions(client, "demo-qa", n=7) == (QUESTION,)
    assert options_sent == {"name": "demo-qa", "split": "test", "limit": 7}


def test_metrics_are_read_by_name() -> None:
    text = '# HELP x\npromptatlas_engine_n_steps_total{model="demo"} 17.0\npromptatlas_engine_n_running{model="demo"} 0.0\n'
    assert _gauge(text, "n_steps_total") == 17
    with pytest.raises(LookupError, match="n_lost"):
        _gauge(text, "n_lost")
