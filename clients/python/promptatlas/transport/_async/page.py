"""Page of a list, which fetches the pages after it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")


class Listed(Protocol[T]):
    """The content of a page: ``promptatlas.types.ListPage``, or the same with other rows."""

    @property
    def data(self) -> list[T]: ...

    @property
    def has_more(self) -> bool: ...

    @property
    def next(self) -> str | None: ...


@dataclass(frozen=True)
class Mapped(Generic[T]):
    """The content of a page whose rows were converted."""

    data: list[T]
    has_more: bool
    next: str | None


class AsyncPage(Generic[T]):
    """One page of a list. ``async for`` iterates over its rows and those of all pages after it; ``data`` is this page alone.

    Args:
        follow: fetches the page at a cursor.
    """

    def __init__(self, page: Listed[T], *, follow: Callable[[str], Awaitable[AsyncPage[T]]]) -> None:
        self.data = page.data
        self.has_more = page.has_more
        self.next = page.next
        self._follow = follow

    async def next_page(self) -> AsyncPage[T] | None:
        """The page after this one; None after the last."""
        return await self._follow(self.next) if self.has_more and self.next is not None else None

    async def __aiter__(self) -> AsyncIterator[T]:
        page: AsyncPage[T] | None = self
        while page is not None:
            for row in page.data:
                yield row
            page = await page.next_page()
