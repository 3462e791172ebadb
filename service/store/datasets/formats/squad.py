"""Format ``squad``: one record per question of SQuAD 1.1 or 2.0.

The file is SQuAD's own nested JSON, or rows as Hugging Face ``datasets`` writes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, Final

from promptatlas.types import DatasetFormat, Template

from service.errors import InvalidRequest
from service.store.datasets.formats.locations import Location, describe
from service.store.datasets.formats.records import Record, take_split, text_field
from service.store.datasets.formats.rows import has_object_lines, line_rows, read_value, value_rows

TEMPLATE = Template(input="{context}\nQuestion: {question}\nAnswer:", target=" {answer}")
UNANSWERABLE: Final = "unanswerable"


class Squad:
    """Reader of ``squad``. Fields: ``context``, ``question``, ``answer``, ``answers``, ``is_impossible``, ``id``, ``title``.

    Unanswerable questions of SQuAD 2.0 get the answer ``unanswerable``.
    """

    name: DatasetFormat = "squad"

    def read(self, stream: BinaryIO) -> Iterator[Record]:
        if has_object_lines(stream, is_file=lambda found: _is_nested(found) or isinstance(found.get("context"), list)):
            rows = line_rows(stream)
        else:
            value = read_value(stream)
            if isinstance(value, dict) and _is_nested(value):
                yield from _nested_records(value)
                return
            rows = value_rows(value, key="context")
        for fields, location in rows:
            split = take_split(fields, location=location)
            yield Record(location=location, fields=row_record(fields, location=location), split=split)

    def default_template(self, record: Record) -> Template | None:
        return TEMPLATE


def question_record(
    fields: Mapping[str, Any], *, context: str, answers: list[str], is_impossible: bool, location: Location
) -> dict[str, Any]:
    """Record of one question. answers: as given, possibly with duplicates."""
    distinct = list(dict.fromkeys(answer.strip() for answer in answers if answer.strip()))
    if not distinct and not is_impossible:
        raise location.error("at least one answer, or 'is_impossible': true", got="none")
    chosen = [UNANSWERABLE] if is_impossible else distinct
    known = {name: fields[name] for name in ("id", "title") if isinstance(fields.get(name), str | int)}
    return {
        **known,
        "context": context,
        "question": text_field(fields, "question", location=location).strip(),
        "answer": chosen[0],
        "answers": chosen,
        "is_impossible": is_impossible,
    }


def row_record(fields: Mapping[str, Any], *, location: Location) -> dict[str, Any]:
    """Record of a row of Hugging Face ``datasets``.

    ``answers`` is ``{"text": […], "answer_start": […]}``, or a list of objects with ``text`` as in the nested JSON. A row
    without ``is_impossible`` is unanswerable if it has no answers, as the rows of SQuAD 2.0 are.
    """
    if "context" not in fields:
        names = ", ".join(repr(name[:40]) for name in list(fields)[:20]) or "none"
        raise location.error(
            "a row with a field 'context', or SQuAD's nested JSON with a list 'data'", got=f"the fields {names}"
        )
    context = text_field(fields, "context", location=location)
    answers = _answers_of(fields, location=location)
    is_impossible = _is_impossible(fields, default=not answers, location=location)
    return question_record(fields, context=context, answers=answers, is_impossible=is_impossible, location=location)


def _answers_of(fields: Mapping[str, Any], *, location: Location) -> list[str]:
    answers = fields.get("answers")
    if isinstance(answers, list):
        return _texts([item.get("text") if isinstance(item, dict) else item for item in answers], location=location)
    texts = answers.get("text") if isinstance(answers, dict) else None
    if not isinstance(answers, dict) or not isinstance(texts, list):
        got = describe(answers) if "answers" in fields else "none"
        raise location.error("'answers' with a list 'text'", got=f"{got} without it" if got == "an object" else got)
    starts = answers.get("answer_start")
    if starts is not None and (not isinstance(starts, list) or len(starts) != len(texts)):
        got = f"{len(starts)}" if isinstance(starts, list) else describe(starts)
        raise location.error(f"{len(texts)} values in 'answers.answer_start', as in 'answers.text'", got=got)
    return _texts(texts, location=location)


def _texts(values: list[Any], *, location: Location) -> list[str]:
    for index, value in enumerate(values):
        if not isinstance(value, str) or not value.strip():
            got = describe(value) if not isinstance(value, str) else "only whitespace" if value else "empty text"
            raise location.error(f"text in answer {index} of 'answers'", got=got)
    return values


def _is_impossible(fields: Mapping[str, Any], *, default: bool, location: Location) -> bool:
    given = fields.get("is_impossible", default)
    if not isinstance(given, bool):
        raise location.error("'is_impossible' to be true or false", got=describe(given))
    return given


def _is_nested(found: Mapping[str, Any]) -> bool:
    """Whether an object is a file of nested JSON rather than a row or columns."""
    return "data" in found and "context" not in found


def _nested_records(root: dict[str, Any]) -> Iterator[Record]:
    for article, article_location in _items(root, "data", within=Location("", ("body",))):
        for paragraph, location in _items(article, "paragraphs", within=article_location):
            yield from _questions(paragraph, title=article.get("title"), location=location)


def _questions(paragraph: dict[str, Any], *, title: object, location: Location) -> Iterator[Record]:
    context = text_field(paragraph, "context", location=location)
    for question, question_location in _items(paragraph, "qas", within=location):
        is_impossible = _is_impossible(question, default=False, location=question_location)
        given = [] if is_impossible else _items(question, "answers", within=question_location)
        answers = [text_field(answer, "text", location=answer_location) for answer, answer_location in given]
        fields = question_record(
            {**question, "title": title},
            context=context,
            answers=answers,
            is_impossible=is_impossible,
            location=question_location,
        )
        yield Record(location=question_location, fields=fields)


def _items(parent: dict[str, Any], name: str, *, within: Location) -> Iterator[tuple[dict[str, Any], Location]]:
    """The objects in the list ``parent[name]``, each with its location: ``data[3].paragraphs[0]``."""
    items = parent.get(name)
    if not isinstance(items, list):
        where = within.name or "The file"
        raise InvalidRequest(
            f"{where}: expected a list {name!r} of SQuAD's nested JSON (data, paragraphs, qas, answers), "
            f"got {describe(items) if name in parent else 'none'}.",
            loc=(*within.loc, name),
        )
    for index, item in enumerate(items):
        path = f"{within.name}.{name}[{index}]".lstrip(".")
        location = Location(path, (*within.loc, name, index))
        if not isinstance(item, dict):
            raise location.error("an object", got=describe(item))
        yield item, location
