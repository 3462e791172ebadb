"""What ``/openapi.json`` says of runs that are started: a spec for each kind, and the answers."""

from __future__ import annotations

from typing import Any

from promptatlas.types import Run

from service.api.requests.bodies import JSON_TYPE
from service.api.responses.openapi import reference
from service.planning.run_kinds import KINDS

_LOCATION = {"Location": {"description": "The run's own address.", "schema": {"type": "string"}}}

ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {"model": Run, "description": "The run is stored and waits for a worker.", "headers": _LOCATION}
}
STARTING_ERRORS = (401, 403, 404, 409, 413, 415, 422, 500, 503)


def _body_of_kind(kind: str) -> dict[str, Any]:
    return {
        "type": "object",
        "title": f"A run of kind {kind}",
        "properties": {
            "kind": {"const": kind},
            "spec": reference(KINDS[kind].spec),  # type: ignore[index]
            "name": {"type": ["string", "null"], "minLength": 1, "maxLength": 200, "description": "For people."},
        },
        "required": ["kind", "spec"],
        "additionalProperties": False,
    }


RUN_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {JSON_TYPE: {"schema": {"oneOf": [_body_of_kind(kind) for kind in KINDS]}}},
    }
}
"""A spec as it stands in a run, with its ``resolved``, is taken too."""
