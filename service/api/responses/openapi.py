"""``/openapi.json``: FastAPI's document, completed with bodies and errors that FastAPI does not know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from promptatlas.types import (
    RUN_KINDS,
    ActivationRequest,
    ActivationsJson,
    AliasBody,
    BatchBody,
    ChatCompletionChunk,
    ChatCompletionRequest,
    CompletionRequest,
    DetokenizeRequest,
    EmbeddingRequest,
    OpenAIErrorBody,
    Problem,
    ProjectBody,
    TokenizeRequest,
    TrajectoriesJson,
    TrajectoryRequest,
)
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from service.api.responses.errors import PROBLEM_TYPE

TENSORS_TYPE = "application/vnd.safetensors"
EVENTS_TYPE = "text/event-stream"

_EXPLICIT_SCHEMAS: Sequence[type[BaseModel]] = (
    ActivationRequest,
    ActivationsJson,
    AliasBody,
    BatchBody,
    ChatCompletionChunk,
    ChatCompletionRequest,
    CompletionRequest,
    DetokenizeRequest,
    EmbeddingRequest,
    OpenAIErrorBody,
    Problem,
    ProjectBody,
    TokenizeRequest,
    TrajectoriesJson,
    TrajectoryRequest,
    *(kind.spec for kind in RUN_KINDS.values()),
)
_DESCRIPTIONS = {
    401: "Missing or unknown API key.",
    403: "The key does not have the required scope.",
    404: "No such model, prompt, version, alias, dataset, run or map.",
    409: "Conflicts with an existing resource, or the Idempotency-Key is in use.",
    410: "Expired: it was removed because of its age or size.",
    413: "Exceeds a limit of this server; the detail names the limit.",
    415: "Unsupported content type.",
    422: "Invalid; the detail says what was expected and what was received.",
    429: "The queue is full, or a limit of the API key is reached; see Retry-After.",
    500: "Internal error; the server's log has the reason.",
    503: "The engine is starting, lost or stopping, or the store is unreachable; see Retry-After.",
    504: "The deadline has passed.",
}
_RETRY_HEADER = {
    "Retry-After": {"description": "Seconds to wait before a retry.", "schema": {"type": "integer", "minimum": 1}}
}

ENGINE_ERRORS = (401, 403, 404, 413, 415, 422, 429, 500, 503, 504)
"""Error statuses of routes that run the model."""


def reference(kind: type[BaseModel]) -> dict[str, str]:
    """A reference to the schema of a type."""
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


def problems(*statuses: int, openai: bool = False) -> dict[int | str, dict[str, Any]]:
    """Descriptions of error responses, for a route's ``responses``. Every route with a key may answer 429 as well."""
    media = "application/json" if openai else PROBLEM_TYPE
    schema = reference(OpenAIErrorBody if openai else Problem)
    described: dict[int | str, dict[str, Any]] = {}
    for status in sorted({*statuses, 429} if 401 in statuses else statuses):
        described[status] = {"description": _DESCRIPTIONS[status], "content": {media: {"schema": schema}}}
        if status in (429, 503):
            described[status]["headers"] = _RETRY_HEADER
    return described


def events_of(kind: type[BaseModel]) -> dict[str, Any]:
    """Description of server-sent events with ``kind`` as JSON data, by ``itemSchema`` of OpenAPI 3.2."""
    data = {"type": "string", "contentMediaType": "application/json", "contentSchema": reference(kind)}
    return {"itemSchema": {"type": "object", "properties": {"data": data}, "required": ["data"]}}


def location_of(resource: str) -> dict[str, Any]:
    """Description of the ``Location`` header of a created resource."""
    return {"Location": {"description": f"URL of the {resource}.", "schema": {"type": "string"}}}


def tensors_or(kind: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """Description of a response with tensors: safetensors, or ``kind`` as JSON."""
    content = {TENSORS_TYPE: {"schema": {"type": "string", "format": "binary"}}}
    return {
        200: {
            "description": "Tensors as safetensors; with `Accept: application/json` as nested lists.",
            "content": {**content, "application/json": {"schema": reference(kind)}},
        }
    }


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of the application."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        _, own = models_json_schema(
            [(kind, "validation") for kind in _EXPLICIT_SCHEMAS], ref_template="#/components/schemas/{model}"
        )
        for name, schema in own["$defs"].items():
            schemas.setdefault(name, schema)
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        app.openapi_schema = document
    return app.openapi_schema
