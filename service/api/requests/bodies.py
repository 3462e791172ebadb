"""Request bodies: JSON, or a multipart form with JSON in part ``request`` and tensors in another part.

Dependencies read them, so that the API key is checked before the body is read.
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

from service.api.requests.faults import faults_of
from service.errors import InvalidRequest

Spec = TypeVar("Spec", bound=RequestBody)

JSON_TYPE = "application/json"
FORM_TYPE = "multipart/form-data"


@dataclass(frozen=True, kw_only=True)
class Body(Generic[Spec]):
    """A parsed body. tensors: the safetensors file; empty if there is none."""

    request: Spec
    tensors: bytes = b""


def body_of(kind: type[Spec], *, part: str = "tensors") -> Callable[[Request], Awaitable[Body[Spec]]]:
    """A dependency that reads a body of this type, as JSON or as a form. part: name of the form's part with the tensors."""

    async def read(request: Request) -> Body[Spec]:
        if media_type(request) == FORM_TYPE:
            form = await _form(request)
            data = await _part(form, "request", required=True)
            return Body(request=_parse(kind, data), tensors=await _part(form, part, required=False))
        return Body(request=_parse(kind, await _json_bytes(request)))

    return read


def json_of(kind: type[Spec]) -> Callable[[Request], Awaitable[Spec]]:
    """A dependency that reads a body of this type, as JSON."""

    async def read(request: Request) -> Spec:
        return _parse(kind, await _json_bytes(request))

    return read


def media_type(request: Request) -> str:
    """The content type in lower case, without parameters; empty if the header is missing."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def unsupported_type(kind: str, *, expected: str) -> HTTPException:
    """415 for a body of type ``kind``. expected: what the route takes."""
    return HTTPException(415, f"Expected {expected}, got {kind[:80]!r}.")


def request_body(kind: type[RequestBody], *, form: bool = False, part: str = "tensors") -> dict[str, Any]:
    """OpenAPI description of such a body, for ``openapi_extra``. part: name of the form's part with the tensors."""
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
    # A missing type means JSON: these routes take nothing else.
    if kind and kind != JSON_TYPE and not kind.endswith("+json"):
        raise unsupported_type(kind, expected=f"a body of type {JSON_TYPE}")
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
        raise InvalidRequest(
            f"Expected a part {name!r} with the request as JSON in the multipart form, got none.", loc=(name,)
        )
    return b""


def _parse(kind: type[Spec], data: bytes) -> Spec:
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        raise RequestValidationError(faults_of(error, data=data)) from None
