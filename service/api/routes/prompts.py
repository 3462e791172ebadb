"""Routes of prompts: upload, manifests, content, deletion, aliases."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from promptatlas.types import (
    Alias,
    AliasBody,
    AliasName,
    ContentFormat,
    ListPage,
    Name,
    PeftType,
    PromptManifest,
    PromptRow,
    UploadedPrompt,
)

from service.api.engine_reads.keys_values import keys_values_of
from service.api.requests.auth import Admin, Reader, Writer
from service.api.requests.bodies import json_of, media_type, request_body, unsupported_type
from service.api.requests.deadlines import Deadline, while_connected
from service.api.requests.idempotency import IdempotencyKey, created, respond_once
from service.api.requests.parameters import After, Limit
from service.api.requests.prompt_resolution import base_shapes
from service.api.responses.openapi import TENSORS_TYPE, location_of, problems
from service.api.responses.tensors import TensorResponse
from service.api.services import Services, ServicesDep
from service.errors import InvalidRequest, NotFound
from service.store.idempotency import StoredResponse
from service.store.prompts import manifests
from service.store.prompts.embeds import export_embeds
from service.store.prompts.native_format import parse_native
from service.store.prompts.peft.reading import adapter_warnings, parse_peft
from service.store.prompts.peft.writing import export_peft

router = APIRouter(tags=["prompts"])

ZIP_TYPE = "application/zip"
_ANY_TYPE = "application/octet-stream"
_ZIP_MAGIC = b"PK\x03\x04"

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_UPLOAD = {"requestBody": {"required": True, "content": dict.fromkeys((TENSORS_TYPE, _ANY_TYPE, ZIP_TYPE), _BINARY)}}
_LOCATION = location_of("version")

NamePath = Annotated[Name, Path(description="Name of the prompt.")]
VersionPath = Annotated[int, Path(ge=1, le=999_999_999)]
AliasPath = Annotated[AliasName, Path(description="Alias of one version.")]


@router.post(
    "/v1/prompts",
    status_code=201,
    response_model=UploadedPrompt,
    responses={
        201: {"headers": _LOCATION},
        200: {"model": UploadedPrompt, "description": "The same content is stored already.", "headers": _LOCATION},
        **problems(401, 403, 404, 409, 413, 415, 422, 429, 500, 503),
    },
    openapi_extra=_UPLOAD,
)
async def upload(
    request: Request,
    services: ServicesDep,
    caller: Writer,
    name: Annotated[Name, Query(description="Name of the prompt.")],
    base: Annotated[str | None, Query(max_length=64, description="Base model of the prompt.")] = None,
    task: Annotated[int | None, Query(ge=0, le=1_000_000, description="Task of a multitask adapter of PEFT.")] = None,
    key: IdempotencyKey = None,
) -> Response:
    """Store a prompt: a native safetensors file, or a zip of a PEFT adapter directory."""
    kind = media_type(request)
    if kind not in (TENSORS_TYPE, _ANY_TYPE, ZIP_TYPE):
        raise unsupported_type(kind, expected=f"{TENSORS_TYPE}, {_ANY_TYPE} or {ZIP_TYPE}")
    data = await request.body()
    is_zip = kind == ZIP_TYPE or (kind == _ANY_TYPE and data.startswith(_ZIP_MAGIC))

    if task is not None and not is_zip:
        raise InvalidRequest("A task is chosen from a zip of a PEFT adapter; this is a native file.", loc=("task",))

    def store() -> StoredResponse:
        return _store(services, name, data=data, is_zip=is_zip, base=base, task=task)

    return await respond_once(request, services.idempotency, key=key, caller=caller.name, body=data, work=store)


@router.get("/v1/prompts", responses=problems(401, 403, 422, 500, 503))
async def list_prompts(
    services: ServicesDep,
    _caller: Reader,
    with_manifests: Annotated[
        bool, Query(alias="manifests", description="Include the manifest of each newest version.")
    ] = False,
    limit: Limit = 20,
    after: After = None,
) -> ListPage[PromptRow]:
    """List the names of stored prompts, in order."""

    def read() -> ListPage[PromptRow]:
        page = services.prompts.list_names(limit=limit, after=after)
        rows = [_row(services, asdict(row), with_manifest=with_manifests) for row in page.items]
        return ListPage[PromptRow](data=rows, has_more=page.has_more, next=page.next)

    return await asyncio.to_thread(read)


@router.get("/v1/prompts/{name}", responses=problems(401, 403, 404, 422, 500, 503))
async def newest(services: ServicesDep, _caller: Reader, name: NamePath) -> PromptManifest:
    """Return the manifest of the newest version."""
    return _on_wire(await asyncio.to_thread(services.prompts.resolve, name, allows_posterior=True))


@router.get("/v1/prompts/{name}/versions", responses=problems(401, 403, 404, 422, 500, 503))
async def list_versions(
    services: ServicesDep, _caller: Reader, name: NamePath, limit: Limit = 20, after: After = None
) -> ListPage[PromptManifest]:
    """List the manifests of all versions, newest first."""
    page = await asyncio.to_thread(services.prompts.list_versions, name, limit=limit, after=after)
    return ListPage[PromptManifest](data=list(map(_on_wire, page.items)), has_more=page.has_more, next=page.next)


@router.get("/v1/prompts/{name}/versions/{version}", responses=problems(401, 403, 404, 422, 500, 503))
async def manifest(services: ServicesDep, _caller: Reader, name: NamePath, version: VersionPath) -> PromptManifest:
    """Return the manifest of one version."""
    return _on_wire(await asyncio.to_thread(services.prompts.get, name, version=version))


@router.get(
    "/v1/prompts/{name}/versions/{version}/content",
    response_class=Response,
    responses={
        200: {"description": "The file.", "content": {TENSORS_TYPE: _BINARY, ZIP_TYPE: _BINARY}},
        **problems(401, 403, 404, 413, 422, 429, 500, 503, 504),
    },
)
async def content(
    request: Request,
    services: ServicesDep,
    _caller: Reader,
    name: NamePath,
    version: VersionPath,
    deadline_s: Deadline,
    format_: Annotated[ContentFormat, Query(alias="format")] = "native",
    peft_type: Annotated[
        PeftType | None,
        Query(description="Of format=peft; by default PROMPT_TUNING for soft prompts, PREFIX_TUNING for prefixes."),
    ] = None,
) -> Response:
    """Download the prompt: its native file, a zip that PEFT loads, the vectors of a soft prompt, or keys and values."""
    if peft_type is not None and format_ != "peft":
        raise InvalidRequest(f"peft_type belongs to format=peft, got format={format_}.", loc=("peft_type",))
    found = await asyncio.to_thread(services.prompts.get, name, version=version)
    suffix = {"native": "", "peft": "", "prompt_embeds": "-embeds", "kv": "-kv"}[format_]
    filename = f"{name}-{version}{suffix}.{'zip' if format_ == 'peft' else 'safetensors'}"
    if format_ == "peft":
        response = await _peft_content(services, found, peft_type=peft_type)
    else:
        response = await _content(request, services, found, format_=format_, deadline_s=deadline_s)
    response.headers["Content-Disposition"] = f'attachment; filename="{filename}"'
    return response


async def _peft_content(services: Services, found: manifests.PromptManifest, *, peft_type: PeftType | None) -> Response:
    loaded = await asyncio.to_thread(services.prompts.load, found)
    return Response(await asyncio.to_thread(export_peft, loaded, peft_type=peft_type), media_type=ZIP_TYPE)


async def _content(
    request: Request, services: Services, found: manifests.PromptManifest, *, format_: ContentFormat, deadline_s: float
) -> Response:
    if format_ == "kv":
        work = keys_values_of(services, found, deadline_s=deadline_s)
        return TensorResponse(await while_connected(request, work))
    if format_ == "native":
        return Response(await asyncio.to_thread(services.prompts.content, found), media_type=TENSORS_TYPE)
    loaded = await asyncio.to_thread(services.prompts.load, found)
    return Response(await asyncio.to_thread(export_embeds, loaded), media_type=TENSORS_TYPE)


@router.delete(
    "/v1/prompts/{name}/versions/{version}", status_code=204, responses=problems(401, 403, 404, 409, 422, 500, 503)
)
async def delete(services: ServicesDep, _caller: Admin, name: NamePath, version: VersionPath) -> None:
    """Delete a version without aliases. Its number is not reused."""
    await asyncio.to_thread(services.prompts.delete, name, version=version)


@router.put(
    "/v1/prompts/{name}/aliases/{alias}",
    responses=problems(401, 403, 404, 413, 415, 422, 500, 503),
    openapi_extra=request_body(AliasBody),
)
async def set_alias(
    services: ServicesDep,
    _caller: Writer,
    name: NamePath,
    alias: AliasPath,
    body: Annotated[AliasBody, Depends(json_of(AliasBody))],
) -> Alias:
    """Point ``name@alias`` to a version."""
    await asyncio.to_thread(services.prompts.set_alias, name, alias=alias, version=body.version)
    return Alias(name=name, alias=alias, version=body.version)


@router.delete("/v1/prompts/{name}/aliases/{alias}", status_code=204, responses=problems(401, 403, 404, 422, 500, 503))
async def delete_alias(services: ServicesDep, _caller: Admin, name: NamePath, alias: AliasPath) -> None:
    """Delete an alias; its version stays."""
    await asyncio.to_thread(services.prompts.delete_alias, name, alias=alias)


def _store(
    services: Services, name: str, *, data: bytes, is_zip: bool, base: str | None, task: int | None
) -> StoredResponse:
    bases = base_shapes(services.engine.last_state())
    prompt = (
        parse_peft(data, bases=bases, base=base, task=task) if is_zip else parse_native(data, bases=bases, base=base)
    )
    found, is_new = services.prompts.create(name, prompt=prompt)
    location = f"/v1/prompts/{found.name}/versions/{found.version}"
    warnings = adapter_warnings(prompt) if is_zip else []
    body = UploadedPrompt.model_validate({**found.to_json(), "warnings": warnings}) if warnings else _on_wire(found)
    return created(body, location=location, status=201 if is_new else 200)


def _row(services: Services, row: dict[str, Any], *, with_manifest: bool) -> PromptRow:
    """A row of the list. Without a manifest if the version was deleted since the names were read."""
    newest_version: PromptManifest | None = None
    if with_manifest:
        with suppress(NotFound):
            newest_version = _on_wire(services.prompts.get(row["name"], version=row["latest"]))
    return PromptRow.model_validate({**row, "versions": list(row["versions"]), "manifest": newest_version})


def _on_wire(found: manifests.PromptManifest) -> PromptManifest:
    return PromptManifest.model_validate(found.to_json())
