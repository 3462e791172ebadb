"""Maps as clients read them: points in columns, as JSON or as safetensors; see ``service.store.maps.points``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from promptatlas.types.maps import MapRow
from starlette.responses import Response

from service.api.requests.bodies import JSON_TYPE
from service.api.responses.openapi import TENSORS_TYPE
from service.errors import TooLarge
from service.store.artifacts.tensor_codec import encode
from service.store.maps.points import Points
from service.store.maps.store import StoredMap

MAX_JSON_BYTES = 64 << 20


def wants_tensors(accept: str) -> bool:
    """Whether an ``Accept`` header asks for safetensors by name; JSON is the default here."""
    return TENSORS_TYPE in {part.partition(";")[0].strip().lower() for part in accept.split(",")}


def row_of(found: StoredMap) -> MapRow:
    """One map of the list."""
    facts = found.facts
    return MapRow.model_validate(
        {
            "id": found.id,
            "name": found.record.name,
            "model": facts.model,
            "method": facts.method,
            "layers": list(facts.layers),
            "sources": list(facts.sources),
            "n_points": facts.n_points,
            "created_at": found.record.created_at,
        }
    )


def facts_of(found: StoredMap) -> dict[str, Any]:
    """All that stands beside a map's points."""
    facts = found.facts
    return {
        **row_of(found).model_dump(mode="json"),
        "revision": facts.revision,
        "n_components": facts.n_components,
        "quality": [dict(each) for each in facts.quality],
        "spec": dict(found.record.spec),
    }


def points_answer(points: Points, *, beside: Mapping[str, Any], accept: str) -> Response:
    """Points with what stands ``beside`` them; TooLarge as JSON over :data:`MAX_JSON_BYTES`."""
    if wants_tensors(accept):
        return Response(encode(points.tensors(), metadata=dict(beside)), media_type=TENSORS_TYPE)
    body = json.dumps({**beside, **points.lists()}, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    if len(body) > MAX_JSON_BYTES:
        raise TooLarge(
            f"The {len(points):,} points have {len(body):,} bytes as JSON; at most {MAX_JSON_BYTES:,} are sent. Ask for "
            f"{TENSORS_TYPE}, or for one layer."
        )
    return Response(body, media_type=JSON_TYPE)
