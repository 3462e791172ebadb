"""What tests of formats share: reading a text, and the real files, where there are any."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest

from service.errors import AtlasError
from service.store.datasets.formats.records import FileFormat, Record

TEST_DATA = "PROMPTATLAS_TEST_DATA"


def records_of(reader: FileFormat, data: bytes | str) -> list[Record]:
    """All records of a file."""
    return list(reader.read(io.BytesIO(data.encode() if isinstance(data, str) else data)))


def fields_of(reader: FileFormat, data: bytes | str) -> list[dict[str, Any]]:
    """The fields of all records."""
    return [dict(record.fields) for record in records_of(reader, data)]


def refusal(reader: FileFormat, data: bytes | str, kind: type[AtlasError]) -> AtlasError:
    """The error that a file ends in."""
    with pytest.raises(kind) as caught:
        records_of(reader, data)
    return caught.value


def real_file(*names: str) -> Path:
    """A file of the real data that the environment names; the test is skipped where there is none."""
    folder = os.environ.get(TEST_DATA)
    path = Path(folder or ".", *names)
    if not folder or not path.is_file():
        pytest.skip(f"{TEST_DATA} names no folder with {'/'.join(names)}")
    return path
