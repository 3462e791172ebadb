"""Forward-only reader of records, which several shards take in order from one pass over a dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Generic, TypeVar

Record = TypeVar("Record")


class ForwardRecords(Generic[Record]):
    """Records of a source that is opened on first use.

    Args:
        open_records: Opens the source.
    """

    def __init__(self, open_records: Callable[[], Iterator[Record]]) -> None:
        self._open = open_records
        self._remaining: Iterator[Record] | None = None
        self._position = 0

    def take(self, first: int, n: int) -> Iterator[Record]:
        """Records ``first`` … ``first + n − 1``; ``first`` must not be before records already taken."""
        if self._remaining is None:
            self._remaining = self._open()
        n_skipped = first - self._position
        self._position = first + n
        return islice(self._remaining, n_skipped, n_skipped + n)
