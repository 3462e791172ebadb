"""Responses with tensors: the engine's safetensors file as it is, or the same tensors as JSON lists."""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any

import numpy as np
import numpy.typing as npt
from fastapi import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.api.requests.bodies import JSON_TYPE
from service.api.requests.deadlines import while_connected
from service.api.responses.openapi import TENSORS_TYPE
from service.api.services import Services
from service.errors import TooLarge
from service.hosting.ipc.messages import Submit
from service.hosting.ipc.tensor_results import METADATA_KEY, OpenResult
from service.store.artifacts.tensor_codec import decode

_INSTEAD = f"{TENSORS_TYPE} (the default), fewer inputs, layers or positions, or use reduce"


def accepted_types(accept: str) -> set[str]:
    """The media types that an ``Accept`` header names, without their parameters."""
    return {part.partition(";")[0].strip().lower() for part in accept.split(",")}


def wants_json(accept: str) -> bool:
    """Whether an ``Accept`` header names JSON and not safetensors."""
    accepted = accepted_types(accept)
    return JSON_TYPE in accepted and TENSORS_TYPE not in accepted


def too_large_for_json(n_bytes: int, *, limit: int, instead: str) -> TooLarge:
    """The error for a result over the limit of JSON. instead: what the client can request."""
    return TooLarge(f"The result has {n_bytes:,} bytes; the limit for JSON is {limit:,}. Request {instead}.")


async def respond(request: Request, job: Submit, *, services: Services, deadline_s: float) -> Response:
    """Run a request that results in tensors; respond with them in the format that the client accepts.

    Raises:
        TooLarge: the JSON exceeds the server's ``max_json_bytes``.
    """
    as_json = wants_json(request.headers.get("accept", ""))
    max_json_bytes = services.settings.max_json_bytes

    async def run() -> OpenResult:
        async with services.engine_of(request).open(job, deadline_s=deadline_s) as exchange:
            return await exchange.result()

    result = await while_connected(request, run())
    if not as_json:
        return TensorResponse(result)
    try:
        if result.n_bytes > max_json_bytes:
            raise too_large_for_json(result.n_bytes, limit=max_json_bytes, instead=_INSTEAD)
        body = await asyncio.to_thread(_as_json, result.read(0, n_bytes=result.n_bytes))
    finally:
        result.close()
    if len(body) > max_json_bytes:
        raise too_large_for_json(len(body), limit=max_json_bytes, instead=_INSTEAD)
    return Response(body, media_type=JSON_TYPE)


class TensorResponse(Response):
    """Sends a result in large slices and frees its memory, also when the client disconnects."""

    media_type = TENSORS_TYPE

    def __init__(self, result: OpenResult) -> None:
        super().__init__(headers={"Content-Length": str(result.n_bytes)})
        self._result = result

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(_until_gone(receive))
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            for chunk in self._result.chunks():
                if gone.done():
                    return
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._result.close()
            gone.cancel()


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _as_json(data: bytes) -> bytes:
    file = decode(data)
    lists = {name: _listed(array) for name, array in file.tensors.items()}
    return json.dumps({**lists, METADATA_KEY: file.metadata}, separators=(",", ":"), allow_nan=False).encode()


def _listed(array: npt.NDArray[Any]) -> Any:
    """Nested lists; NaN (where nothing was generated) and infinities become null, because JSON has neither."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return _nulled(array.tolist())
    return array.tolist()


def _nulled(value: Any) -> Any:
    if isinstance(value, list):
        return [_nulled(item) for item in value]
    return value if math.isfinite(value) else None
