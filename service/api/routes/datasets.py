"""Datasets: upload, list, a look at the first items, deletion."""

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
from starlette.exceptions import HTTPException

from service.api.requests.auth import Admin, Reader, Writer
from service.api.requests.bodies import FORM_TYPE, JSON_TYPE, media_type
from service.api.requests.idempotency import IdempotencyKey, replayed
from service.api.requests.uploads import Spooled, spool
from service.api.responses.openapi import problems
from service.api.services import Services, ServicesDep
from service.store.datasets.items import DatasetInfo, Example, Peek
from service.store.datasets.templates import TemplateOverride
from service.store.idempotency import StoredResponse
from service.store.listing import MAX_LIMIT

router = APIRouter(tags=["datasets"])

_TYPES = ("application/octet-stream", "text/plain")
_FILE = {"schema": {"type": "string", "format": "binary"}}
_UPLOAD = {"requestBody": {"required": True, "content": dict.fromkeys(_TYPES, _FILE)}}
_LOCATION = {"Location": {"description": "The dataset's own address.", "schema": {"type": "string"}}}
# Of each side in a query: both must fit the head of a request, where a character may take twelve.
_MAX_SIDE = 2048

NamePath = Annotated[
    DatasetRef, Path(description="Name of the dataset, or `hub:owner/name` with an optional `:config`.")
]
Side = Annotated[
    str | None,
    Query(max_length=_MAX_SIDE, description="This side of the template: text with `{field}` in it."),
]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT)]


@router.post(
    "/v1/datasets",
    status_code=201,
    response_model=DatasetManifest,
    responses={
        201: {"headers": _LOCATION},
        200: {"model": DatasetManifest, "description": "These records were stored before.", "headers": _LOCATION},
        **problems(401, 403, 409, 413, 415, 422, 429, 500, 503),
    },
    openapi_extra=_UPLOAD,
)
async def upload(
    request: Request,
    services: ServicesDep,
    caller: Writer,
    name: Annotated[Name, Query(description="Name to store it under.")],
    format_: Annotated[DatasetFormat, Query(alias="format", description="Of the file that is the body.")],
    input_: Annotated[Side, Query(alias="input")] = None,
    target: Side = None,
    cloze: Annotated[bool, Query(description="Cut running text into cloze items.")] = False,
    key: IdempotencyKey = None,
) -> Response:
    """Store a dataset: the file itself is the body. Nothing of it stays when a single line is bad."""
    if media_type(request) == FORM_TYPE:
        raise HTTPException(415, "Expected the file itself as the body, got a multipart form.")
    spooled = await spool(request)

    def store() -> StoredResponse:
        return _store(
            services, name, file_format=format_, spooled=spooled, override=_override(input_, target), cloze=cloze
        )

    try:
        # The body may be large: its hash stands for it.
        return await replayed(
            request, services.idempotency, key=key, caller=caller.name, body=spooled.sha256, work=store
        )
    finally:
        spooled.file.close()


@router.get("/v1/datasets", responses=problems(401, 403, 422, 500, 503))
async def list_datasets(
    services: ServicesDep,
    _caller: Reader,
    limit: Limit = 20,
    after: Annotated[str | None, Query(max_length=320, description="The cursor `next` of the page before.")] = None,
) -> ListPage[DatasetManifest]:
    """Stored datasets, those that come with the server, and those of the hub that have been loaded, by name."""
    page = await asyncio.to_thread(services.datasets.list_datasets, limit=limit, after=after)
    return ListPage[DatasetManifest](data=list(map(_on_wire, page.items)), has_more=page.has_more, next=page.next)


@router.get(
    "/v1/datasets/{name:path}", response_model=DatasetPeek, responses=problems(401, 403, 404, 413, 422, 500, 503)
)
async def peek(
    services: ServicesDep,
    _caller: Reader,
    name: NamePath,
    split: Annotated[Split | None, Query(description="All of them, when none is named.")] = None,
    limit: Limit = 10,
    after: Annotated[int | None, Query(ge=0, le=2**53, description="The cursor `next` of the page before.")] = None,
    input_: Annotated[Side, Query(alias="input")] = None,
    target: Side = None,
) -> Response:
    """What is known of a dataset, and its first items as the model gets them; another template may be tried."""
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


@router.delete("/v1/datasets/{name:path}", status_code=204, responses=problems(401, 403, 404, 409, 422, 500, 503))
async def delete(services: ServicesDep, _caller: Admin, name: NamePath) -> None:
    """Delete a dataset. One of the hub is loaded anew when it is next asked for."""
    await asyncio.to_thread(services.datasets.delete, name)


def _override(input_: str | None, target: str | None) -> TemplateOverride:
    return TemplateOverride(input=input_, target=target)


def _store(
    services: Services,
    name: str,
    *,
    file_format: DatasetFormat,
    spooled: Spooled,
    override: TemplateOverride,
    cloze: bool,
) -> StoredResponse:
    found, is_new = services.datasets.create(
        name, format=file_format, stream=spooled.file, override=override, cloze=cloze
    )
    return StoredResponse(
        status=201 if is_new else 200,
        headers={"Location": f"/v1/datasets/{found.name}", "Content-Type": JSON_TYPE},
        body=_on_wire(found).model_dump_json().encode(),
    )


def _on_wire(found: DatasetInfo) -> DatasetManifest:
    return DatasetManifest.model_validate(found.to_json())


def _peek_json(found: Peek) -> bytes:
    items = [_item(example) for example in found.examples]
    facts: dict[str, Any] = {**found.info.to_json(), "template": found.template}
    page = DatasetPeek(data=items, has_more=found.next is not None, next=found.next, **facts)
    # Only of items, which are input and target or text, nothing is left out elsewhere.
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
