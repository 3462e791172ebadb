"""``client.datasets``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from promptatlas.calls import datasets as calls
from promptatlas.calls.call import CallOptions
from promptatlas.calls.datasets import Record
from promptatlas.calls.runs import Spec
from promptatlas.transport.pages import AsyncPage, Page
from promptatlas.transport.sender import AsyncSender, Sender
from promptatlas.types import DatasetFormat, DatasetManifest, DatasetPeek, Split

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Datasets:
    """What prompts are tuned on and measured by: named, never changed once stored."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    def upload(
        self,
        name: str,
        *,
        path: str | Path | None = None,
        records: Iterable[Record] | None = None,
        format: DatasetFormat = "jsonl",  # noqa: A002 — the wire's own word
        template: Spec | None = None,
        cloze: bool = False,
        **options: Unpack[CallOptions],
    ) -> DatasetManifest:
        """Stores a dataset. It is read as it is sent, so it may be larger than memory.

        Args:
            path: a file in this format.
            records: dicts with the fields of the format, one a record; a text is ``{"text": …}``.
            template: how a record becomes input and target, e.g. ``{"input": "{question}\\n", "target": "{answer}"}``;
                a side that is left out is the format's own.
            cloze: cut running text into items with a word left out.

        Raises:
            InvalidRequestError: a line is not of the format; it says which, and what was expected. Nothing is kept.
            ConflictError: the name has other content.
        """
        with calls.dataset_file(path, records, form=format) as file:
            return self._sender.send(calls.upload(name, file, format, template, cloze, options))

    def list(
        self, *, limit: int | None = None, after: str | None = None, **options: Unpack[CallOptions]
    ) -> Page[DatasetManifest]:
        """One page of ``limit`` datasets, those that come with the server too; iterating it goes through all."""
        page = self._sender.send(calls.datasets(limit, after, options))
        return Page(page, follow=lambda cursor: self.list(limit=limit, after=cursor, **options))

    def get(self, name: str, **options: Unpack[CallOptions]) -> DatasetManifest:
        """What is known of a dataset: its splits, fields, template and hash."""
        return self._sender.send(calls.manifest(name, options))

    def peek(
        self,
        name: str,
        *,
        split: Split | None = None,
        limit: int | None = None,
        after: str | None = None,
        template: Spec | None = None,
        **options: Unpack[CallOptions],
    ) -> DatasetPeek:
        """The first items of a split, as the model gets them; of all splits without one.

        Args:
            after: ``next`` of the peek before.
            template: another one, to try it out.
        """
        return self._sender.send(calls.peek(name, split, limit, after, template, options))

    def delete(self, name: str, **options: Unpack[CallOptions]) -> None:
        """Deletes a dataset; ConflictError for those that come with the server."""
        self._sender.send(calls.delete(name, options))


class AsyncDatasets:
    """What prompts are tuned on and measured by; see Datasets."""

    def __init__(self, sender: AsyncSender) -> None:
        self._sender = sender

    async def upload(
        self,
        name: str,
        *,
        path: str | Path | None = None,
        records: Iterable[Record] | None = None,
        format: DatasetFormat = "jsonl",  # noqa: A002 — the wire's own word
        template: Spec | None = None,
        cloze: bool = False,
        **options: Unpack[CallOptions],
    ) -> DatasetManifest:
        """As Datasets.upload."""
        with calls.dataset_file(path, records, form=format) as file:
            return await self._sender.send(calls.upload(name, file, format, template, cloze, options))

    async def list(
        self, *, limit: int | None = None, after: str | None = None, **options: Unpack[CallOptions]
    ) -> AsyncPage[DatasetManifest]:
        """As Datasets.list."""
        page = await self._sender.send(calls.datasets(limit, after, options))
        return AsyncPage(page, follow=lambda cursor: self.list(limit=limit, after=cursor, **options))

    async def get(self, name: str, **options: Unpack[CallOptions]) -> DatasetManifest:
        """As Datasets.get."""
        return await self._sender.send(calls.manifest(name, options))

    async def peek(
        self,
        name: str,
        *,
        split: Split | None = None,
        limit: int | None = None,
        after: str | None = None,
        template: Spec | None = None,
        **options: Unpack[CallOptions],
    ) -> DatasetPeek:
        """As Datasets.peek."""
        return await self._sender.send(calls.peek(name, split, limit, after, template, options))

    async def delete(self, name: str, **options: Unpack[CallOptions]) -> None:
        """As Datasets.delete."""
        await self._sender.send(calls.delete(name, options))
