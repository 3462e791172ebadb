"""Files that datasets are uploaded as."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from promptatlas.resources.encoding import plain
from promptatlas.transport.call import Upload
from promptatlas.types import DatasetFormat

Record = Mapping[str, Any] | str
"""One record: its fields, or plain text."""


@contextmanager
def dataset_file(*, path: str | Path | None, records: Iterable[Record] | None, form: DatasetFormat) -> Iterator[Upload]:
    """The file to upload, from the one source that is not None.

    Records are written to a temporary file first, one a line: they may come from a generator, which cannot be iterated
    again when a request is retried.

    Raises:
        ValueError: not exactly one source was given, or a record is not of the format; names its index.
    """
    if (path is None) == (records is None):
        raise ValueError(f"expected one of path and records, got {'none' if path is None else 'both'}")
    if path is not None:
        yield _upload(Path(path))
        return
    number, name = tempfile.mkstemp(prefix="promptatlas-", suffix=".jsonl")
    try:
        with os.fdopen(number, "wb") as file:
            for index, record in enumerate(records or ()):
                file.write(_line(record, index=index, form=form))
        yield _upload(Path(name))
    finally:
        Path(name).unlink(missing_ok=True)


def _upload(path: Path) -> Upload:
    return Upload(n_bytes=path.stat().st_size, open=lambda: path.open("rb"))


def _line(record: Record, *, index: int, form: DatasetFormat) -> bytes:
    if form == "text":
        if not isinstance(record, str) or len(record.splitlines()) > 1:
            raise ValueError(
                f"records: expected texts of one line for format 'text', got {record!r:.80} as number {index}"
            )
        return record.encode() + b"\n"
    if not isinstance(record, (str, Mapping)):
        raise ValueError(f"records: expected dicts or texts, got {type(record).__name__} as number {index}")
    fields = {"text": record} if isinstance(record, str) else plain(record)
    try:
        return json.dumps(fields, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    except (TypeError, ValueError) as error:
        raise ValueError(f"records: number {index} cannot be written as JSON: {error}") from error
