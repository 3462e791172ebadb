"""Routes of datasets: upload, list, peek, load, delete."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from promptatlas.types import (
    DatasetFormat,
    DatasetItem,
    DatasetManifest,
    DatasetPeek,
    DatasetRef,
    ListPage,
    Name,
    Split,
)

from service.api.requests.auth import ANONYMOUS, Admin, Reader, Writer
from service.api.requests.bodies import JSON_TYPE, media_type, unsupported_type
from service.api.requests.idempotency import IdempotencyKey, created, respond_once
from service.api.requests.parameters import After, Limit
from service.api.requests.uploads import Upload, read_upload
from service.api.responses.openapi import location_of, problems
from service.api.services import Services, ServicesDep
from service.store.datasets.items import DatasetInfo, Example, Peek
from service.store.datasets.templates import TemplateOverride
from service.store.idempotency import StoredResponse

router = APIRouter(tags=["datasets"])

# Any file is an octet stream. text/plain is not accepted: every web page may send it without a preflight.
_TYPES = ("application/octet-stream", JSON_TYPE, "application/jsonl", "application/x-ndjson")
_FILE = {"schema": {"type": "string", "format": "binary"}}
_UPLOAD = {"requestBody": {"required": True, "content": dict.fromkeys(_TYPES, _FILE)}}
_LOCATION = location_of("dataset")
# Both sides must fit into a URL, where a character may take twelve bytes.
_MAX_SIDE = 2048

NamePath = Annotated[
    DatasetRef, Path(description="Name of the dataset, or `hub:owner/name` with an optional `:config`.")
]
Side = Annotated[
    str | None,
    Query(max_length=_MAX_SIDE, description="One side of the template: text with `{field}` placeholders."),
]


@router.post(
    "/v1/datasets",
    status_code=201,
    response_model=DatasetManifest,
    responses={
        201: {"headers": _LOCATION},
        200: {"model": DatasetManifest, "description": "The same records are stored already.", "headers": _LOCATION},
        **problems(401, 403, 409, 413, 415, 422, 429, 500, 503),
    },
    openapi_extra=_UPLOAD,
)
async def upload(
    request: Request,
    services: ServicesDep,
    caller: Writer,
    name: Annotated[Name, Query(description="Name of the dataset.")],
    format_: Annotated[DatasetFormat, Query(alias="format", description="Format of the file.")],
    input_: Annotated[Side, Query(alias="input")] = None,
    target: Side = None,
    cloze: Annotated[bool, Query(description="Split running text into cloze items.")] = False,
    key: IdempotencyKey = None,
) -> Response:
    """Store a dataset. The body is the file itself. Nothing is stored if any line is invalid."""
    kind = media_type(request)
    if kind not in _TYPES:
        raise unsupported_type(kind, expected=f"the file itself as the body, as {', '.join(_TYPES)}")
    file = await read_upload(request)

    def store() -> StoredResponse:
        return _store(services, name, file_format=format_, upload=file, override=_override(input_, target), cloze=cloze)

    try:
        # The hash identifies the body, which may be large.
        return await respond_once(
            request, services.idempotency, key=key, caller=caller.name, body=file.sha256, work=store
        )
    finally:
        file.file.close()


@router.get("/v1/datasets", responses=problems(401, 403, 422, 500, 503))
async def list_datasets(
    services: ServicesDep,
    _caller: Reader,
    limit: Limit = 20,
    after: After = None,
) -> ListPage[DatasetManifest]:
    """List stored datasets, built-in ones, and loaded ones of the Hugging Face Hub, by name."""
    page = await asyncio.to_thread(services.datasets.list_datasets, limit=limit, after=after)
    return ListPage[DatasetManifest](data=list(map(_on_wire, page.items)), has_more=page.has_more, next=page.next)


@router.get(
    "/v1/datasets/{name:path}", response_model=DatasetPeek, responses=problems(401, 403, 404, 413, 422, 429, 500, 503)
)
async def peek(
    services: ServicesDep,
    caller: Reader,
    name: NamePath,
    split: Annotated[Split | None, Query(description="Default: all splits.")] = None,
    limit: Limit = 10,
    after: Annotated[int | None, Query(ge=0, le=2**53, description="Cursor `next` of the previous page.")] = None,
    input_: Annotated[Side, Query(alias="input")] = None,
    target: Side = None,
) -> Response:
    """Return the manifest and the first items as the model receives them. `input` and `target` try another template.

    A dataset of the hub that is not stored yet is loaded for a key with scope `write`.
    """
    # Without keys any page can link here, so that a GET must not make the server download.
    if caller != ANONYMOUS and caller.scope != "read":
        await services.hub.ensure(name)
    found = await asyncio.to_thread(
        services.datasets.peek,
        name,
        split=split,
        limit=limit,
        after=after,
        override=_override(input_, target),
        max_bytes=services.settings.max_json_bytes,
    )
    return Response(await asyncio.to_thread(_peek_json, found), media_type=JSON_TYPE)


@router.put(
    "/v1/datasets/{name:path}",
    response_model=DatasetManifest,
    responses=problems(401, 403, 404, 413, 422, 429, 500, 503),
)
async def load(services: ServicesDep, _caller: Writer, name: NamePath) -> DatasetManifest:
    """Load a dataset of the Hugging Face Hub, `hub:owner/name`, unless it is stored already."""
    await services.hub.ensure(name)
    return _on_wire(await asyncio.to_thread(services.datasets.get, name))


@router.delete("/v1/datasets/{name:path}", status_code=204, responses=problems(401, 403, 404, 409, 422, 500, 503))
async def delete(services: ServicesDep, _caller: Admin, name: NamePath) -> None:
    """Delete a dataset. One of the Hugging Face Hub is downloaded again on its next use."""
    await asyncio.to_thread(services.datasets.delete, name)


def _override(input_: str | None, target: str | None) -> TemplateOverride:
    return TemplateOverride(input=input_, target=target)


def _store(
    services: Services,
    name: str,
    *,
    file_format: DatasetFormat,
    upload: Upload,
    override: TemplateOverride,
    cloze: bool,
) -> StoredResponse:
    found, is_new = services.datasets.create(
        name, format=file_format, stream=upload.file, override=override, cloze=cloze
    )
    return created(_on_wire(found), location=f"/v1/datasets/{found.name}", status=201 if is_new else 200)


def _on_wire(found: DatasetInfo) -> DatasetManifest:
    return DatasetManifest.model_validate(found.to_json())


def _peek_json(found: Peek) -> bytes:
    items = [_item(example) for example in found.examples]
    facts: dict[str, Any] = {**found.info.to_json(), "template": found.template}
    page = DatasetPeek(data=items, has_more=found.next is not None, next=found.next, **facts)
    # An item has either input and target or text; the other fields of the page keep their nulls.
    without_nulls = {index: {field for field, value in item if value is None} for index, item in enumerate(items)}
    return page.model_dump_json(exclude={"data": without_nulls}).encode()


def _item(example: Example) -> DatasetItem:
    return DatasetItem(
        input=example.input,
        target=example.target,
        text=example.text,
        answers=list(example.answers) or None,
        split=example.split,
        index=example.index,
        record=None if set(example.record) == {"text"} else dict(example.record),
    )
