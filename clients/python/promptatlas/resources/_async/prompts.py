"""``client.prompts``."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from promptatlas.errors import NotFoundError
from promptatlas.resources.encoding import checked, json_body
from promptatlas.resources.options import page_params
from promptatlas.resources.prompt_files import ZIP, prompt_file
from promptatlas.transport._async.page import AsyncPage
from promptatlas.transport._async.sender import AsyncSender
from promptatlas.transport.call import SAFETENSORS, Call, CallOptions, nothing, options_of, reader
from promptatlas.types import (
    Alias,
    AliasBody,
    ContentFormat,
    ListPage,
    PeftType,
    PromptManifest,
    PromptRow,
    UploadedPrompt,
    Where,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack


class AsyncPrompts:
    """Tuned prompts: named, versioned, immutable."""

    def __init__(self, sender: AsyncSender) -> None:
        self._sender = sender

    async def upload(
        self,
        name: str,
        path: str | Path | None = None,
        *,
        tensors: Mapping[str, Any] | None = None,
        peft_dir: str | Path | None = None,
        base: str | None = None,
        base_revision: str | None = None,
        where: Where | None = None,
        notes: Any = None,
        task: int | None = None,
        **options: Unpack[CallOptions],
    ) -> UploadedPrompt:
        """Stores a new version of a prompt. Uploading the same content again returns the existing version.

        Args:
            tensors: ``soft`` ``[n_virtual, d_model]``, or ``deep.{layer}`` of that shape each, or ``prefix``
                ``[n_layers, 2, n_kv_heads, n_virtual, d_head]``, or ``steering.{layer}`` ``[d_model]`` each; arrays or torch
                tensors, stored as float32.
                They require ``base``, the model they are for; deep ones also ``where``: ``local`` or ``carried``.
            path: a safetensors file in the native format, or a zip of a PEFT adapter.
            peft_dir: folder of a PEFT adapter (prompt tuning, multitask prompt tuning, p-tuning, CPT, prefix tuning,
                cartridge), saved as safetensors.
            base: the model. None: the one that the file names, or for PEFT the hosted model that matches.
            task: of a multitask adapter with several tasks, counted from 0.

        Raises:
            InvalidRequestError: shape, dtype, base or revision do not match, or values are not finite.
            UnsafeFileError: the adapter is a pickle.
        """
        header = {"base": base, "base_revision": base_revision, "where": where, "notes": notes}
        body = prompt_file(tensors=tensors, path=path, peft_dir=peft_dir, header=header)
        # The header of tensors names their base.
        given = {"base": base if tensors is None else None, "task": task}
        params = {"name": name, **{key: str(value) for key, value in given.items() if value is not None}}
        common = options_of(options, creates=True)
        parse = reader(UploadedPrompt)
        call = Call(method="POST", path="/v1/prompts", parse=parse, params=params, body=body, **common)
        return await self._sender.send(call)

    async def list(
        self,
        *,
        manifests: bool = False,
        limit: int | None = None,
        after: str | None = None,
        **options: Unpack[CallOptions],
    ) -> AsyncPage[PromptRow]:
        """One page of ``limit`` names; iterating over it continues with the next pages.

        Args:
            manifests: include the manifest of each newest version.
        """
        chosen = {"manifests": "true"} if manifests else {}
        params, parse = {**chosen, **page_params(limit=limit, after=after)}, reader(ListPage[PromptRow])
        call = Call(method="GET", path="/v1/prompts", parse=parse, params=params, **options_of(options))
        page = await self._sender.send(call)
        return AsyncPage(
            page, follow=lambda cursor: self.list(manifests=manifests, limit=limit, after=cursor, **options)
        )

    async def get(self, name: str, version: int | str | None = None, **options: Unpack[CallOptions]) -> PromptManifest:
        """The manifest of ``name`` (its latest version), ``name@3`` or ``name@alias``."""
        bare, number = await self._resolve(name, version, options)
        path = _path(bare, version=number)
        call = Call(method="GET", path=path, parse=reader(PromptManifest), **options_of(options))
        return await self._sender.send(call)

    async def versions(self, name: str, **options: Unpack[CallOptions]) -> builtins.list[int]:
        """All version numbers of a name, in ascending order."""
        row = await self._row(name, options)
        return sorted(row.versions)

    async def download(
        self,
        name: str,
        to: str | Path,
        *,
        version: int | str | None = None,
        format: ContentFormat = "native",  # noqa: A002 — the wire's own word
        peft_type: PeftType | None = None,
        **options: Unpack[CallOptions],
    ) -> Path:
        """Saves a version to a file.

        Args:
            format: ``native``: safetensors, as uploaded. ``peft``: zip of a PEFT adapter. ``prompt_embeds``: safetensors with
                the vectors of a soft prompt, ``prompt_embeds`` ``[n_virtual, d_model]``. ``kv``: safetensors with the keys and
                values of every layer, ``keys.{layer}`` and ``values.{layer}`` ``[1, n_kv_heads, n_virtual, d_head]``.
            peft_type: of the adapter. None: PROMPT_TUNING for a soft prompt, PREFIX_TUNING for a prefix.

        Raises:
            InvalidRequestError: the format cannot express the prompt; the message gives the reason.
        """
        bare, number = await self._resolve(name, version, options)
        if number is None:
            manifest = await self.get(bare, **options)
            number = manifest.version
        path = f"{_path(bare, version=number)}/content"
        accept = ZIP if format == "peft" else SAFETENSORS
        params = {"format": format} if peft_type is None else {"format": format, "peft_type": peft_type}
        call = Call(method="GET", path=path, parse=nothing, params=params, accept=accept, **options_of(options))
        received = await self._sender.fetch(call, Path(to))
        return received.path

    async def delete(self, name: str, version: int | None = None, **options: Unpack[CallOptions]) -> None:
        """Deletes one version, given as ``version`` or as ``name@3``. ConflictError while an alias points to it."""
        bare, number = _split_reference(name, version=version)
        if not isinstance(number, int):
            # No default and no alias: a deletion names its version in full.
            raise ValueError(f"version: expected the number of a version, as in {bare + '@3'!r}, got {number!r}")
        path = _path(bare, version=number)
        call = Call(method="DELETE", path=path, parse=nothing, **options_of(options))
        await self._sender.send(call)

    async def set_alias(self, name: str, alias: str, version: int, **options: Unpack[CallOptions]) -> Alias:
        """Points an alias to a version; it may have pointed to another one before."""
        body = json_body(checked(AliasBody, {"version": version}))
        path = _alias_path(name, alias=alias)
        call = Call(method="PUT", path=path, parse=reader(Alias), body=body, **options_of(options))
        return await self._sender.send(call)

    async def delete_alias(self, name: str, alias: str, **options: Unpack[CallOptions]) -> None:
        """Deletes an alias; the version stays."""
        path = _alias_path(name, alias=alias)
        call = Call(method="DELETE", path=path, parse=nothing, **options_of(options))
        await self._sender.send(call)

    async def _row(self, name: str, options: CallOptions) -> PromptRow:
        async for row in await self.list(**options):
            if row.name == name:
                return row
        raise NotFoundError(f"no prompt {name!r}", status=404, title="Not found")

    async def _resolve(self, name: str, version: int | str | None, options: CallOptions) -> tuple[str, int | None]:
        """The bare name, and the number of a version or alias; None for the latest version."""
        bare, chosen = _split_reference(name, version=version)
        if not isinstance(chosen, str):
            return bare, chosen
        row = await self._row(bare, options)
        if chosen not in row.aliases:
            raise NotFoundError(f"no alias {chosen!r} of prompt {bare!r}", status=404, title="Not found")
        return bare, row.aliases[chosen]


def _split_reference(name: str, *, version: int | str | None) -> tuple[str, int | str | None]:
    """Name, and version or alias, from ``name``, ``name@3`` or ``name@alias``, or from a separate ``version``."""
    bare, at, in_name = name.partition("@")
    if at and version is not None:
        raise ValueError(f"version: expected none, since {name!r} has one, got {version!r}")
    chosen = in_name if at else version
    return bare, int(chosen) if isinstance(chosen, str) and chosen.isdigit() else chosen


def _path(name: str, *, version: int | None) -> str:
    path = f"/v1/prompts/{quote(name, safe='')}"
    return path if version is None else f"{path}/versions/{version}"


def _alias_path(name: str, *, alias: str) -> str:
    return f"{_path(name, version=None)}/aliases/{quote(alias, safe='')}"
