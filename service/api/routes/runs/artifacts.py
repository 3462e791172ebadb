"""Routes of a run's artifacts: list and download."""

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
from service.api.requests.parameters import RunId
from service.api.responses.openapi import TENSORS_TYPE, problems
from service.api.responses.runs import artifact_answer
from service.api.services import ServicesDep
from service.store.runs.records import Output

router = APIRouter(tags=["runs"])

ArtifactPath = Annotated[str, Path(max_length=1024, description="Path of the artifact, as in the run's `artifacts`.")]

REPORT = "report.html"
"""The only HTML artifact that browsers display instead of downloading."""

_CHUNK_BYTES = 1 << 20
_DEFAULT_TYPE = "application/octet-stream"
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
_INLINE = frozenset({".csv", ".json", ".jsonl", ".log", ".png", ".txt", ".yaml"})
"""Types that browsers may display; HTML and SVG are downloaded because they can contain scripts."""

_STRICT_POLICY = "default-src 'none'; sandbox; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
REPORT_POLICY = (
    "sandbox allow-scripts allow-downloads; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'unsafe-inline'; img-src data: blob:; font-src data:; worker-src blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'"
)
"""Content-Security-Policy of reports.

A report's figures run their own code. The sandbox gives it no origin and no connections: it cannot access the API, a key or
the page around it, and cannot send anything.
"""


@router.get("/v1/runs/{run_id}/artifacts", responses=problems(401, 403, 404, 422, 500, 503))
async def list_artifacts(services: ServicesDep, _caller: Reader, run_id: RunId) -> ListPage[RunArtifact]:
    """List the artifacts of a run."""
    outputs = await asyncio.to_thread(services.runs.outputs, run_id)
    return ListPage[RunArtifact](data=list(map(artifact_answer, outputs)))


@router.get(
    "/v1/runs/{run_id}/artifacts/{path:path}",
    response_class=Response,
    responses={
        200: {
            "description": "The file; the content type follows from its suffix.",
            "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}},
        },
        **problems(401, 403, 404, 410, 422, 500, 503),
    },
)
async def artifact(services: ServicesDep, _caller: Reader, run_id: RunId, path: ArtifactPath) -> Response:
    """Download one artifact. Its hash is verified while it is sent; the response to a damaged file is cut off."""
    file, output = await asyncio.to_thread(services.runs.open_output, run_id, path)
    return FileResponse(file, output)


class FileResponse(StreamingResponse):
    """Streams a file and closes it, also when the client disconnects."""

    def __init__(self, file: BinaryIO, output: Output) -> None:
        super().__init__(_chunks(file), headers=headers_of(output))
        self._file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._file.close()


def headers_of(output: Output) -> dict[str, str]:
    """Headers that keep browsers to the file's type, and its content from acting with this origin's rights."""
    name = PurePosixPath(output.path).name
    suffix = PurePosixPath(output.path).suffix.lower()
    is_report = name == REPORT
    disposition = "inline" if is_report or suffix in _INLINE else "attachment"
    return {
        "Content-Type": _TYPES.get(suffix, _DEFAULT_TYPE),
        "Content-Length": str(output.n_bytes),
        "Content-Disposition": f"{disposition}; filename*=UTF-8''{quote(name, safe='')}",
        "Content-Security-Policy": REPORT_POLICY if is_report else _STRICT_POLICY,
        "X-Content-Type-Options": "nosniff",
        "ETag": f'"{output.sha256}"',
        "Cache-Control": "private, no-cache",
    }


async def _chunks(file: BinaryIO) -> AsyncIterator[bytes]:
    while chunk := await asyncio.to_thread(file.read, _CHUNK_BYTES):
        yield chunk
