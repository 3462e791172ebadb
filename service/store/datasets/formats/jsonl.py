"""Format ``jsonl``: one JSON object per line, with ``input`` and ``target``, or ``text``, or the fields of a given template."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, TypeGuard

from promptatlas.types import DatasetFormat, Template

from service.store.datasets.formats.lines import numbered_lines
from service.store.datasets.formats.locations import Location, describe
from service.store.datasets.formats.records import Record, take_split, text_field
from service.store.datasets.formats.strict_json import parse_object

PAIR = Template(input="{input}", target="{target}")


class Jsonl:
    """Reader of ``jsonl``. Blank lines are skipped. ``answers`` (a list of texts), ``split`` and other fields are optional.

    Args:
        free: Whether any fields are allowed, because the upload has a template.
    """

    name: DatasetFormat = "jsonl"

    def __init__(self, *, free: bool = False) -> None:
        self._free = free

    def read(self, stream: BinaryIO) -> Iterator[Record]:
        is_pair: bool | None = None
        for number, line in numbered_lines(stream):
            if not line.strip():
                continue
            location = Location.line(number)
            fields = parse_object(line, location=location)
            split = take_split(fields, location=location)
            if not self._free:
                is_pair = has_pair(fields) if is_pair is None else is_pair
                _check(fields, is_pair=is_pair, location=location)
            yield Record(location=location, fields=fields, split=split)

    def default_template(self, record: Record) -> Template | None:
        return PAIR if self._free or has_pair(record.fields) else None


def has_pair(fields: Any) -> bool:
    """Whether the record has input and target rather than running text."""
    return "input" in fields and "target" in fields


def _check(fields: dict[str, Any], *, is_pair: bool, location: Location) -> None:
    if not is_pair:
        if "text" not in fields:
            names = ", ".join(repr(name[:40]) for name in list(fields)[:20]) or "none"
            raise location.error(
                "the fields 'input' and 'target', or 'text' (others need a template with the upload: "
                "?input=…&target=…)",
                got=f"the fields {names}",
            )
        text_field(fields, "text", location=location)
        return
    for name in ("input", "target"):
        if isinstance(fields.get(name), bool | int | float):
            continue
        text_field(fields, name, location=location)
    answers = fields.get("answers")
    if answers is not None and not is_answers(answers):
        raise location.error("'answers' to be a non-empty list of texts", got=describe(answers))


def is_answers(value: object) -> TypeGuard[list[str]]:
    """Whether a value is a non-empty list of texts."""
    return isinstance(value, list) and bool(value) and all(isinstance(item, str) for item in value)
