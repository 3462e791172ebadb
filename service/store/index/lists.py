"""A list from the index, or from the files if the index cannot answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from service.store.index.database import IndexUnavailable
from service.store.index.index import StoreIndex

_Answer = TypeVar("_Answer")


def from_index_or_files(
    take: Callable[[Iterable[str]], _Answer],
    *,
    index: StoreIndex | None,
    candidates: Callable[[StoreIndex], Iterator[str]],
    files: Callable[[], Iterable[str]],
) -> _Answer:
    """``take`` of the names or ids of a list, in order.

    Args:
        take: Reads the objects of the page from the files; may be called twice.
        index: None: from the files.
        candidates: The names in the index.
        files: The names in the files.
    """
    if index is not None:
        try:
            return take(candidates(index))
        except IndexUnavailable:
            pass
    return take(files())
