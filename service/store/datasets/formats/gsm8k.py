"""Format ``gsm8k``: rows with ``question`` and ``answer``, which ends with ``####`` and the result."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from promptatlas.types import DatasetFormat, Template

from service.store.datasets.formats.locations import Location, describe
from service.store.datasets.formats.records import Record, take_split, text_field
from service.store.datasets.formats.rows import read_rows

TEMPLATE = Template(input="Question: {question}\nAnswer:", target=" {reasoning}\n#### {final}")
MARKER = "####"

_CALCULATOR = re.compile(r"<<[^<>]*>>")


class Gsm8k:
    """Reader of ``gsm8k``. Adds the fields ``reasoning`` (without calculator annotations ``<<…>>``) and ``final``."""

    name: DatasetFormat = "gsm8k"

    def read(self, stream: BinaryIO) -> Iterator[Record]:
        for fields, location in read_rows(stream, key="question"):
            split = take_split(fields, location=location)
            yield Record(location=location, fields=split_answer(fields, location=location), split=split)

    def default_template(self, record: Record) -> Template | None:
        return TEMPLATE


def is_gsm8k(fields: Mapping[str, Any]) -> bool:
    """Whether a record has the form of GSM8K."""
    answer = fields.get("answer")
    return isinstance(fields.get("question"), str) and isinstance(answer, str) and MARKER in answer


def split_answer(fields: Mapping[str, Any], *, location: Location) -> dict[str, Any]:
    """The record with its answer split into reasoning and result; ``answers`` is the result."""
    text_field(fields, "question", location=location)
    answer = text_field(fields, "answer", location=location)
    reasoning, marker, final = answer.rpartition(MARKER)
    final = final.strip()
    if not marker or not final or "\n" in final:
        raise location.error(f"an 'answer' that ends in {MARKER} and the result", got=describe(answer[-60:]))
    steps = _CALCULATOR.sub("", reasoning).strip()
    return {**fields, "reasoning": steps, "final": final, "answers": [final]}
