"""Calls about datasets, and the files that they are uploaded as."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from promptatlas.calls.call import Body, Call, CallOptions, Upload, nothing, options_of, plain, reader
from promptatlas.calls.runs import Spec
from promptatlas.calls.system import page_params
from promptatlas.types import DatasetFormat, DatasetManifest, DatasetPeek, ListPage, Split, Template

Record = Mapping[str, Any] | str
"""One record: its fields, or running text."""

OCTETS = "application/octet-stream"


def datasets(limit: int | None, after: str | None, options: CallOptions) -> Call[ListPage[DatasetManifest]]:
    parse, params = reader(ListPage[DatasetManifest]), page_params(limit, after)
    return Call(method="GET", path="/v1/datasets", parse=parse, params=params, **options_of(options))


def manifest(name: str, options: CallOptions) -> Call[DatasetManifest]:
    # What is known of a dataset comes with its first items, of which none is wanted here.
    params = {"limit": "1"}
    return Call(method="GET", path=_path(name), parse=reader(DatasetManifest), params=params, **options_of(options))


def peek(
    name: str,
    split: Split | None,
    limit: int | None,
    after: str | None,
    template: Spec | None,
    options: CallOptions,
) -> Call[DatasetPeek]:
    chosen: dict[str, str] = {} if split is None else {"split": split}
    params = {**chosen, **page_params(limit, after), **_sides(template)}
    return Call(method="GET", path=_path(name), parse=reader(DatasetPeek), params=params, **options_of(options))


def delete(name: str, options: CallOptions) -> Call[None]:
    return Call(method="DELETE", path=_path(name), parse=nothing, **options_of(options))


def upload(
    name: str,
    file: Upload,
    form: DatasetFormat,
    template: Spec | None,
    cloze: bool,
    options: CallOptions,
) -> Call[DatasetManifest]:
    params = {"name": name, "format": form, **_sides(template)}
    if cloze:
        params["cloze"] = "true"
    body = Body(upload=file, content_type=OCTETS)
    common = options_of(options, creates=True)
    parse = reader(DatasetManifest)
    return Call(method="POST", path="/v1/datasets", parse=parse, params=params, body=body, **common)


@contextmanager
def dataset_file(path: str | Path | None, records: Iterable[Record] | None, *, form: DatasetFormat) -> Iterator[Upload]:
    """The file to upload, from the one source that was given.

    Records are written down first, one a line in a temporary file: they may come from a generator that can be run
    but once, and a request may have to be sent again.
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
            raise ValueError(f"records: expected texts of one line for format 'text', number {index} is none")
        return record.encode() + b"\n"
    if not isinstance(record, (str, Mapping)):
        raise ValueError(f"records: expected dicts or texts, got {type(record).__name__} as number {index}")
    fields = {"text": record} if isinstance(record, str) else plain(record)
    try:
        return json.dumps(fields, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    except (TypeError, ValueError) as error:
        raise ValueError(f"records: number {index} cannot be written as JSON: {error}") from error


def _sides(template: Spec | None) -> dict[str, str]:
    """A template as the query has it; a side that is not given stays the format's own."""
    sides = {} if template is None else plain(template)
    for side, text in sides.items():
        if side not in Template.model_fields or not isinstance(text, str):
            raise ValueError(f"template: expected texts under 'input' and 'target', got {side!r}: {text!r}")
    return dict(sides)


def _path(name: str) -> str:
    return f"/v1/datasets/{quote(name, safe=':')}"
