"""``client.prompts``."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptatlas.calls import prompts as calls
from promptatlas.calls.call import CallOptions
from promptatlas.errors import NotFoundError
from promptatlas.transport.pages import AsyncPage, Page
from promptatlas.transport.sender import AsyncSender, Sender
from promptatlas.types import Alias, ContentFormat, PromptManifest, PromptRow, Where

if TYPE_CHECKING:
    from typing_extensions import Unpack


def _unknown(name: str) -> NotFoundError:
    return NotFoundError(f"no prompt {name!r}", status=404, title="Not found")


class Prompts:
    """Tuned prompts: named, versioned, never changed once stored."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    def upload(
        self,
        name: str,
        *,
        tensors: Mapping[str, Any] | None = None,
        path: str | Path | None = None,
        peft_dir: str | Path | None = None,
        base: str | None = None,
        base_revision: str | None = None,
        where: Where | None = None,
        notes: Any = None,
        **options: Unpack[CallOptions],
    ) -> PromptManifest:
        """Stores a new version of a prompt; the same content twice is the same version.

        Args:
            tensors: ``soft`` ``[n_virtual, d_model]``, or ``deep.{layer}`` of that shape each, or ``prefix``
                ``[n_layers, 2, n_kv_heads, n_virtual, d_head]``; arrays or torch tensors, stored as float32.
                They need ``base``, the model they are for; deep ones ``where``: ``local`` or ``carried``.
            path: a safetensors file in the native format, or a zip of a PEFT adapter.
            peft_dir: folder of a PEFT adapter (prompt tuning, prefix tuning, p-tuning), saved as safetensors.
            base: else what the file names, or for PEFT the hosted model that fits.

        Raises:
            InvalidRequestError: shape, type, base or revision do not fit, or values are not finite.
            UnsafeFileError: the adapter is pickled.
        """
        header = {"base": base, "base_revision": base_revision, "where": where, "notes": notes}
        file = calls.prompt_file(tensors, path, peft_dir, header=header)
        return self._sender.send(calls.upload(name, file, None if tensors is not None else base, options))

    def list(
        self, *, limit: int | None = None, after: str | None = None, **options: Unpack[CallOptions]
    ) -> Page[PromptRow]:
        """One page of ``limit`` names; iterating it goes through all."""
        page = self._sender.send(calls.prompts(limit, after, options))
        return Page(page, follow=lambda cursor: self.list(limit=limit, after=cursor, **options))

    def get(self, name: str, *, version: int | str | None = None, **options: Unpack[CallOptions]) -> PromptManifest:
        """The manifest of ``name`` (its newest version), ``name@3`` or ``name@alias``."""
        return self._sender.send(calls.manifest(*self._chosen(name, version, options), options))

    def versions(self, name: str, **options: Unpack[CallOptions]) -> builtins.list[int]:
        """All version numbers of a name, oldest first."""
        return sorted(self._row(name, options).versions)

    def download(
        self,
        name: str,
        *,
        to: str | Path,
        version: int | str | None = None,
        format: ContentFormat = "native",  # noqa: A002 — the wire's own word
        **options: Unpack[CallOptions],
    ) -> Path:
        """Saves a version's file: native safetensors, or a zip of a PEFT adapter."""
        name, number = self._chosen(name, version, options)
        known = self.get(name, **options).version if number is None else number
        return self._sender.fetch(calls.content(name, known, format, options), Path(to)).path

    def delete(self, name: str, *, version: int | None = None, **options: Unpack[CallOptions]) -> None:
        """Deletes one version, named beside the name or as ``name@3``; ConflictError while an alias stands for it."""
        self._sender.send(calls.delete(*calls.required_version(name, version), options))

    def set_alias(self, name: str, alias: str, *, version: int, **options: Unpack[CallOptions]) -> Alias:
        """Makes an alias stand for a version, wherever it stood before."""
        return self._sender.send(calls.set_alias(name, alias, version, options))

    def delete_alias(self, name: str, alias: str, **options: Unpack[CallOptions]) -> None:
        """Forgets an alias; the version stays."""
        self._sender.send(calls.delete_alias(name, alias, options))

    def _row(self, name: str, options: CallOptions) -> PromptRow:
        for row in self.list(**options):
            if row.name == name:
                return row
        raise _unknown(name)

    def _chosen(self, name: str, version: int | str | None, options: CallOptions) -> tuple[str, int | None]:
        bare, chosen = calls.split_reference(name, version)
        return bare, calls.number_of(self._row(bare, options), chosen) if isinstance(chosen, str) else chosen


class AsyncPrompts:
    """Tuned prompts; see Prompts."""

    def __init__(self, sender: AsyncSender) -> None:
        self._sender = sender

    async def upload(
        self,
        name: str,
        *,
        tensors: Mapping[str, Any] | None = None,
        path: str | Path | None = None,
        peft_dir: str | Path | None = None,
        base: str | None = None,
        base_revision: str | None = None,
        where: Where | None = None,
        notes: Any = None,
        **options: Unpack[CallOptions],
    ) -> PromptManifest:
        """As Prompts.upload."""
        header = {"base": base, "base_revision": base_revision, "where": where, "notes": notes}
        file = calls.prompt_file(tensors, path, peft_dir, header=header)
        return await self._sender.send(calls.upload(name, file, None if tensors is not None else base, options))

    async def list(
        self, *, limit: int | None = None, after: str | None = None, **options: Unpack[CallOptions]
    ) -> AsyncPage[PromptRow]:
        """As Prompts.list."""
        page = await self._sender.send(calls.prompts(limit, after, options))
        return AsyncPage(page, follow=lambda cursor: self.list(limit=limit, after=cursor, **options))

    async def get(
        self, name: str, *, version: int | str | None = None, **options: Unpack[CallOptions]
    ) -> PromptManifest:
        """As Prompts.get."""
        return await self._sender.send(calls.manifest(*await self._chosen(name, version, options), options))

    async def versions(self, name: str, **options: Unpack[CallOptions]) -> builtins.list[int]:
        """As Prompts.versions."""
        return sorted((await self._row(name, options)).versions)

    async def download(
        self,
        name: str,
        *,
        to: str | Path,
        version: int | str | None = None,
        format: ContentFormat = "native",  # noqa: A002 — the wire's own word
        **options: Unpack[CallOptions],
    ) -> Path:
        """As Prompts.download."""
        name, number = await self._chosen(name, version, options)
        known = (await self.get(name, **options)).version if number is None else number
        return (await self._sender.fetch(calls.content(name, known, format, options), Path(to))).path

    async def delete(self, name: str, *, version: int | None = None, **options: Unpack[CallOptions]) -> None:
        """As Prompts.delete."""
        await self._sender.send(calls.delete(*calls.required_version(name, version), options))

    async def set_alias(self, name: str, alias: str, *, version: int, **options: Unpack[CallOptions]) -> Alias:
        """As Prompts.set_alias."""
        return await self._sender.send(calls.set_alias(name, alias, version, options))

    async def delete_alias(self, name: str, alias: str, **options: Unpack[CallOptions]) -> None:
        """As Prompts.delete_alias."""
        await self._sender.send(calls.delete_alias(name, alias, options))

    async def _row(self, name: str, options: CallOptions) -> PromptRow:
        async for row in await self.list(**options):
            if row.name == name:
                return row
        raise _unknown(name)

    async def _chosen(self, name: str, version: int | str | None, options: CallOptions) -> tuple[str, int | None]:
        bare, chosen = calls.split_reference(name, version)
        return bare, calls.number_of(await self._row(bare, options), chosen) if isinstance(chosen, str) else chosen
