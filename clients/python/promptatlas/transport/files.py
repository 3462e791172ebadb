"""Files that are received or sent, with a progress bar."""

from __future__ import annotations

import os
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import httpx
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from promptatlas.transport.call import Upload

CHUNK_BYTES = 1 << 20


class ProgressBar(Protocol):
    """A context manager over a transfer of ``n_bytes`` (None: unknown); its function takes the bytes transferred so far."""

    def __call__(
        self, n_bytes: int | None, *, label: str = "receiving"
    ) -> AbstractContextManager[Callable[[int], None]]: ...


@dataclass(frozen=True, kw_only=True)
class Received:
    """A response body in a file. temporary: the reader deletes the file."""

    path: Path
    temporary: bool
    request_id: str | None


@contextmanager
def sink(to: Path | None, *, suffix: str = ".safetensors") -> Iterator[tuple[BinaryIO, Path]]:
    """A file to write to, and its final path. The file appears there on a regular exit; on an exception it is deleted.

    Args:
        to: the final path; None for a temporary file.
    """
    if to is None:
        number, name = tempfile.mkstemp(prefix="promptatlas-", suffix=suffix)
        part, file = Path(name), os.fdopen(number, "wb")
    else:
        part = to.with_name(f".{to.name}.{uuid.uuid4().hex}.part")
        file = part.open("xb")
    try:
        with file:
            yield file, to or part
        if to is not None:
            os.replace(part, to)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


class FileStream(httpx.SyncByteStream, httpx.AsyncByteStream):
    """The bytes of an upload in chunks. show: takes the number of bytes read so far."""

    def __init__(self, upload: Upload, *, show: Callable[[int], None]) -> None:
        self._upload = upload
        self._show = show

    def __iter__(self) -> Iterator[bytes]:
        n_bytes = 0
        with self._upload.open() as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
                n_bytes += len(chunk)
                self._show(n_bytes)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self:
            yield chunk


@contextmanager
def no_bar(n_bytes: int | None, *, label: str = "receiving") -> Iterator[Callable[[int], None]]:
    """No progress bar."""
    yield lambda _done: None


@contextmanager
def rich_bar(n_bytes: int | None, *, label: str = "receiving") -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(label, total=n_bytes)
        yield lambda done: progress.update(task, completed=done)


def shown(wanted: bool | None) -> bool:
    """Whether progress is shown. wanted: the setting; None: only if standard error is a terminal."""
    return sys.stderr.isatty() if wanted is None else wanted


def bar_for(wanted: bool | None) -> ProgressBar:
    """The progress bar of a setting; None: one only if standard error is a terminal."""
    return rich_bar if shown(wanted) else no_bar
