"""Answers that go to a file: whole under its name or not at all, with a progress bar."""

from __future__ import annotations

import os
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

CHUNK_BYTES = 1 << 20

ProgressBar = Callable[[int | None], AbstractContextManager[Callable[[int], None]]]
"""Given the size in bytes where it is known, a context whose function takes the bytes so far."""


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


@contextmanager
def no_bar(_n_bytes: int | None) -> Iterator[Callable[[int], None]]:
    """Shows nothing."""
    yield lambda _done: None


@contextmanager
def rich_bar(n_bytes: int | None) -> Iterator[Callable[[int], None]]:
    """A bar on standard error."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("receiving", total=n_bytes)
        yield lambda done: progress.update(task, completed=done)


def bar_for(wanted: bool | None) -> ProgressBar:
    """The bar that was asked for; None: where standard error is a terminal."""
    return rich_bar if (sys.stderr.isatty() if wanted is None else wanted) else no_bar
