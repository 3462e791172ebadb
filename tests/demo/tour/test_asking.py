"""What is sent and what counts as a right answer."""

from __future__ import annotations

import pytest

from demo.tasks import examples
from demo.tour.asking import Answer, Answers, Way, _gauge

EXAMPLE = examples("qa", split="test", n=1, scaffold=False)[0]


def test_only_a_finished_answer_is_right() -> None:
    assert Answer(f" {EXAMPLE.answer}", ended=True).is_right(EXAMPLE)
    assert not Answer(f" {EXAMPLE.answer}", ended=False).is_right(EXAMPLE)
    assert not Answer(f" {EXAMPLE.answer} and so on", ended=True).is_right(EXAMPLE)


def test_a_header_goes_in_front() -> None:
    assert Way("typed", header="Do it.").input("Now?") == "Do it.\nNow?"
    assert Way("bare").input("Now?") == "Now?"


def test_rows_and_right_answers_are_counted() -> None:
    right, wrong = Answer(EXAMPLE.answer, ended=True), Answer("no", ended=True)
    answers = Answers({"bare": (wrong, right), "typed": (right, right)}, n_steps=3, seconds=1.0)
    assert answers.n_rows == 4
    assert [answers.n_right(label, examples=[EXAMPLE] * 2) for label in ("bare", "typed")] == [1, 2]


def test_metrics_are_read_by_name() -> None:
    text = '# HELP x\npromptatlas_engine_n_steps_total{model="demo"} 17.0\npromptatlas_engine_n_running{model="demo"} 0.0\n'
    assert _gauge(text, "n_steps_total") == 17
    with pytest.raises(LookupError, match="n_lost"):
        _gauge(text, "n_lost")
