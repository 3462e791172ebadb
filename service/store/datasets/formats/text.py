"""Format ``text``: plain text, one document per line; as running text, or as cloze items."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from promptatlas.types import DatasetFormat, Template

from service.errors import InvalidRequest
from service.store.datasets.formats import cloze
from service.store.datasets.formats.lines import numbered_lines
from service.store.datasets.formats.locations import Location
from service.store.datasets.formats.records import Record


class PlainText:
    """Reader of running text; blank lines are skipped."""

    name: DatasetFormat = "text"

    def read(self, stream: BinaryIO) -> Iterator[Record]:
        for number, line in numbered_lines(stream):
            if line.strip():
                yield Record(location=Location.line(number), fields={"text": line.strip()})

    def default_template(self, record: Record) -> Template | None:
        return None


class ClozeText:
    """Reader of cloze items: passages of each document with one masked word; deterministic.

    All items of a document are one group, so that they go to the same split.
    """

    name: DatasetFormat = "text"

    def read(self, stream: BinaryIO) -> Iterator[Record]:
        number, n_items = 0, 0
        for number, line in numbered_lines(stream):
            document = line.strip()
            for item in cloze.items_of(document):
                n_items += 1
                yield Record(location=Location.line(number), fields=item, group=document)
        if number and not n_items:
            raise InvalidRequest(
                f"No cloze items: no passage has {cloze.MIN_WORDS} words and a word of letters to mask.",
                loc=("body",),
            )

    def default_template(self, record: Record) -> Template | None:
        return cloze.TEMPLATE
