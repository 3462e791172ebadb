"""The files that a run has left: their list, and each one streamed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import PurePosixPath
from typing import Annotated, BinaryIO
from urllib.parse import quote

from fastapi import APIRouter, Path, Response
from promptatlas.types import ListPage, RunArtifact
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from service.api.requests.auth import Reader
from service.api.requests.run_paths import RunId
from service.api.responses.openapi import TENSORS_TYPE, problems
from service.api.responses.runs import artifact_answer
from service.api.services import ServicesDep
from service.store.runs.records import Output

router = APIRouter(tags=["runs"])

ArtifactPath = Annotated[str, Path(max_length=1024, description="Path of the file, as the run's `artifacts` have it.")]

REPORT = "report.html"
"""The one page among artifacts that is shown rather than saved."""

_CHUNK_BYTES = 1 << 20
_OTHER_TYPE = "application/octet-stream"
_TYPES = {
    ".csv": "text/csv; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".log": "text/plain; charset=utf-8",
    ".parquet": "application/vnd.apache.parquet",
    ".png": "image/png",
    ".safetensors": TENSORS_TYPE,
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".yaml": "application/yaml",
}
_SHOWN = frozenset({".csv", ".json", ".jsonl", ".log", ".png", ".txt", ".yaml"})
"""Types that a browser may show where they come from; pages and drawings can hold scripts."""

_NOTHING = "default-src 'none'; sandbox; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
# A report's figures draw themselves, some by code that they make (WebGL). Without an origin of its own that code cannot reach
# the API, a key or the page around it, and without connections nothing can leave it.
_FIGURES = (
    "sandbox allow-scripts allow-downloads; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'unsafe-inline'; img-src data: blob:; font-src data:; worker-src blob:; frame-ancestors 'self'; "
    "base-uri 'none'; form-action 'none'"
)


@router.get("/v1/runs/{run_id}/artifacts", responses=problems(401, 403, 404, 422, 500, 503))
async def list_artifacts(services: ServicesDep, _caller: Reader, run_id: RunId) -> ListPage[RunArtifact]:
    """All files that a run has left, so far."""
    await asyncio.to_thread(services.runs.get, run_id)
    outputs = await asyncio.to_thread(services.runs.outputs, run_id)
    return ListPage[RunArtifact](data=list(map(artifact_answer, outputs)))


@router.get(
    "/v1/runs/{run_id}/artifacts/{path:path}",
    response_class=Response,
    responses={
        200: {
            "description": "The file, in the type that its name ends in.",
            "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}},
        },
        **problems(401, 403, 404, 422, 500, 503),
    },
)
async def artifact(services: ServicesDep, _caller: Reader, run_id: RunId, path: ArtifactPath) -> Response:
    """One file. It is checked as it is sent: of a damaged one the end never comes."""
    await asyncio.to_thread(services.runs.get, run_id)
    file, output = await asyncio.to_thread(services.runs.open_output, run_id, path)
    return FileAnswer(file, output)


class FileAnswer(StreamingResponse):
    """Sends a file piece by piece and closes it, also when the client has gone."""

    def __init__(self, file: BinaryIO, output: Output) -> None:
        super().__init__(_pieces(file), headers=headers_of(output))
        self._file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._file.close()


def headers_of(output: Output) -> dict[str, str]:
    """How a browser is to treat a file: in its own type only, and without a chance to act in this origin's name."""
    name = PurePosixPath(output.path).name
    suffix = PurePosixPath(output.path).suffix.lower()
    is_report = name == REPORT
    disposition = "inline" if is_report or suffix in _SHOWN else "attachment"
    return {
        "Content-Type": _TYPES.get(suffix, _OTHER_TYPE),
        "Content-Length": str(output.n_bytes),
        "Content-Disposition": f"{disposition}; filename*=UTF-8''{quote(name, safe='')}",
        "Content-Security-Policy": _FIGURES if is_report else _NOTHING,
        "X-Content-Type-Options": "nosniff",
        "ETag": f'"{output.sha256}"',
        "Cache-Control": "private, no-cache",
    }


async def _pieces(file: BinaryIO) -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(file.read, _CHUNK_BYTES):
        yield piece
