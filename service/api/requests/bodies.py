"""Request bodies: JSON, or a multipart form with JSON in part ``request`` and tensors in another part.

Dependencies read them, so that the API key is checked before the body is read. Each route takes only its own content types,
and a body must have one: browsers send requests of other types, or of none, to any server without a preflight.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar, cast

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from promptatlas.types import RequestBody
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from service.api.requests.faults import faults_of
from service.api.requests.first_faults import first_fault_validator
from service.api.services import Services, ServicesDep
from service.errors import InvalidRequest, TooLarge

Spec = TypeVar("Spec", bound=RequestBody)

JSON_TYPE = "application/json"
FORM_TYPE = "multipart/form-data"

MAX_JSON_VALUES: Final = 500_000
"""Limit of a JSON body in values. Parsing holds Python's interpreter lock: this many take about a fifth of a second."""

_URLENCODED_TYPE = "application/x-www-form-urlencoded"
_IN_LOOP_BYTES = 64 << 10  # takes a millisecond or two
_ALL_FAULTS_BYTES = 16 << 10  # for these all faults are listed, for larger bodies the first of each list
_MAX_LISTED_ERRORS = 1_000


@dataclass(frozen=True, kw_only=True)
class Body(Generic[Spec]):
    """A parsed body. tensors: the safetensors file; empty if there is none."""

    request: Spec
    tensors: bytes = b""


def body_of(kind: type[Spec], *, part: str = "tensors") -> Callable[..., Awaitable[Body[Spec]]]:
    """A dependency that reads a body of this type, as JSON or as a form. part: name of the form's part with the tensors."""

    async def read(request: Request, services: ServicesDep) -> Body[Spec]:
        if media_type(request) == FORM_TYPE:
            limit = services.settings.max_json_body_bytes
            form = await _form(request, max_field_bytes=limit)
            data = await _part(form, "request", required=True)
            if len(data) > limit:
                raise TooLarge(f"Part 'request' has {len(data):,} bytes; the limit is {limit:,}. Split the request.")
            tensors = await _part(form, part, required=False)
            return Body(request=await _parse(kind, data, services=services), tensors=tensors)
        expected = f"a body of type {JSON_TYPE} or {FORM_TYPE}"
        return Body(request=await _parse(kind, await _json_bytes(request, expected=expected), services=services))

    return read


def json_of(kind: type[Spec]) -> Callable[..., Awaitable[Spec]]:
    """A dependency that reads a body of this type, as JSON."""

    async def read(request: Request, services: ServicesDep) -> Spec:
        data = await _json_bytes(request, expected=f"a body of type {JSON_TYPE}")
        return await _parse(kind, data, services=services)

    return read


def media_type(request: Request) -> str:
    """The content type in lower case, without parameters; empty if the header is missing."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def unsupported_type(kind: str, *, expected: str) -> HTTPException:
    """415 for a body of type ``kind``; empty: it has none. expected: what the route takes."""
    received = f"Content-Type {kind[:80]!r}" if kind else "no Content-Type"
    hint = " curl sends this type with -d; set another with -H 'Content-Type: …'." if kind == _URLENCODED_TYPE else ""
    return HTTPException(415, f"Expected {expected}, got {received}.{hint}")


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


async def _json_bytes(request: Request, *, expected: str) -> bytes:
    kind = media_type(request)
    if kind != JSON_TYPE and not (kind.startswith("application/") and kind.endswith("+json")):
        raise unsupported_type(kind, expected=expected)
    return await request.body()


async def _form(request: Request, *, max_field_bytes: int) -> FormData:
    try:
        return await request.form(max_files=2, max_fields=2, max_part_size=max_field_bytes)
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


async def _parse(kind: type[Spec], data: bytes, *, services: Services) -> Spec:
    if len(data) <= _IN_LOOP_BYTES:
        return _validated(kind, data)
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(services.parsing, _validated, kind, data)


def _validated(kind: type[Spec], data: bytes) -> Spec:
    if len(data) > MAX_JSON_VALUES and _n_values_at_most(data) > MAX_JSON_VALUES:
        raise TooLarge(f"The body has more than {MAX_JSON_VALUES:,} JSON values. Split the request.")
    try:
        if len(data) <= _ALL_FAULTS_BYTES:
            return kind.model_validate_json(data)
        return cast(Spec, first_fault_validator(kind).validate_json(data))
    except ValidationError as error:
        # Unknown fields are collected in any case, and pydantic can only list all faults at once.
        if error.error_count() > _MAX_LISTED_ERRORS:
            raise InvalidRequest(f"{error.error_count():,} values are invalid, too many to list.") from None
        raise RequestValidationError(faults_of(error, data=data)) from None


def _n_values_at_most(data: bytes) -> int:
    """An upper bound on the number of JSON values, without parsing: of separators outside strings, or of strings."""
    plain = data.replace(rb"\\", b"").replace(rb"\"", b"")
    n_strings = plain.count(b'"') // 2
    if n_strings > 2 * MAX_JSON_VALUES:  # each value may have a key
        return n_strings
    outside = b" ".join(plain.split(b'"')[::2])
    return 1 + outside.count(b",") + outside.count(b"[") + outside.count(b"{")
