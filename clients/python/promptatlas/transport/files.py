"""Answers that go to a file, whole under its name or not at all, and files that are sent; with a progress bar."""

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

from promptatlas.calls.call import Upload

CHUNK_BYTES = 1 << 20


class ProgressBar(Protocol):
    """Given the size in bytes where it is known, a context whose function takes the bytes so far."""

    def __call__(
        self, n_bytes: int | None, *, label: str = "receiving"
    ) -> AbstractContextManager[Callable[[int], None]]: ...


@dataclass(frozen=True, kw_only=True)
class Received:
    """A file that came. ``temporary``: nobody named it, so its reader deletes it."""

    path: Path
    temporary: bool
    request_id: str | None


@contextmanager
def sink(to: Path | None, *, suffix: str = ".safetensors") -> Iterator[tuple[BinaryIO, Path]]:
    """A file to write to, and the path that it has once the context ends well; nothing is left if it does not.

    Args:
        to: where it shall be; None for a temporary file.
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
    """The bytes of an upload in pieces. show: takes how many have been taken so far."""

    def __init__(self, upload: Upload, *, show: Callable[[int], None]) -> None:
        self._upload = upload
        self._show = show

    def __iter__(self) -> Iterator[bytes]:
        n_bytes = 0
        with self._upload.open() as file:
            while piece := file.read(CHUNK_BYTES):
                yield piece
                n_bytes += len(piece)
                self._show(n_bytes)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece


@contextmanager
def no_bar(n_bytes: int | None, *, label: str = "receiving") -> Iterator[Callable[[int], None]]:
    """Shows nothing."""
    yield lambda _done: None


@contextmanager
def rich_bar(n_bytes: int | None, *, label: str = "receiving") -> Iterator[Callable[[int], None]]:
    """A bar on standard error."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(label, total=n_bytes)
        yield lambda done: progress.update(task, completed=done)


def shown(wanted: bool | None) -> bool:
    """Whether progress is shown: as wanted; None: where standard error is a terminal."""
    return sys.stderr.isatty() if wanted is None else wanted


def bar_for(wanted: bool | None) -> ProgressBar:
    """The bar that was asked for; None: where standard error is a terminal."""
    return rich_bar if shown(wanted) else no_bar
