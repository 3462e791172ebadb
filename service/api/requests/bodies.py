"""Bodies of the routes that run the model: JSON, or a multipart form with JSON in ``request`` and tensors beside it.

Read by a dependency of their own, so that a caller's key is looked at before the body is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from promptatlas.types import RequestBody
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from service.errors import InvalidRequest

Asked = TypeVar("Asked", bound=RequestBody)

JSON_TYPE = "application/json"
FORM_TYPE = "multipart/form-data"


@dataclass(frozen=True, kw_only=True)
class Body(Generic[Asked]):
    """What was sent: the request, and the safetensors file with its tensors (empty when there is none)."""

    request: Asked
    tensors: bytes = b""


def body_of(kind: type[Asked], *, part: str = "tensors") -> Callable[[Request], Awaitable[Body[Asked]]]:
    """A dependency that reads a body of this type, sent as JSON or as a form. part: the form's part with the tensors."""

    async def read(request: Request) -> Body[Asked]:
        if media_type(request) == FORM_TYPE:
            form = await _form(request)
            data = await _part(form, "request", required=True)
            return Body(request=_parse(kind, data), tensors=await _part(form, part, required=False))
        return Body(request=_parse(kind, await _json_bytes(request)))

    return read


def json_of(kind: type[Asked]) -> Callable[[Request], Awaitable[Asked]]:
    """A dependency that reads a body of this type, sent as JSON."""

    async def read(request: Request) -> Asked:
        return _parse(kind, await _json_bytes(request))

    return read


def media_type(request: Request) -> str:
    """The content type without its parameters, in lower case; empty when none is given."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def request_body(kind: type[RequestBody], *, form: bool = False, part: str = "tensors") -> dict[str, Any]:
    """The description of such a body for a route's ``openapi_extra``. part: the form's part with the tensors."""
    schema = {"$ref": f"#/components/schemas/{kind.__name__}"}
    content: dict[str, Any] = {JSON_TYPE: {"schema": schema}}
    if form:
        parts = {"request": schema, part: {"type": "string", "contentMediaType": "application/vnd.safetensors"}}
        content[FORM_TYPE] = {
            "schema": {"type": "object", "properties": parts, "required": ["request"]},
            "encoding": {
                "request": {"contentType": JSON_TYPE},
                part: {"contentType": "application/vnd.safetensors, application/octet-stream"},
            },
        }
    return {"requestBody": {"required": True, "content": content}}


async def _json_bytes(request: Request) -> bytes:
    kind = media_type(request)
    # No type at all is taken for JSON: there is nothing else that it could be.
    if kind and kind != JSON_TYPE and not kind.endswith("+json"):
        raise HTTPException(415, f"Expected a body of type {JSON_TYPE}, got {kind[:80]!r}.")
    return await request.body()


async def _form(request: Request) -> FormData:
    try:
        return await request.form(max_files=2, max_fields=2, max_part_size=16 << 20)
    except HTTPException as error:
        raise InvalidRequest(f"The multipart form cannot be read: {error.detail}") from None


async def _part(form: FormData, name: str, *, required: bool) -> bytes:
    part = form.get(name)
    if isinstance(part, UploadFile):
        return await part.read()
    if isinstance(part, str):
        return part.encode("utf-8", "surrogateescape")
    if required:
        raise InvalidRequest(f"The multipart form needs a part {name!r} with the request as JSON.", loc=(name,))
    return b""


def _parse(kind: type[Asked], data: bytes) -> Asked:
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        raise RequestValidationError(faults) from None
