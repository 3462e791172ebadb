"""OpenAPI descriptions of the routes that start runs: the body of each kind, and the responses."""

from __future__ import annotations

from typing import Any

from promptatlas.types import RUN_KINDS, Run, RunKind, RunPlan

from service.api.requests.bodies import JSON_TYPE
from service.api.responses.openapi import reference

_LOCATION = {"Location": {"description": "Address of the run.", "schema": {"type": "string"}}}

ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {"model": Run, "description": "The run is stored and queued.", "headers": _LOCATION}
}
PLANNED: dict[int | str, dict[str, Any]] = {
    200: {"model": RunPlan, "description": "With `dry_run`: what the run would be."}
}
STARTING_ERRORS = (401, 403, 404, 409, 413, 415, 422, 500, 503)


def _body_of_kind(kind: RunKind) -> dict[str, Any]:
    info = RUN_KINDS[kind]
    return {
        "type": "object",
        "title": f"A run of kind {kind}",
        "description": info.description,
        "properties": {
            "kind": {"const": kind},
            "spec": reference(info.spec),
            "name": {"type": ["string", "null"], "minLength": 1, "maxLength": 200, "description": "Shown to people."},
        },
        "required": ["kind", "spec"],
        "additionalProperties": False,
    }


RUN_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {JSON_TYPE: {"schema": {"oneOf": [_body_of_kind(kind) for kind in RUN_KINDS]}}},
    }
}
"""Body of ``POST /v1/runs``: one alternative per kind of run."""
