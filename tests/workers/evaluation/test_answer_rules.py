from __future__ import annotations

from typing import Any

import pytest
from promptatlas.types.answers import AnswerRule
from pydantic import TypeAdapter

from service.errors import InvalidRequest
from workers.evaluation.answer_rules import answer_finder, steps_of

RULE: TypeAdapter[AnswerRule] = TypeAdapter(AnswerRule)


@pytest.mark.parametrize(
    ("rule", "text", "answer"),
    [
        ("whole", " mill \n", "mill"),
        ("whole", " \n", None),
        ({"find": "last_number"}, " 10-7=3; 2-0-1=1; 13", "13"),
        ({"find": "last_number"}, "It costs $1,234.50 in all.", "$1,234.50"),
        ({"find": "last_number"}, "-7 or -3", "-3"),
        ({"find": "last_number"}, "none", None),
        ({"find": "after", "after": "####"}, "a\n#### 4\n#### 5 \nend", "5"),
        ({"find": "after", "after": "####"}, "a\n####  \n", None),
        ({"find": "after", "after": "Answer:"}, "Answer: (b)", "(b)"),
        ({"find": "after", "after": "Answer:"}, "answer: (b)", None),
        ({"find": "pattern", "pattern": r"answer is (\w+)"}, "the answer is no, the answer is yes.", "yes"),
        ({"find": "pattern", "pattern": r"\d+"}, "1, 22, 333!", "333"),
        ({"find": "pattern", "pattern": r"\d+"}, "none", None),
        ({"find": "pattern", "pattern": r"x( *)"}, "x  ", None),
    ],
)
def test_rules(rule: Any, text: str, answer: str | None) -> None:
    assert answer_finder(RULE.validate_python(rule))(text) == answer


def test_a_pattern_that_is_not_valid_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="missing"):
        answer_finder(RULE.validate_python({"find": "pattern", "pattern": "("}))


@pytest.mark.parametrize(
    ("text", "answer", "steps"),
    [
        (" 10-7=3; 2-0-1=1; 13", "13", ["10-7=3;", "2-0-1=1;"]),
        ("He has 3.\n\nShe has 4.\n#### 7", "7", ["He has 3.", "She has 4."]),
        ("He has 3.5 apples. She has 4! So 7.5.", "7.5", ["He has 3.5 apples.", "She has 4!", "So 7.5."]),
        ("One. Two? (7)", "7", ["One.", "Two?"]),
        ("mill", "mill", []),
        ("", None, []),
        ("First\nSecond", None, ["First", "Second"]),
    ],
)
def test_steps_are_lines_or_sentences_before_the_answer(text: str, answer: str | None, steps: list[str]) -> None:
    assert list(steps_of(text, answer=answer)) == steps
