# Generated from promptatlas.resources._async.datasets by generate_sync.py: edit that module, then run `make generate`.
"""``client.datasets``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from promptatlas.resources._async.datasets import _path, _template_params
from promptatlas.resources.dataset_files import Record, dataset_file
from promptatlas.resources.options import Spec, page_params
from promptatlas.transport._sync.page import Page
from promptatlas.transport._sync.sender import Sender
from promptatlas.transport.call import Body, Call, CallOptions, nothing, options_of, reader
from promptatlas.types import DatasetFormat, DatasetManifest, DatasetPeek, ListPage, Split

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Datasets:
    """Datasets for tuning and evaluation: named, immutable."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    def upload(
        self,
        name: str,
        path: str | Path | None = None,
        *,
        records: Iterable[Record] | None = None,
        format: DatasetFormat = "jsonl",  # noqa: A002 — the wire's own word
        template: Spec | None = None,
        cloze: bool = False,
        **options: Unpack[CallOptions],
    ) -> DatasetManifest:
        """Stores a dataset. The file is streamed, so it may be larger than memory.

        Args:
            path: a file in this format.
            records: dicts with the fields of the format, one a record; a text is ``{"text": …}``.
            template: how a record becomes input and target, e.g. ``{"input": "{question}\\n", "target": "{answer}"}``;
                a missing side keeps the default of the format.
            cloze: split plain text into items with one word left out.

        Raises:
            InvalidRequestError: a line is not of the format; names the line and what was expected. Nothing is stored.
            ConflictError: the name exists with other content.
        """
        params = {"name": name, "format": format, **_template_params(template), **({"cloze": "true"} if cloze else {})}
        with dataset_file(path=path, records=records, form=format) as file:
            body = Body(upload=file, content_type="application/octet-stream")
            common, parse = options_of(options, creates=True), reader(DatasetManifest)
            call = Call(method="POST", path="/v1/datasets", parse=parse, params=params, body=body, **common)
            return self._sender.send(call)

    def list(
        self, *, limit: int | None = None, after: str | None = None, **options: Unpack[CallOptions]
    ) -> Page[DatasetManifest]:
        """One page of ``limit`` datasets, built-in ones included; iterating over it continues with the next pages."""
        params, parse = page_params(limit=limit, after=after), reader(ListPage[DatasetManifest])
        call = Call(method="GET", path="/v1/datasets", parse=parse, params=params, **options_of(options))
        page = self._sender.send(call)
        return Page(page, follow=lambda cursor: self.list(limit=limit, after=cursor, **options))

    def get(self, name: str, **options: Unpack[CallOptions]) -> DatasetManifest:
        """The manifest of a dataset: its splits, fields, template and hash."""
        # The route responds with the manifest and the first items; one item is the minimum.
        params, parse = {"limit": "1"}, reader(DatasetManifest)
        call = Call(method="GET", path=_path(name), parse=parse, params=params, **options_of(options))
        return self._sender.send(call)

    def peek(
        self,
        name: str,
        split: Split | None = None,
        *,
        limit: int | None = None,
        after: str | None = None,
        template: Spec | None = None,
        **options: Unpack[CallOptions],
    ) -> DatasetPeek:
        """The first items of a split, as the model receives them; None: of all splits.

        Args:
            after: ``next`` of the previous peek.
            template: a template to try in place of the dataset's own.
        """
        chosen = {} if split is None else {"split": split}
        params = {**chosen, **page_params(limit=limit, after=after), **_template_params(template)}
        call = Call(method="GET", path=_path(name), parse=reader(DatasetPeek), params=params, **options_of(options))
        return self._sender.send(call)

    def load(self, name: str, **options: Unpack[CallOptions]) -> DatasetManifest:
        """Loads a dataset of the Hugging Face Hub, ``hub:owner/name``, into the server's store, unless it is there already.

        Raises:
            NotFoundError: the hub has no such dataset.
            InvalidRequestError: it has another form, or needs a configuration: ``hub:owner/name:config``.
            RateLimitError: the server loads too many datasets at the moment.
        """
        call = Call(method="PUT", path=_path(name), parse=reader(DatasetManifest), **options_of(options))
        return self._sender.send(call)

    def delete(self, name: str, **options: Unpack[CallOptions]) -> None:
        """Deletes a dataset; ConflictError for built-in ones."""
        call = Call(method="DELETE", path=_path(name), parse=nothing, **options_of(options))
        self._sender.send(call)
