"""Templates name fields and can do nothing else."""

from __future__ import annotations

import pytest
from promptatlas.types import Template

from service.errors import InvalidRequest
from service.store.datasets.templates import (
    MAX_TEMPLATE_FIELDS,
    TemplateOverride,
    complete_template,
    parse_template,
    usable_fields,
)

FIELDS = ["context", "question", "n"]


def rendered(text: str, **fields: object) -> str:
    names = usable_fields(fields)
    return parse_template(Template(input=text, target="{n}"), fields=[*names, "n"]).input.render(fields)


def test_fields_are_filled_in_and_nothing_is_added() -> None:
    assert rendered("{context}\nQ: {question}", context="A.", question="B?") == "A.\nQ: B?"
    assert rendered("{{{question}}} {{}}", question="B?") == "{B?} {}"
    assert rendered("{n}, {half}, {yes}", n=3, half=0.5, yes=True) == "3, 0.5, true"
    assert rendered("plain", n=1) == "plain"


def test_a_value_with_braces_is_text() -> None:
    assert rendered("{question}", question="{context} {0} {{") == "{context} {0} {{"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{answer}", 'names "answer", which is not a field.'),
        ("{}", 'names "", which is not a field.'),
        ("{0}", 'names "0", which is not a field.'),
        ("{question.__class__}", 'names "question.__class__", which is not a field.'),
        ("{question[0]}", 'names "question[0]", which is not a field.'),
        ("{question!r}", "has a format or conversion in the braces of 'question'; only {question} is allowed."),
        ("{question:>1000000000}", "has a format or conversion in the braces of 'question'"),
        ("{question:{n}}", "has a format or conversion in the braces of 'question'"),
        ("{question", "has an unmatched brace"),
        ("question}", "has an unmatched brace"),
        ("{question[}", "has an unmatched brace"),
        ("{ question }", 'names " question ", which is not a field.'),
        ("{n}" * (MAX_TEMPLATE_FIELDS + 1), "has 65 fields; the limit is 64."),
    ],
)
@pytest.mark.parametrize("side", ["input", "target"])
def test_a_bad_template_is_refused_with_the_fields_there_are(text: str, said: str, side: str) -> None:
    template = Template.model_validate({"input": "{n}", "target": "{n}", side: text})
    with pytest.raises(InvalidRequest) as caught:
        parse_template(template, fields=FIELDS, loc=("query",))
    assert caught.value.detail.startswith(f"The template's {side} ")
    assert said in caught.value.detail
    assert caught.value.detail.endswith("The fields there are: {context}, {question}, {n}.")
    assert caught.value.loc == ("query", side)


def test_usable_fields_are_texts_numbers_and_truth_values_that_can_be_written_in_braces() -> None:
    fields = {"a": "x", "b_2": 1, "ç d-e": 0.5, "f": False, "g": None, "h": [1], "i": {}, "j.k": "x", "": "x", "9": "x"}
    assert usable_fields(fields) == ["a", "b_2", "ç d-e", "f"]


def test_a_text_has_a_limit() -> None:
    with pytest.raises(InvalidRequest, match="exceeds 33,554,432 characters"):
        rendered("{a}" * 64, a="x" * (1 << 20))


def test_one_side_may_be_replaced() -> None:
    default = Template(input="{question}", target="{n}")
    assert complete_template(default, override=TemplateOverride()) == default
    assert complete_template(None, override=TemplateOverride()) is None
    assert complete_template(default, override=TemplateOverride(input="x")) == Template(input="x", target="{n}")
    assert complete_template(default, override=TemplateOverride(target="")) == Template(input="{question}", target="")
    with pytest.raises(InvalidRequest, match="no default for 'input'") as caught:
        complete_template(None, override=TemplateOverride(target="x"), fields=FIELDS)
    assert caught.value.detail.endswith("The fields there are: {context}, {question}, {n}.")
    assert caught.value.loc == ("query", "input")
