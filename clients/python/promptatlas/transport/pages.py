"""Lists that fetch their own next page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")


class Listed(Protocol[T]):
    """What a page is made of: ``promptatlas.types.ListPage``, or the same with other rows."""

    @property
    def data(self) -> list[T]: ...

    @property
    def has_more(self) -> bool: ...

    @property
    def next(self) -> str | None: ...


@dataclass(frozen=True)
class Mapped(Generic[T]):
    """A list whose rows were made into something else."""

    data: list[T]
    has_more: bool
    next: str | None


class Page(Generic[T]):
    """One page of a list. Iterating goes on through all pages behind it; ``data`` is this page alone."""

    def __init__(self, page: Listed[T], *, follow: Callable[[str], Page[T]]) -> None:
        self.data = page.data
        self.has_more = page.has_more
        self.next = page.next
        self._follow = follow

    def next_page(self) -> Page[T] | None:
        """The page behind this one; None behind the last."""
        return self._follow(self.next) if self.has_more and self.next is not None else None

    def __iter__(self) -> Iterator[T]:
        page: Page[T] | None = self
        while page is not None:
            yield from page.data
            page = page.next_page()


class AsyncPage(Generic[T]):
    """One page of a list; ``async for`` goes on through all pages behind it."""

    def __init__(self, page: Listed[T], *, follow: Callable[[str], Awaitable[AsyncPage[T]]]) -> None:
        self.data = page.data
        self.has_more = page.has_more
        self.next = page.next
        self._follow = follow

    async def next_page(self) -> AsyncPage[T] | None:
        """The page behind this one; None behind the last."""
        return await self._follow(self.next) if self.has_more and self.next is not None else None

    async def __aiter__(self) -> AsyncIterator[T]:
        page: AsyncPage[T] | None = self
        while page is not None:
            for row in page.data:
                yield row
            page = await page.next_page()
