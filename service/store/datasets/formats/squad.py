"""Format ``squad``: the nested JSON of SQuAD 1.1 and 2.0, one record per question.

The file is a single JSON value and is read as a whole, so it has a separate size limit. SQuAD itself has 30 to 40 MB.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, Final

from promptatlas.types import DatasetFormat, Template

from service.errors import InvalidRequest, TooLarge
from service.store.datasets.formats.lines import decode
from service.store.datasets.formats.locations import Location, describe
from service.store.datasets.formats.records import Record, text_field
from service.store.datasets.formats.strict_json import parse_object

TEMPLATE = Template(input="{context}\nQuestion: {question}\nAnswer:", target=" {answer}")
UNANSWERABLE: Final = "unanswerable"
MAX_BYTES: Final = 128 << 20


class Squad:
    """Reader of ``squad``. Fields: ``context``, ``question``, ``answer``, ``answers``, ``is_impossible``, ``id``, ``title``.

    Unanswerable questions of SQuAD 2.0 get the answer ``unanswerable``.
    """

    name: DatasetFormat = "squad"

    def read(self, stream: BinaryIO) -> Iterator[Record]:
        data = stream.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise TooLarge(
                f"A squad file has at most {MAX_BYTES:,} bytes; upload a larger dataset as jsonl.",
                loc=("body",),
            )
        if not data.strip():
            return
        whole = Location("The file", ("body",))
        root = parse_object(decode(data.removeprefix(b"\xef\xbb\xbf"), location=whole), location=whole)
        for article, article_location in _items(root, "data", within=Location("", ("body",))):
            for paragraph, location in _items(article, "paragraphs", within=article_location):
                yield from _questions(paragraph, title=article.get("title"), location=location)

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


def _questions(paragraph: dict[str, Any], *, title: object, location: Location) -> Iterator[Record]:
    context = text_field(paragraph, "context", location=location)
    for question, question_location in _items(paragraph, "qas", within=location):
        is_impossible = question.get("is_impossible", False)
        if not isinstance(is_impossible, bool):
            raise question_location.error("'is_impossible' to be true or false", got=describe(is_impossible))
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
