"""Format ``deepmind-math``: questions and answers on alternate lines, as in the DeepMind Mathematics dataset."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from promptatlas.types import DatasetFormat, Template

from service.store.datasets.formats.lines import numbered_lines
from service.store.datasets.formats.locations import Location
from service.store.datasets.formats.records import Record

TEMPLATE = Template(input="Question: {question}\nAnswer:", target=" {answer}")


class DeepmindMath:
    """Reader of ``deepmind-math``. Blank lines are allowed only at the end, since they would swap questions and answers."""

    name: DatasetFormat = "deepmind-math"

    def read(self, stream: BinaryIO) -> Iterator[Record]:
        question: str | None = None
        blank: int | None = None
        number = 0
        for number, line in numbered_lines(stream):
            text = line.strip()
            expected = "a question" if question is None else "the answer to the question above"
            if not text and question is None:
                blank = blank or number
                continue
            if blank is not None:
                raise Location.line(blank).error("a question", got="a blank line")
            if not text:
                raise Location.line(number).error(expected, got="a blank line")
            if question is None:
                question = text
                continue
            fields = {"question": question, "answer": text, "answers": [text]}
            yield Record(location=Location.line(number - 1), fields=fields)
            question = None
        if question is not None:
            raise Location.line(number + 1).error("the answer to the question above", got="the end of the file")

    def default_template(self, record: Record) -> Template | None:
        return TEMPLATE
