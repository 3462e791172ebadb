"""``/openapi.json``: what FastAPI derives from the routes, and what it cannot know of bodies and errors."""

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
    ChatCompletionChunk,
    ChatCompletionRequest,
    CompletionRequest,
    OpenAIErrorBody,
    Problem,
    ProjectBody,
    TrajectoriesJson,
    TrajectoryRequest,
)
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from service.api.responses.errors import PROBLEM_TYPE

TENSORS_TYPE = "application/vnd.safetensors"

_DESCRIBED_BY_HAND: Sequence[type[BaseModel]] = (
    ActivationRequest,
    ActivationsJson,
    AliasBody,
    ChatCompletionChunk,
    ChatCompletionRequest,
    CompletionRequest,
    OpenAIErrorBody,
    Problem,
    ProjectBody,
    TrajectoriesJson,
    TrajectoryRequest,
    *(kind.spec for kind in RUN_KINDS.values()),
)
_MEANINGS = {
    401: "No key, or none of this server's.",
    403: "The key lacks the scope.",
    404: "No such model, prompt, version, alias, dataset, run or map.",
    409: "It would overwrite or break something, or its Idempotency-Key is in use.",
    413: "Over a limit of this server, which is named.",
    415: "A body of this type is not taken here.",
    422: "Invalid; says what was expected and what came.",
    429: "Too many requests wait already; see Retry-After.",
    500: "The server's own fault: its log says why.",
    503: "The engine is starting, lost or stopping, or the store is out of reach; see Retry-After.",
    504: "Past the deadline.",
}
_RETRY_HEADER = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}}

ENGINE_ERRORS = (401, 403, 404, 413, 415, 422, 429, 500, 503, 504)
"""What routes that run the model may answer."""


def reference(kind: type[BaseModel]) -> dict[str, str]:
    """A reference to the schema of a type that is described by hand."""
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


def problems(*statuses: int, openai: bool = False) -> dict[int | str, dict[str, Any]]:
    """Descriptions of error responses, for a route's ``responses``."""
    media = "application/json" if openai else PROBLEM_TYPE
    schema = reference(OpenAIErrorBody if openai else Problem)
    described: dict[int | str, dict[str, Any]] = {}
    for status in statuses:
        described[status] = {"description": _MEANINGS[status], "content": {media: {"schema": schema}}}
        if status in (429, 503):
            described[status]["headers"] = _RETRY_HEADER
    return described


def events_of(kind: type[BaseModel]) -> dict[str, Any]:
    """Description of server-sent events whose data is ``kind`` as JSON; OpenAPI has words for them since 3.2."""
    data = {"type": "string", "contentMediaType": "application/json", "contentSchema": reference(kind)}
    return {"itemSchema": {"type": "object", "properties": {"data": data}, "required": ["data"]}}


def tensors_or(kind: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """Description of a result: safetensors, or ``kind`` as JSON."""
    content = {TENSORS_TYPE: {"schema": {"type": "string", "format": "binary"}}}
    return {
        200: {
            "description": "Tensors in safetensors; as nested lists with `Accept: application/json`.",
            "content": {**content, "application/json": {"schema": reference(kind)}},
        }
    }


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of the application."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        _, own = models_json_schema(
            [(kind, "validation") for kind in _DESCRIBED_BY_HAND], ref_template="#/components/schemas/{model}"
        )
        for name, schema in own["$defs"].items():
            schemas.setdefault(name, schema)
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        app.openapi_schema = document
    return app.openapi_schema
