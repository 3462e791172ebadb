# Generated from promptatlas.transport._async.page by generate_sync.py: edit that module, then run `make generate`.
"""Page of a list, which fetches the pages after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic

from promptatlas.transport._async.page import Listed, T


class Page(Generic[T]):
    """One page of a list. ``for`` iterates over its rows and those of all pages after it; ``data`` is this page alone.

    Args:
        follow: fetches the page at a cursor.
    """

    def __init__(self, page: Listed[T], *, follow: Callable[[str], Page[T]]) -> None:
        self.data = page.data
        self.has_more = page.has_more
        self.next = page.next
        self._follow = follow

    def next_page(self) -> Page[T] | None:
        """The page after this one; None after the last."""
        return self._follow(self.next) if self.has_more and self.next is not None else None

    def __iter__(self) -> Iterator[T]:
        page: Page[T] | None = self
        while page is not None:
            for row in page.data:
                yield row
            page = page.next_page()
